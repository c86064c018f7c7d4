//! Who is on a connection: the attested process, and the person behind each request once identified.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use portcullis_access::Caller as Process;
use portcullis_identity::{
    AccountId, Attestation, Identified, IdentityError, Method, Presented, Subject, Uid,
};
use portcullis_record::{Event, RecordError, SessionHandle, SessionStart};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::denials::RetryKey;
use crate::forwarded::Forwarded;
use crate::limits::Place;
use crate::mcp::McpServer;
use crate::refusal::{Refusal, Refused};
use crate::target::Route;
use crate::terminate::Secured;
use crate::transport::Transport;
use crate::upstream::{Pools, Presenting};
use crate::worker::WorkerId;
use crate::{Proxy, headers};

/// How long a connection over its uid's limit may stay to be told so.
const TURNED_AWAY: Duration = Duration::from_secs(5);
/// The issuer under which a session is recorded whose process could not be identified.
const NOBODY: &str = "unidentified";

/// The other end of one connection. A request of which nobody can be named as its author is refused, with the reason.
pub(crate) struct Caller {
    connection: Arc<Connection>,
    known: Mutex<Option<Known>>,
    /// The record of what was refused before anybody was known.
    stranger: Mutex<Option<Line>>,
    /// Who opened the port-forward that carries the connection; nobody presents anything to the gate in there.
    opened_by: Option<Arc<Person>>,
}

/// What all requests of a connection share.
pub(crate) struct Connection {
    pub(crate) attestation: Arc<Attestation>,
    pub(crate) route: Route,
    /// Of one that a port-forward carries.
    pub(crate) forwarded: Option<Arc<Forwarded>>,
    pub(crate) worker: WorkerId,
    /// The process, as conditions of roles may know it.
    pub(crate) process: Arc<Process>,
    pub(crate) proxy: Arc<Proxy>,
    h2: bool,
    /// Closes the connection under a client that does not read what it is told.
    pub(crate) hang_up: CancellationToken,
    /// Held as long as a stream of the connection goes on, upgraded ones included.
    place: Place,
}

/// Who was identified last, and by what.
struct Known {
    token: Option<TokenDigest>,
    generation: u64,
    identified: Identified,
    person: Arc<Person>,
}

type TokenDigest = [u8; 32];

/// Why nobody is known to be behind a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stranger {
    #[error("not identified: {0}")]
    Unidentified(Box<IdentityError>),
    #[error("uid {uid} has {limit} connections open, which is all that it may have: close some")]
    OverLimit { uid: Uid, limit: usize },
}

/// An identified engineer on a connection to one target.
pub(crate) struct Person {
    pub(crate) subject: Arc<Subject>,
    /// Cancelled when this identity ends before its time, by a logout; `None` where nothing can end it.
    pub(crate) logged_out: Option<CancellationToken>,
    pub(crate) connection: Arc<Connection>,
    line: Mutex<Option<Line>>,
    pools: Mutex<Option<Arc<Pools>>>,
}

/// A connection within its session.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) session: SessionHandle,
    pub(crate) connection: u32,
}

impl Caller {
    pub(crate) fn new(
        proxy: &Arc<Proxy>,
        secured: Secured,
        place: Place,
        worker: WorkerId,
    ) -> (Transport, Self) {
        let h2 = secured.speaks_h2();
        let Secured { io, attestation, route } = secured;
        let connection = Connection {
            process: Arc::new(process(&attestation)),
            attestation,
            route,
            forwarded: None,
            worker,
            proxy: Arc::clone(proxy),
            h2,
            hang_up: CancellationToken::new(),
            place,
        };
        let (known, stranger) = Default::default();
        (io, Self { connection: Arc::new(connection), known, stranger, opened_by: None })
    }

    /// The other end of a connection that a port-forward of `person` carries.
    pub(crate) fn forwarded(person: &Person, forwarded: Forwarded, place: Place) -> Self {
        let outer = &*person.connection;
        let connection = Arc::new(Connection {
            process: Arc::clone(&outer.process),
            attestation: Arc::clone(&outer.attestation),
            route: outer.route.clone(),
            forwarded: Some(Arc::new(forwarded)),
            worker: outer.worker,
            proxy: Arc::clone(&outer.proxy),
            h2: false,
            hang_up: CancellationToken::new(),
            place,
        });
        let opened_by = Person {
            subject: Arc::clone(&person.subject),
            logged_out: person.logged_out.clone(),
            connection: Arc::clone(&connection),
            line: Mutex::default(),
            pools: Mutex::default(),
        };
        let (known, stranger) = Default::default();
        Self { connection, known, stranger, opened_by: Some(Arc::new(opened_by)) }
    }

    /// The MCP server that the connection is for, if it is for one.
    pub(crate) fn mcp(&self) -> Option<&McpServer> {
        self.connection.mcp().map(Arc::as_ref)
    }

    pub(crate) fn attestation(&self) -> &Attestation {
        &self.connection.attestation
    }

    /// The person behind a request with these headers. Asked anew when another token comes, when what was presented
    /// runs out and after a logout; a connection whose client presents nothing is identified once.
    pub(crate) async fn person(&self, request: &HeaderMap) -> Result<Arc<Person>, Refusal> {
        let Connection { proxy, route, attestation, place, .. } = &*self.connection;
        if let Some(limit) = place.over {
            return Err(Refusal::Stranger(Stranger::OverLimit { uid: attestation.uid, limit }));
        }
        if let Some(person) = &self.opened_by {
            return Ok(Arc::clone(person));
        }
        let accepted = &route.target.accepted;
        let token = if accepted.looks_at_tokens() { headers::bearer(request)? } else { None };
        let digest = token.as_ref().map(|token| TokenDigest::from(Sha256::digest(token.as_bytes())));
        if let Some(person) = self.still_known(digest.as_ref()) {
            return Ok(person);
        }
        // Taken before the question, so that what happens meanwhile is asked about again.
        let generation = proxy.identities.generation();
        let presented = Presented { bearer: token.as_ref().map(|token| token.as_str()) };
        let identified = proxy.identities.identify(attestation, &presented, accepted).await;
        let identified =
            identified.map_err(|error| Refusal::Stranger(Stranger::Unidentified(Box::new(error))))?;
        Ok(self.remember(digest, generation, identified))
    }

    fn still_known(&self, token: Option<&TokenDigest>) -> Option<Arc<Person>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref().filter(|known| known.token.as_ref() == token)?;
        let holds = self.connection.proxy.identities.holds(known.generation, &known.identified);
        holds.then(|| Arc::clone(&known.person))
    }

    /// The same subject stays the same person, with its place in the recording.
    fn remember(&self, token: Option<TokenDigest>, generation: u64, identified: Identified) -> Arc<Person> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let same = known
            .as_ref()
            .map(|known| &known.person)
            .filter(|person| person.subject == identified.subject && !person.is_logged_out());
        let person = match same {
            Some(person) => Arc::clone(person),
            None => Arc::new(Person {
                subject: Arc::clone(&identified.subject),
                logged_out: identified.until.is_some().then(|| identified.ended.clone()),
                connection: Arc::clone(&self.connection),
                line: Mutex::default(),
                pools: Mutex::default(),
            }),
        };
        *known = Some(Known { token, generation, identified, person: Arc::clone(&person) });
        person
    }

    /// Waits until the connection is to be closed whatever is under way on it.
    pub(crate) async fn hung_up(&self) {
        if self.connection.place.over.is_some() {
            tokio::time::sleep(TURNED_AWAY).await;
        } else {
            self.connection.hang_up.cancelled().await;
        }
    }

    /// Leaves a refusal in the log and the recording; once, when kubectl retries the same stream over SPDY.
    pub(crate) fn refused(&self, person: Option<&Person>, refused: &Refused, retry: Option<RetryKey>) {
        let Connection { proxy, attestation, .. } = &*self.connection;
        let reason = refused.refusal.to_string();
        if retry.is_some_and(|key| !proxy.denials.first(key, &reason, proxy.clock.now())) {
            return;
        }
        let (uid, pid, target) = (attestation.uid, attestation.pid, self.connection.target_name());
        if let Some(person) = person {
            tracing::warn!(%uid, subject = %person.subject, target, reason, "refused");
        } else {
            tracing::warn!(%uid, %pid, target, reason, "refused");
        }
        let line = match (person, &refused.refusal) {
            // Of these there can be very many, and each is like the other.
            (_, Refusal::Stranger(Stranger::OverLimit { .. })) => return,
            (Some(person), _) => person.line(),
            (None, _) => self.line_of_a_stranger(),
        };
        if let Err(error) = line.and_then(|line| record(&line, refused)) {
            tracing::error!(%error, "a refusal could not be recorded");
        }
    }

    fn line_of_a_stranger(&self) -> Result<Line, RecordError> {
        let mut open = self.stranger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = &*open {
            return Ok(line.clone());
        }
        let line = self.connection.open_line(&nobody(self.attestation().uid))?;
        *open = Some(line.clone());
        Ok(line)
    }
}

impl Connection {
    /// The MCP server that it leads to, if it leads to one.
    pub(crate) fn mcp(&self) -> Option<&Arc<McpServer>> {
        let forwarded = self.forwarded.as_ref().map(|forwarded| &forwarded.server);
        forwarded.or(self.route.target.mcp.as_ref())
    }

    /// What it leads to, in the terms of roles.
    pub(crate) fn target_name(&self) -> &str {
        self.mcp().map_or(&self.route.target.name, |server| &server.name)
    }

    /// Whether something can still be sent on it.
    ///
    /// # Errors
    /// Where nothing can: a port-forward carries it, and the server at its end has hung up.
    pub(crate) fn still_leads_there(&self) -> Result<(), Refusal> {
        match &self.forwarded {
            Some(forwarded) if forwarded.is_over() => {
                Err(Refusal::HungUp { target: self.target_name().to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// This connection's place in the session of the client's process and `subject`.
    fn open_line(&self, subject: &Subject) -> Result<Line, RecordError> {
        let start = SessionStart { subject, attestation: &self.attestation, target: &self.route.target.name };
        let session = self.proxy.recorder.session(start)?;
        let connection = session.next_connection();
        session.event(&Event::ConnectionOpened {
            connection,
            peer: self.attestation.peer,
            original_dst: self.attestation.original_dst.0,
            alpn: self.h2.then(|| "h2".to_owned()),
        })?;
        Ok(Line { session, connection })
    }
}

impl Person {
    fn is_logged_out(&self) -> bool {
        self.logged_out.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// This connection's place in the session, opened with the first request.
    pub(crate) fn line(&self) -> Result<Line, RecordError> {
        let mut open = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = &*open {
            return Ok(line.clone());
        }
        let line = self.connection.open_line(&self.subject)?;
        *open = Some(line.clone());
        Ok(line)
    }

    /// The pools that this person's requests on this connection go to: their own, anew for another credential.
    pub(crate) fn pools(&self, presenting: &Presenting) -> Arc<Pools> {
        let mut own = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        match &*own {
            Some(pools) if pools.present(&presenting.credential) => Arc::clone(pools),
            _ => Arc::clone(own.insert(Arc::new(presenting.pools.of_one_connection()))),
        }
    }
}

impl Line {
    fn close(self) {
        let Self { session, connection } = self;
        if let Err(error) = session.event(&Event::ConnectionClosed { connection, error: None }) {
            tracing::error!(%error, "the end of a connection could not be recorded");
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if let Some(line) = self.line.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            line.close();
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(line) = self.stranger.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            line.close();
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

fn process(attestation: &Attestation) -> Process {
    let process = &attestation.process;
    Process {
        uid: attestation.uid.0,
        gid: attestation.gid.0,
        exe: process.exe.to_string_lossy().into_owned(),
        argv: process.argv.clone(),
        tty: process.tty.clone(),
        loginuid: process.loginuid.map(|uid| uid.0),
    }
}

/// Whoever it is: the record has the kernel's word on the process, and no name.
fn nobody(uid: Uid) -> Subject {
    Subject {
        issuer: NOBODY.to_owned(),
        id: uid.to_string(),
        name: format!("uid {uid}"),
        groups: Default::default(),
        method: Method::Unix,
        account: None::<AccountId>,
    }
}
