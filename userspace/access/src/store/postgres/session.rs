//! Connections to the database: one for questions, one that listens. Each question has a deadline here, on this side, so
//! that a server that hangs makes what is known stale (Law 7) and does not hang the daemon.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client};

use super::place::Place;
use super::schema;
use crate::store::rows::BadRow;
use crate::{AccessError, PostgresConfig};

/// The channel on which each change is told.
pub(super) const CHANNEL: &str = "portcullis";
/// How long connecting and listening may take.
const LISTENING: Duration = Duration::from_secs(5);
/// How long to wait after the listening connection was lost.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What the server is to give up on its own side, when nobody is there any more to say so; and no commit is to be told
/// before it is durable, however the server is set up.
const SETTINGS: &str = "SET statement_timeout = '60s'; SET lock_timeout = '3s'; \
     SET idle_in_transaction_session_timeout = '10s'; SET search_path TO portcullis, pg_temp; \
     SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Work in a session.
pub(super) type Working<'s, T> = Pin<Box<dyn Future<Output = Result<T, Failed>> + Send + 's>>;

/// Why something could not be done. Its words are the database's, without the values that it may quote.
#[derive(Debug)]
pub(super) enum Failed {
    Postgres(tokio_postgres::Error),
    Row(BadRow),
    Because(String),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        Failed::Postgres(error)
    }
}

impl From<BadRow> for Failed {
    fn from(error: BadRow) -> Self {
        Failed::Row(error)
    }
}

impl Failed {
    fn words(&self) -> String {
        match self {
            Failed::Postgres(error) => match error.as_db_error() {
                Some(said) => format!("cannot be used: {} ({})", said.message(), said.code().code()),
                None => {
                    let cause = std::error::Error::source(error);
                    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                    format!("cannot be used: {error}{cause}")
                }
            },
            Failed::Row(error) => format!("holds a row that cannot be read: {error}"),
            Failed::Because(what) => what.clone(),
        }
    }
}

/// The way to the database, with threads of its own, so that it can be asked from anywhere.
pub(super) struct Link {
    name: String,
    written: PostgresConfig,
    session: Arc<Mutex<Option<Session>>>,
    news: watch::Sender<u64>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// A connection that is ready to work in.
pub(super) struct Session {
    pub(super) client: Client,
    /// Whether all that is in force was loaded in it. Another session may be with another server, after a failover that
    /// lost the last writes: what was known in the one before is not trusted to be what this one holds.
    pub(super) loaded: bool,
    driver: JoinHandle<()>,
}

impl Link {
    /// Reads where the database is and begins to listen.
    pub(super) fn start(written: &PostgresConfig) -> Result<Self, AccessError> {
        let refused = |what: String| AccessError::Store { store: "in PostgreSQL".to_owned(), what };
        let name = Place::read(written).map_err(refused)?.name();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("grant-store")
            .enable_all()
            .build()
            .map_err(|error| refused(format!("cannot be reached: no thread for it: {error}")))?;
        let (news, _) = watch::channel(0);
        runtime.spawn(listen(written.clone(), news.clone()));
        let session = Arc::default();
        Ok(Self { name, written: written.clone(), session, news, runtime: Some(runtime) })
    }

    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Does `work` in the session, or in a new one, within `allowed`. A session in which something failed is closed.
    pub(super) fn run<T: Send + 'static>(
        &self,
        allowed: Duration,
        work: impl for<'s> FnOnce(&'s mut Session) -> Working<'s, T> + Send + 'static,
    ) -> Result<T, AccessError> {
        let (slot, written) = (Arc::clone(&self.session), self.written.clone());
        let working = async move {
            let mut slot = slot.lock().await;
            let mut session = match slot.take().filter(|session| !session.client.is_closed()) {
                Some(session) => session,
                None => Session::open(&written).await?,
            };
            let outcome = work(&mut session).await?;
            *slot = Some(session);
            Ok(outcome)
        };
        let (answer, answered) = mpsc::sync_channel(1);
        let Some(runtime) = &self.runtime else { return Err(self.error("is closed".to_owned())) };
        runtime.spawn(async move {
            let late = || format!("has not answered within {} seconds", allowed.as_secs());
            let outcome = tokio::time::timeout(allowed, working).await;
            answer.send(outcome.unwrap_or_else(|_| Err(Failed::Because(late())))).ok();
        });
        // The deadline above is what ends this wait.
        match answered.recv() {
            Ok(outcome) => outcome.map_err(|failed| self.error(failed.words())),
            Err(_) => Err(self.error("cannot be used: its thread has stopped".to_owned())),
        }
    }

    pub(super) fn error(&self, what: String) -> AccessError {
        AccessError::Store { store: self.name.clone(), what }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // it may be dropped where waiting is not allowed
        }
    }
}

impl Session {
    async fn open(written: &PostgresConfig) -> Result<Self, Failed> {
        let Place { config, tls } = Place::read(written).map_err(Failed::Because)?;
        let (client, connection) = config.connect(tls).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(
                    error = Failed::Postgres(error).words(),
                    "a connection to the grant store ended"
                );
            }
        });
        let mut session = Self { client, loaded: false, driver };
        session.client.batch_execute(SETTINGS).await?;
        schema::prepare(&mut session.client).await?;
        Ok(session)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort(); // a server that hangs would keep it
    }
}

/// Listens for ever. Whenever it begins to, something may have been missed, so that counts as news.
async fn listen(written: PostgresConfig, news: watch::Sender<u64>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let (failed, listened) = hear(&written, &news).await;
        if listened {
            pause = FIRST_PAUSE;
        }
        tracing::warn!(
            error = failed.words(),
            "changes by other bastions are not told at the moment; they are asked for each second"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Listens until that fails: why, and whether it ever began to.
async fn hear(written: &PostgresConfig, news: &watch::Sender<u64>) -> (Failed, bool) {
    let connecting = async {
        let Place { config, tls } = Place::read(written).map_err(Failed::Because)?;
        Ok::<_, Failed>(config.connect(tls).await?)
    };
    let late = || Failed::Because("has not answered in time".to_owned());
    let (client, mut connection) = match tokio::time::timeout(LISTENING, connecting).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(failed)) => return (failed, false),
        Err(_) => return (late(), false),
    };
    let told = || news.send_modify(|count| *count += 1);
    let mut listened = false;
    let listening = async {
        let listen = format!("LISTEN {CHANNEL}");
        match tokio::time::timeout(LISTENING, client.batch_execute(&listen)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Failed::from(error),
            Err(_) => return late(),
        }
        listened = true;
        told();
        pending().await
    };
    let hearing = async {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(_))) => told(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Failed::from(error),
                None => return Failed::Because("has closed the connection".to_owned()),
            }
        }
    };
    let failed = tokio::select! {
        failed = listening => failed,
        failed = hearing => failed,
    };
    (failed, listened)
}
