//! Who is on a connection: the attested process, and the person behind it once identified.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_identity::{Attestation, Presented, Subject};
use portcullis_record::{Event, SessionHandle, SessionKey, SessionStart};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::Proxy;
use crate::denials::RetryKey;
use crate::refusal::Refusal;
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
    session: Mutex<Option<SessionHandle>>,
}

impl Caller {
    /// Asks each identity source in turn; the first that knows the caller decides.
    pub(crate) async fn identify(proxy: &Arc<Proxy>, secured: Secured) -> (TlsStream<TcpStream>, Self) {
        let Secured { io, attestation, route } = secured;
        let person = subject(proxy, &attestation).await.map(|subject| {
            Arc::new(Person {
                subject,
                attestation: Arc::clone(&attestation),
                route,
                proxy: Arc::clone(proxy),
                session: Mutex::default(),
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
    pub(crate) fn refused(&self, proxy: &Proxy, refusal: &Refusal, retry: Option<RetryKey>) {
        let reason = refusal.to_string();
        if retry.is_some_and(|key| !proxy.denials.first(key, &reason, proxy.clock.now())) {
            return;
        }
        let uid = self.attestation.uid;
        match &self.person {
            Err(_) => tracing::warn!(%uid, reason, "refused"),
            Ok(person) => {
                tracing::warn!(%uid, subject = %person.subject, target = person.route.target.name, reason, "refused");
                let recorded = person.session().and_then(|session| {
                    session.event(&Event::Refused { code: refusal.code().as_u16(), reason }).map_err(Refusal::from)
                });
                if let Err(error) = recorded {
                    tracing::error!(%error, "a refusal could not be recorded");
                }
            }
        }
    }
}

impl Person {
    /// This connection's handle on the session of the client's process, opened with the first request.
    pub(crate) fn session(&self) -> Result<SessionHandle, Refusal> {
        let mut open = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*open {
            return Ok(session.clone());
        }
        let target = &self.route.target.name;
        let key = SessionKey::of(&self.attestation, &self.subject, target);
        let start = SessionStart {
            subject: self.subject.clone(),
            attestation: (*self.attestation).clone(),
            target: target.clone(),
        };
        let session = self.proxy.recorder.session(key, start)?;
        *open = Some(session.clone());
        Ok(session)
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
