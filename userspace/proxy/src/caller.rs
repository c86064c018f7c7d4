//! Who is on a connection: the attested process, and the person behind it once identified.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_identity::{Attestation, Presented, Subject};
use portcullis_record::{Event, RecordError, SessionHandle, SessionStart};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::Proxy;
use crate::denials::RetryKey;
use crate::refusal::{Refusal, Refused};
use crate::target::Route;
use crate::terminate::Secured;

/// The other end of one connection. Without a person every request on it is refused, with the reason.
pub(crate) struct Caller {
    pub(crate) attestation: Arc<Attestation>,
    person: Result<Arc<Person>, String>,
}

/// An identified engineer on a connection to one target.
pub(crate) struct Person {
    pub(crate) subject: Subject,
    pub(crate) attestation: Arc<Attestation>,
    pub(crate) route: Route,
    proxy: Arc<Proxy>,
    h2: bool,
    line: Mutex<Option<Line>>,
}

/// A connection within its session.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) session: SessionHandle,
    pub(crate) connection: u32,
}

impl Caller {
    /// Asks each identity source in turn; the first that knows the caller decides.
    pub(crate) async fn identify(proxy: &Arc<Proxy>, secured: Secured) -> (TlsStream<TcpStream>, Self) {
        let h2 = secured.speaks_h2();
        let Secured { io, attestation, route } = secured;
        let person = subject(proxy, &attestation).await.map(|subject| {
            Arc::new(Person {
                subject,
                attestation: Arc::clone(&attestation),
                route,
                proxy: Arc::clone(proxy),
                h2,
                line: Mutex::default(),
            })
        });
        if let Err(reason) = &person {
            tracing::warn!(uid = %attestation.uid, pid = %attestation.pid, reason, "caller not identified");
        }
        (io, Self { attestation, person })
    }

    pub(crate) fn person(&self) -> Result<Arc<Person>, Refusal> {
        self.person.clone().map_err(Refusal::Unidentified)
    }

    /// Leaves a refusal in the log and the recording; once, when kubectl retries the same stream over SPDY.
    pub(crate) fn refused(&self, proxy: &Proxy, refused: &Refused, retry: Option<RetryKey>) {
        let reason = refused.refusal.to_string();
        if retry.is_some_and(|key| !proxy.denials.first(key, &reason, proxy.clock.now())) {
            return;
        }
        let uid = self.attestation.uid;
        match &self.person {
            Err(_) => tracing::warn!(%uid, reason, "refused"),
            Ok(person) => {
                tracing::warn!(%uid, subject = %person.subject, target = person.route.target.name, reason, "refused");
                if let Err(error) = person.line().and_then(|line| record(&line, refused)) {
                    tracing::error!(%error, "a refusal could not be recorded");
                }
            }
        }
    }
}

impl Person {
    /// This connection's place in the session of the client's process, opened with the first request.
    pub(crate) fn line(&self) -> Result<Line, RecordError> {
        let mut open = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = &*open {
            return Ok(line.clone());
        }
        let start = SessionStart {
            subject: &self.subject,
            attestation: &self.attestation,
            target: &self.route.target.name,
        };
        let session = self.proxy.recorder.session(start)?;
        let connection = session.next_connection();
        session.event(&Event::ConnectionOpened {
            connection,
            peer: self.attestation.peer,
            original_dst: self.attestation.original_dst.0,
            alpn: self.h2.then(|| "h2".to_owned()),
        })?;
        let line = Line { session, connection };
        *open = Some(line.clone());
        Ok(line)
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let line = self.line.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Line { session, connection }) = line
            && let Err(error) = session.event(&Event::ConnectionClosed { connection, error: None })
        {
            tracing::error!(%error, "the end of a connection could not be recorded");
        }
    }
}

/// A denial is the decision about a request; any other refusal came before or after one.
fn record(line: &Line, refused: &Refused) -> Result<(), RecordError> {
    match &refused.refusal {
        Refusal::Denied(denial) => line.session.event(&denial.event(line)),
        other => line.session.event(&Event::Refused { request: refused.request, reason: other.to_string() }),
    }
}

async fn subject(proxy: &Proxy, attestation: &Attestation) -> Result<Subject, String> {
    for source in &proxy.sources {
        match source.identify(attestation, &Presented::default()).await {
            Ok(Some(subject)) => return Ok(subject),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("no identity source knows uid {}", attestation.uid))
}
