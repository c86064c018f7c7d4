//! SQLite in WAL mode with `synchronous=FULL`: what was acknowledged survives `kill -9` and power loss.
//!
//! Rows hold their object as JSON beside the few columns that queries need.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, Params, Transaction, TransactionBehavior, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Applied, Change, Event, Live, Store};
use crate::{AccessError, Grant, GrantId, Request, RequestId, RequestState};

/// Each entry takes the schema one version further; `user_version` says how many have run.
const MIGRATIONS: &[&str] = &[include_str!("sqlite/001.sql")];
/// "PCLS": tells our databases from others (`PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x5043_4C53;
/// How long to wait for another writer.
const BUSY: Duration = Duration::from_secs(5);

/// The store of a single bastion.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl SqliteStore {
    /// Opens the database at `path`, or makes one with mode 0600.
    ///
    /// # Errors
    /// [`AccessError::Store`] when the file is damaged, of a newer build, of another program, or open to others.
    pub fn open(path: &Path) -> Result<Self, AccessError> {
        let unusable = |what| AccessError::Store { path: path.to_owned(), what };
        private_file(path).map_err(|error| unusable(format!("cannot be opened: {error}")))?;
        let mut connection =
            Connection::open(path).map_err(|error| unusable(format!("cannot be opened: {error}")))?;
        prepare(&mut connection).map_err(|error| match error {
            Unusable::Sqlite(error) => unusable(format!("is damaged or unusable: {error}")),
            Unusable::Because(what) => unusable(what),
        })?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolled it back: the connection is as good as before.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: &rusqlite::Error) -> AccessError {
        self.error(format!("cannot be used: {error}"))
    }

    fn error(&self, what: String) -> AccessError {
        AccessError::Store { path: self.path.clone(), what }
    }

    /// The objects in the first column of each row.
    fn objects<T: DeserializeOwned>(
        &self,
        connection: &Connection,
        sql: &str,
        params: impl Params,
    ) -> Result<Vec<T>, AccessError> {
        let mut statement = connection.prepare_cached(sql).map_err(|e| self.failed(&e))?;
        let rows = statement.query_map(params, |row| row.get::<_, String>(0)).map_err(|e| self.failed(&e))?;
        rows.map(|row| self.object(&row.map_err(|e| self.failed(&e))?)).collect()
    }

    fn object<T: DeserializeOwned>(&self, json: &str) -> Result<T, AccessError> {
        serde_json::from_str(json)
            .map_err(|error| self.error(format!("holds a row that cannot be read: {error}")))
    }
}

impl Store for SqliteStore {
    fn load(&self, ended_since: Timestamp) -> Result<Live, AccessError> {
        let mut connection = self.connection();
        // One transaction, so that rows and revision belong together.
        let transaction = connection.transaction().map_err(|e| self.failed(&e))?;
        Ok(Live {
            revision: revision(&transaction).map_err(|e| self.failed(&e))?,
            requests: self.objects(
                &transaction,
                "SELECT body FROM requests WHERE state = ?1",
                [RequestState::Pending.as_str()],
            )?,
            grants: self.objects(
                &transaction,
                "SELECT body FROM grants WHERE ended_at IS NULL OR ended_at >= ?1",
                [ended_since.as_millisecond()],
            )?,
        })
    }

    fn revision(&self) -> Result<u64, AccessError> {
        revision(&self.connection()).map_err(|e| self.failed(&e))
    }

    fn apply(&self, expected: u64, change: &Change) -> Result<Applied, AccessError> {
        let mut connection = self.connection();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| self.failed(&e))?;
        if revision(&transaction).map_err(|e| self.failed(&e))? != expected {
            return Ok(Applied::Conflict);
        }
        match write(&transaction, change) {
            Ok(revision) => {
                transaction.commit().map(|()| Applied::Done(revision)).map_err(|e| self.failed(&e))
            }
            Err(Rejected::IdTaken) => Ok(Applied::IdTaken),
            Err(Rejected::Sqlite(source)) => Err(self.failed(&source)),
            Err(Rejected::Missing(id)) => Err(self.error(format!("has no {id} to change"))),
        }
    }

    fn request(&self, id: &RequestId) -> Result<Option<Request>, AccessError> {
        let found =
            self.objects(&self.connection(), "SELECT body FROM requests WHERE id = ?1", [id.as_str()])?;
        Ok(found.into_iter().next())
    }

    fn grant(&self, id: &GrantId) -> Result<Option<Grant>, AccessError> {
        let found =
            self.objects(&self.connection(), "SELECT body FROM grants WHERE id = ?1", [id.as_str()])?;
        Ok(found.into_iter().next())
    }

    fn requests(&self, limit: u32) -> Result<Vec<Request>, AccessError> {
        let sql = "SELECT body FROM requests ORDER BY created_at DESC, id LIMIT ?1";
        self.objects(&self.connection(), sql, [limit])
    }

    fn grants(&self, limit: u32) -> Result<Vec<Grant>, AccessError> {
        let sql = "SELECT body FROM grants ORDER BY starts_at DESC, id LIMIT ?1";
        self.objects(&self.connection(), sql, [limit])
    }

    fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, AccessError> {
        let connection = self.connection();
        let sql = "SELECT seq, body FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut statement = connection.prepare_cached(sql).map_err(|e| self.failed(&e))?;
        let rows = statement
            .query_map(params![after.cast_signed(), limit], |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, String>(1)?))
            })
            .map_err(|e| self.failed(&e))?;
        rows.map(|row| {
            let (seq, json) = row.map_err(|e| self.failed(&e))?;
            Ok(Event { seq, ..self.object(&json)? })
        })
        .collect()
    }
}

/// Why a database cannot be worked with.
enum Unusable {
    Sqlite(rusqlite::Error),
    Because(String),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        Unusable::Sqlite(error)
    }
}

/// Why a change was rolled back.
enum Rejected {
    IdTaken,
    Missing(String),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Rejected {
    fn from(error: rusqlite::Error) -> Self {
        Rejected::Sqlite(error)
    }
}

/// Makes the file when it is not there, readable by nobody else from its first moment; refuses one that others
/// can read or write. SQLite gives its `-wal` and `-shm` files the same mode.
fn private_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other.map(drop),
    }
    match path.metadata()?.permissions().mode() & 0o777 {
        mode if mode & 0o077 != 0 => {
            Err(io::Error::other(format!("its mode {mode:04o} opens it to others; chmod it to 0600")))
        }
        _ => Ok(()),
    }
}

fn prepare(connection: &mut Connection) -> Result<(), Unusable> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // The first read of the file: damage of its header shows here.
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && pragma(connection, "application_id")? != APPLICATION_ID {
        return Err(Unusable::Because("is the database of another program".to_owned()));
    }
    let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        return Err(Unusable::Because(format!("is damaged: {check}")));
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = pragma(&transaction, "user_version")?;
    let Some(missing) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)) else {
        return Err(Unusable::Because(format!(
            "was written by a newer portcullis: its schema is {version}, this build knows {}",
            MIGRATIONS.len()
        )));
    };
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()?;
    Ok(())
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn revision(connection: &Connection) -> rusqlite::Result<u64> {
    let seq: i64 = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?
        .query_row([], |row| row.get(0))?;
    Ok(seq.cast_unsigned())
}

fn write(transaction: &Transaction<'_>, change: &Change) -> Result<u64, Rejected> {
    if let Some(request) = &change.new_request {
        insert(
            transaction,
            "INSERT INTO requests (id, state, created_at, body) VALUES (?1, ?2, ?3, ?4)",
            params![
                request.id.as_str(),
                request.state.as_str(),
                request.created_at.as_millisecond(),
                json(request)?
            ],
        )?;
    }
    if let Some(grant) = &change.new_grant {
        insert(
            transaction,
            "INSERT INTO grants (id, starts_at, ended_at, body) VALUES (?1, ?2, ?3, ?4)",
            params![grant.id.as_str(), grant.starts_at.as_millisecond(), ended_at(grant), json(grant)?],
        )?;
    }
    for request in &change.requests {
        let sql = "UPDATE requests SET state = ?2, body = ?3 WHERE id = ?1";
        update(
            transaction,
            request.id.as_str(),
            sql,
            params![request.id.as_str(), request.state.as_str(), json(request)?],
        )?;
    }
    for grant in &change.grants {
        let sql = "UPDATE grants SET ended_at = ?2, body = ?3 WHERE id = ?1";
        update(
            transaction,
            grant.id.as_str(),
            sql,
            params![grant.id.as_str(), ended_at(grant), json(grant)?],
        )?;
    }
    for event in &change.events {
        transaction
            .prepare_cached("INSERT INTO events (at, body) VALUES (?1, ?2)")?
            .execute(params![event.at.as_millisecond(), json(event)?])?;
    }
    Ok(revision(transaction)?)
}

fn insert(transaction: &Transaction<'_>, sql: &str, params: impl Params) -> Result<(), Rejected> {
    match transaction.prepare_cached(sql)?.execute(params) {
        Ok(_) => Ok(()),
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::ConstraintViolation => {
            Err(Rejected::IdTaken)
        }
        Err(error) => Err(error.into()),
    }
}

fn update(transaction: &Transaction<'_>, id: &str, sql: &str, params: impl Params) -> Result<(), Rejected> {
    match transaction.prepare_cached(sql)?.execute(params)? {
        1 => Ok(()),
        _ => Err(Rejected::Missing(id.to_owned())),
    }
}

fn ended_at(grant: &Grant) -> Option<i64> {
    grant.ended.as_ref().and_then(|ended| ended.at()).map(Timestamp::as_millisecond)
}

fn json<T: Serialize>(object: &T) -> rusqlite::Result<String> {
    serde_json::to_string(object).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

#[cfg(test)]
mod tests;
