//! The listener, and the handle that a test holds.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::answer::{Body, respond, wants_json};
use crate::journal::Event;
use crate::service::Service;
use crate::{Error, Fault, Identity, Options, Refusal, TokenRefused, control, eks, pki};

const LARGEST_BODY: usize = 64 << 10;

/// A running STS. It stops when this is dropped.
pub struct Sts {
    address: SocketAddr,
    ca_pem: String,
    ca_file: Option<PathBuf>,
    service: Arc<Service>,
    _stop: DropGuard,
}

impl Sts {
    /// Starts one on the runtime of whoever calls.
    ///
    /// # Errors
    /// When it cannot listen, or its certificates cannot be made.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let address = options.listen;
        let listener =
            TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;
        let mut names = options.hosts.clone();
        names.extend(["localhost".to_owned(), address.ip().to_string()]);
        names.sort();
        names.dedup();
        let (ca_pem, tls) = pki::server_config(names)?;
        let ca_file = options.dir.as_ref().map(|dir| dir.join("ca.crt"));
        if let Some(path) = &ca_file {
            std::fs::write(path, &ca_pem).map_err(|source| Error::Write { path: path.clone(), source })?;
        }
        let own = vec![address.to_string(), format!("localhost:{}", address.port())];
        let service = Arc::new(Service::new(options, own));
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, tls, Arc::clone(&service), stop.clone()));
        Ok(Self { address, ca_pem, ca_file, service, _stop: stop.drop_guard() })
    }

    /// `https://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CA that vouches for it.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The file with that, where options named a folder.
    #[must_use]
    pub fn ca_file(&self) -> Option<&PathBuf> {
        self.ca_file.as_ref()
    }

    /// Every call so far.
    #[must_use]
    pub fn journal(&self) -> Vec<Event> {
        self.service.journal()
    }

    /// Moves its clock.
    pub fn shift(&self, by: SignedDuration) {
        self.service.shift(by);
    }

    /// Makes every call go wrong, until told otherwise. [`Sts::authenticate`] is not touched by it.
    pub fn fail(&self, fault: impl Into<Option<Fault>>) {
        self.service.set_fault(fault.into().map(|fault| (fault, None)));
    }

    /// Makes the next `calls` calls go wrong.
    pub fn fail_next(&self, calls: u32, fault: Fault) {
        self.service.set_fault((calls > 0).then_some((fault, Some(calls))));
    }

    /// Who the EKS token stands for, if it was made for `cluster`: what EKS' own authenticator says.
    ///
    /// # Errors
    /// When it is not one, or STS refuses it.
    pub fn authenticate(&self, token: &str, cluster: &str) -> Result<Identity, TokenRefused> {
        eks::authenticate(&self.service, token, cluster)
    }

    /// Who signed a request that came to some other service of AWS', as that service finds out.
    ///
    /// # Errors
    /// When it is not signed, or not as it came, or for another service or region, or by keys that are not known.
    pub fn verify(
        &self,
        (service, region): (&str, &str),
        (method, target): (&str, &str),
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Identity, Refusal> {
        let principal = self.service.verify((service, region), (method, target), headers, body)?;
        Ok(Identity::new(principal.arn, principal.user_id))
    }
}

async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    service: Arc<Service>,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            () = stop.cancelled() => return,
        };
        let (acceptor, service, stop) = (acceptor.clone(), Arc::clone(&service), stop.clone());
        tokio::spawn(async move {
            // Whoever does not like our certificate goes away; that is theirs to report.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let handler = service_fn(move |request| {
                let service = Arc::clone(&service);
                async move {
                    let mut response = handle(&service, request).await;
                    // SDKs correct their clock by this.
                    let date = service.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                    if let Ok(date) = HeaderValue::from_str(&date) {
                        response.headers_mut().insert(header::DATE, date);
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), handler);
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn handle(service: &Service, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let json = wants_json(&head.headers);
    let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await else {
        return Refusal::invalid("the body is too large, or broke off").response(json);
    };
    let body = body.to_bytes();
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    if let Some(control) = path.strip_prefix("/control/") {
        return control::handle(service, head.method.as_str(), control, &body);
    }
    match service.next_fault() {
        None => {}
        Some(Fault::Hang) => return pending().await,
        Some(Fault::Garbage) => return respond(StatusCode::OK, "text/html", "<html>welcome</html".into()),
        Some(Fault::Redirect(to)) => {
            let mut response = respond(StatusCode::FOUND, "text/plain", String::new());
            if let Ok(to) = HeaderValue::from_str(&to) {
                response.headers_mut().insert(header::LOCATION, to);
            }
            return response;
        }
        Some(fault) => {
            if let Some(refusal) = fault.refusal() {
                return refusal.response(json);
            }
        }
    }
    match service.call(head.method.as_str(), path, query, &head.headers, &body) {
        Ok(answer) => answer.response(json),
        Err(refusal) => refusal.response(json),
    }
}
