//! Where approvers answer: links that they open, buttons that they press, programs that decide for them. And where whoever
//! waits for them can look.
//!
//! The endpoint faces whoever can reach it, so everything is bounded: connections, the time of each, headers, bodies.
//! A connection carries one request. What is not configured is not there.

mod inbound;
mod link;
mod page;
mod reply;
mod slack;
mod tls;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_access::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::NotifyError;
use crate::matter::{Decider, Matter, Word};
use crate::notify::{HOLD_PAGE, Notify};
use portcullis_access::Decidable;
use reply::{Answer, no_page, text};
use slack::Replies;
pub(crate) use tls::Certificate;

/// Connections at once; more are closed unanswered.
const CONNECTIONS: usize = 256;
/// How long a client may take over its request's head.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may take in all, handshake and decision included.
const WHOLE: Duration = Duration::from_secs(30);
/// How long the connections under way may still take when the daemon ends.
const DRAIN: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const LONGEST_HEAD: usize = 16 * 1024;

/// Answers at `notify.listen`.
pub struct Server {
    listener: TcpListener,
    certificate: Option<Certificate>,
    desk: Arc<Desk>,
}

/// What every answer needs.
struct Desk {
    notify: Arc<Notify>,
    decider: Arc<dyn Decider>,
    clock: Arc<dyn Clock>,
    replies: Option<Replies>,
}

impl Server {
    /// Listens at `notify.listen`; `None` when nothing is configured there. The process needs a default TLS provider.
    ///
    /// # Errors
    /// [`NotifyError::Listen`], [`NotifyError::Tls`], [`NotifyError::File`], [`NotifyError::Client`].
    pub async fn bind(
        notify: &Arc<Notify>,
        decider: &Arc<dyn Decider>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, NotifyError> {
        let Some(address) = notify.listen else { return Ok(None) };
        let certificate =
            notify.tls.as_ref().map(|files| Certificate::load(files, clock.now())).transpose()?;
        let replies = notify.slack.as_ref().map(|slack| Replies::new(&slack.response_hosts)).transpose()?;
        let listener =
            TcpListener::bind(address).await.map_err(|source| NotifyError::Listen { address, source })?;
        let (notify, decider, clock) = (Arc::clone(notify), Arc::clone(decider), Arc::clone(clock));
        Ok(Some(Self { listener, certificate, desk: Arc::new(Desk { notify, decider, clock, replies }) }))
    }

    /// The address, with the port that was chosen where the configuration says 0.
    ///
    /// # Errors
    /// What the system answers.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `drain` is cancelled, and a little longer for what is under way.
    pub async fn run(self, drain: CancellationToken) {
        let (tracker, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS)));
        while let Some(accepted) = drain.run_until_cancelled(self.listener.accept()).await {
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for notify.listen");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::warn!("more than {CONNECTIONS} connections at notify.listen: one is closed");
                continue;
            };
            let (desk, certificate) = (Arc::clone(&self.desk), self.certificate.clone());
            tracker.spawn(async move {
                let served = tokio::time::timeout(WHOLE, connection(desk, certificate, stream)).await;
                if let Err(why) = served.unwrap_or_else(|_| Err("not finished in time".to_owned())) {
                    tracing::debug!(why, "a connection at notify.listen ended early");
                }
                drop(place);
            });
        }
        tracker.close();
        if tokio::time::timeout(DRAIN, tracker.wait()).await.is_err() {
            tracing::warn!("connections at notify.listen were cut: they took too long to end");
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

async fn connection(desk: Arc<Desk>, tls: Option<Certificate>, stream: TcpStream) -> Result<(), String> {
    match tls {
        None => speak(desk, stream).await,
        Some(certificate) => {
            let acceptor = certificate.acceptor(desk.clock.now());
            let stream = acceptor.accept(stream).await.map_err(|error| format!("TLS handshake: {error}"))?;
            speak(desk, stream).await
        }
    }
}

async fn speak(desk: Arc<Desk>, io: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), String> {
    let service = service_fn(|request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LONGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), service)
        .await;
    served.map_err(|error| error.to_string())
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        if let Some(token) = path.strip_prefix("/decide/").filter(|_| self.notify.base.is_some()) {
            return match *request.method() {
                Method::GET | Method::HEAD => self.show_link(token).await,
                Method::POST => self.use_link(token, request).await,
                _ => reply::not_allowed("GET, HEAD, POST"),
            };
        }
        if let Some(token) = path.strip_prefix(HOLD_PAGE).filter(|_| self.notify.base.is_some()) {
            return match *request.method() {
                Method::GET | Method::HEAD => self.show_hold(token).await,
                _ => reply::not_allowed("GET, HEAD"),
            };
        }
        let slack = self.notify.slack.as_ref().filter(|_| path == "/slack/interactive");
        let signed = self.notify.inbound.is_some() || self.notify.approvers.any_signs();
        let program = path == "/webhook/decide" && signed;
        if slack.is_none() && !program {
            return no_page();
        }
        if request.method() != Method::POST {
            return reply::not_allowed("POST");
        }
        match slack {
            Some(slack) => self.slack(slack, request).await,
            None => self.program(request).await,
        }
    }

    /// Hands a word to the decider, and says in the log what came of it.
    async fn decide(&self, word: Word<'_>, way: &'static str) -> Result<String, String> {
        let (by, what, verdict) = (word.by.clone(), word.what.clone(), word.verdict);
        let (comment, token_id) = (word.comment.to_owned(), word.token_id.to_owned());
        let (decider, expires) = (Arc::clone(&self.decider), word.expires);
        let asked = tokio::task::spawn_blocking(move || {
            let word =
                Word { by: &by, what: &what, verdict, comment: &comment, token_id: &token_id, expires };
            decider.decide_once(&word)
        });
        let result = asked.await.unwrap_or_else(|error| Err(format!("the decision broke off: {error}")));
        let (by, what) = (word.by.name.as_str(), word.what.to_string());
        match &result {
            Ok(became) => tracing::info!(way, by, what, %verdict, became, "decided"),
            Err(why) => tracing::warn!(way, by, what, %verdict, why, "a decision was refused"),
        }
        result
    }

    /// Where a held request stands. Without a good token there is nothing here, and nothing says why.
    async fn show_hold(&self, token: &str) -> Answer {
        let Some(hold) = self.notify.tokens.held(token, self.clock.now()) else { return no_page() };
        match self.describe(&Decidable::Hold(hold)).await {
            Ok(matter) => page::status(&matter),
            Err(why) => page::refused(StatusCode::CONFLICT, &why),
        }
    }

    async fn describe(&self, what: &Decidable) -> Result<Matter, String> {
        let (decider, what) = (Arc::clone(&self.decider), what.clone());
        let asked = tokio::task::spawn_blocking(move || decider.describe(&what)).await;
        asked.unwrap_or_else(|error| Err(format!("the store broke off: {error}")))
    }
}

/// A body of at most `most` bytes.
async fn body(request: Request<Incoming>, most: usize) -> Result<Bytes, Answer> {
    match Limited::new(request.into_body(), most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(text(StatusCode::PAYLOAD_TOO_LARGE, &format!("more than {most} bytes")))
        }
        Err(_) => Err(text(StatusCode::BAD_REQUEST, "the body broke off")),
    }
}

/// The value of a header that is there exactly once.
fn only<'a>(request: &'a http::request::Parts, name: &HeaderName) -> Option<&'a str> {
    let mut values = request.headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

#[cfg(test)]
mod tests;
