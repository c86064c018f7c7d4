//! Who is on a connection: the attested process, and the person behind it once identified.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_identity::{Attestation, Presented, Subject, Uid};
use portcullis_record::{Event, RecordError, SessionHandle, SessionStart};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::Proxy;
use crate::denials::RetryKey;
use crate::limits::Place;
use crate::refusal::{Refusal, Refused};
use crate::target::Route;
use crate::terminate::Secured;
use crate::upstream::{Pools, Presenting};
use crate::wide::Wide;
use crate::worker::WorkerId;

/// How long a connection over its uid's limit may stay to be told so.
const TURNED_AWAY: Duration = Duration::from_secs(5);

/// The other end of one connection. Without a person every request on it is refused, with the reason.
pub(crate) struct Caller {
    pub(crate) attestation: Arc<Attestation>,
    person: Result<Arc<Person>, Stranger>,
    place: Arc<Place>,
    /// Closes the connection under a client that does not read what it is told.
    hang_up: CancellationToken,
}

/// Why there is no person on a connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Stranger {
    #[error("not identified: {0}")]
    Unidentified(String),
    #[error("uid {uid} has {limit} connections open, which is all that it may have: close some")]
    OverLimit { uid: Uid, limit: usize },
}

/// An identified engineer on a connection to one target.
pub(crate) struct Person {
    pub(crate) subject: Subject,
    pub(crate) attestation: Arc<Attestation>,
    pub(crate) route: Route,
    pub(crate) worker: WorkerId,
    proxy: Arc<Proxy>,
    h2: bool,
    line: Mutex<Option<Line>>,
    pools: Mutex<Option<Arc<Pools>>>,
    pub(crate) hang_up: CancellationToken,
    /// Held as long as a stream of the connection goes on, upgraded ones included.
    _place: Arc<Place>,
}

/// A connection within its session.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) session: SessionHandle,
    pub(crate) connection: u32,
}

impl Caller {
    /// Asks each identity source in turn; the first that knows the caller decides.
    pub(crate) async fn identify(
        proxy: &Arc<Proxy>,
        secured: Secured,
        place: Place,
        worker: WorkerId,
    ) -> (TlsStream<Wide<TcpStream>>, Self) {
        let (place, hang_up) = (Arc::new(place), CancellationToken::new());
        let h2 = secured.speaks_h2();
        let Secured { io, attestation, route } = secured;
        let subject = match place.over {
            Some(limit) => Err(Stranger::OverLimit { uid: attestation.uid, limit }),
            None => subject(proxy, &attestation).await.map_err(Stranger::Unidentified),
        };
        let person = subject.map(|subject| {
            Arc::new(Person {
                subject,
                attestation: Arc::clone(&attestation),
                route,
                worker,
                proxy: Arc::clone(proxy),
                h2,
                line: Mutex::default(),
                pools: Mutex::default(),
                hang_up: hang_up.clone(),
                _place: Arc::clone(&place),
            })
        });
        if let Err(reason) = &person {
            tracing::warn!(uid = %attestation.uid, pid = %attestation.pid, %reason, "caller has no person");
        }
        (io, Self { attestation, person, place, hang_up })
    }

    pub(crate) fn person(&self) -> Result<Arc<Person>, Refusal> {
        self.person.clone().map_err(Refusal::Stranger)
    }

    /// Waits until the connection is to be closed whatever is under way on it.
    pub(crate) async fn hung_up(&self) {
        if self.place.over.is_some() {
            tokio::time::sleep(TURNED_AWAY).await;
        } else {
            self.hang_up.cancelled().await;
        }
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

impl Person {
    /// The pools that this connection's requests go to: its own, anew for another credential.
    pub(crate) fn pools(&self, presenting: &Presenting) -> Arc<Pools> {
        let mut own = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        match &*own {
            Some(pools) if pools.present(&presenting.credential) => Arc::clone(pools),
            _ => Arc::clone(own.insert(Arc::new(presenting.pools.of_one_connection()))),
        }
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
