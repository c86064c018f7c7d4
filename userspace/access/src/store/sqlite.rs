//! SQLite in WAL mode with `synchronous=FULL`: what was acknowledged survives `kill -9` and power loss.
//!
//! Rows hold their object as JSON beside the few columns that queries need.

mod file;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, Params, Row, Transaction, TransactionBehavior, params};
use serde::de::DeserializeOwned;

use self::file::{Unusable, prepare, private_file};
use super::rows::{self, GrantRow, HoldRow, RequestRow, Rows};
use super::{Applied, Change, Event, Live, Store};
use crate::state::after;
use crate::{AccessError, Grant, GrantId, Hold, HoldId, Request, RequestId, RequestState};

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
        let unusable = |what| AccessError::Store { store: path.display().to_string(), what };
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
        AccessError::Store { store: self.path.display().to_string(), what }
    }

    /// What `read` makes of the columns of each row.
    fn rows<T>(
        &self,
        connection: &Connection,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<Result<T, rows::BadRow>>,
    ) -> Result<Vec<T>, AccessError> {
        let mut statement = connection.prepare_cached(sql).map_err(|e| self.failed(&e))?;
        let found = statement.query_map(params, |row| read(row)).map_err(|e| self.failed(&e))?;
        found.map(|row| row.map_err(|e| self.failed(&e))?.map_err(|e| self.unreadable(&e))).collect()
    }

    /// The objects in the one column of each row.
    fn objects<T: DeserializeOwned>(
        &self,
        connection: &Connection,
        sql: &str,
        params: impl Params,
    ) -> Result<Vec<T>, AccessError> {
        self.rows(connection, sql, params, |row| Ok(rows::object(&row.get::<_, String>(0)?)))
    }

    /// The requests in columns `state` and `body`.
    fn requests_of(
        &self,
        connection: &Connection,
        sql: &str,
        params: impl Params,
    ) -> Result<Vec<Request>, AccessError> {
        self.rows(connection, sql, params, |row| {
            Ok(rows::request(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?))
        })
    }

    fn unreadable(&self, error: &rows::BadRow) -> AccessError {
        self.error(format!("holds a row that cannot be read: {error}"))
    }

    /// One transaction, so that rows and revision belong together.
    fn reading<T>(
        &self,
        read: impl FnOnce(&Transaction<'_>) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        let mut connection = self.connection();
        read(&connection.transaction().map_err(|e| self.failed(&e))?)
    }
}

impl Store for SqliteStore {
    fn load(&self, since: Timestamp) -> Result<Live, AccessError> {
        let since = since.as_millisecond();
        self.reading(|transaction| {
            let [pending, approved] = rows::OPEN_HOLDS;
            Ok(Live {
                revision: revision(transaction).map_err(|e| self.failed(&e))?,
                requests: self.requests_of(
                    transaction,
                    "SELECT state, body FROM requests WHERE state = ?1",
                    [RequestState::Pending.as_str()],
                )?,
                grants: self.objects(
                    transaction,
                    "SELECT body FROM grants WHERE ended_at IS NULL OR ended_at >= ?1",
                    [since],
                )?,
                holds: self.objects(
                    transaction,
                    "SELECT body FROM holds WHERE state IN (?1, ?2) OR decided_at >= ?3",
                    params![pending, approved, since],
                )?,
            })
        })
    }

    fn since(&self, after: u64) -> Result<Option<Live>, AccessError> {
        self.reading(|transaction| {
            let revision = revision(transaction).map_err(|e| self.failed(&e))?;
            let mut live = Live { revision, requests: Vec::new(), grants: Vec::new(), holds: Vec::new() };
            if revision > after {
                let after = [after.cast_signed()];
                let requests = "SELECT state, body FROM requests WHERE revision > ?1";
                live.requests = self.requests_of(transaction, requests, after)?;
                live.grants =
                    self.objects(transaction, "SELECT body FROM grants WHERE revision > ?1", after)?;
                live.holds =
                    self.objects(transaction, "SELECT body FROM holds WHERE revision > ?1", after)?;
            }
            // A revision that is not there any more: another file was put in this one's place.
            Ok((revision >= after).then_some(live))
        })
    }

    fn revision(&self) -> Result<u64, AccessError> {
        revision(&self.connection()).map_err(|e| self.failed(&e))
    }

    fn apply(&self, expected: u64, change: &Change) -> Result<Applied, AccessError> {
        let rows =
            Rows::of(change).map_err(|error| self.error(format!("was given an odd change: {error}")))?;
        let mut connection = self.connection();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| self.failed(&e))?;
        if revision(&transaction).map_err(|e| self.failed(&e))? != expected {
            return Ok(Applied::Conflict);
        }
        let written = write(&transaction, &rows).and_then(|revision| {
            transaction.commit()?;
            Ok(revision)
        });
        match written {
            Ok(revision) => Ok(Applied::Done(revision)),
            Err(Rejected::IdTaken) => Ok(Applied::IdTaken),
            Err(Rejected::TokenUsed) => Ok(Applied::TokenUsed),
            Err(Rejected::Sqlite(source)) => Err(self.failed(&source)),
            Err(Rejected::Missing(id)) => Err(self.error(format!("has no {id} to change"))),
        }
    }

    fn request(&self, id: &RequestId) -> Result<Option<Request>, AccessError> {
        let sql = "SELECT state, body FROM requests WHERE id = ?1";
        Ok(self.requests_of(&self.connection(), sql, [id.as_str()])?.pop())
    }

    fn grant(&self, id: &GrantId) -> Result<Option<Grant>, AccessError> {
        let sql = "SELECT body FROM grants WHERE id = ?1";
        Ok(self.objects(&self.connection(), sql, [id.as_str()])?.pop())
    }

    fn hold(&self, id: &HoldId) -> Result<Option<Hold>, AccessError> {
        let sql = "SELECT body FROM holds WHERE id = ?1";
        Ok(self.objects(&self.connection(), sql, [id.as_str()])?.pop())
    }

    fn requests(&self, limit: u32) -> Result<Vec<Request>, AccessError> {
        let sql = "SELECT state, body FROM requests ORDER BY created_at DESC, id LIMIT ?1";
        self.requests_of(&self.connection(), sql, [limit])
    }

    fn grants(&self, limit: u32) -> Result<Vec<Grant>, AccessError> {
        let sql = "SELECT body FROM grants ORDER BY starts_at DESC, id LIMIT ?1";
        self.objects(&self.connection(), sql, [limit])
    }

    fn holds(&self, limit: u32) -> Result<Vec<Hold>, AccessError> {
        let sql = "SELECT body FROM holds ORDER BY created_at DESC, id LIMIT ?1";
        self.objects(&self.connection(), sql, [limit])
    }

    fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, AccessError> {
        let sql = "SELECT seq, body FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        self.rows(&self.connection(), sql, params![after.cast_signed(), limit], |row| {
            Ok(rows::event(row.get(0)?, &row.get::<_, String>(1)?))
        })
    }

    fn token_used(&self, id: &str) -> Result<bool, AccessError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM spent WHERE token = ?1)";
        self.connection().query_row(sql, [id], |row| row.get(0)).map_err(|e| self.failed(&e))
    }

    fn cursor(&self, name: &str) -> Result<u64, AccessError> {
        let sql = "SELECT coalesce(max(seq), 0) FROM cursors WHERE name = ?1";
        let seq: i64 =
            self.connection().query_row(sql, [name], |row| row.get(0)).map_err(|e| self.failed(&e))?;
        Ok(seq.cast_unsigned())
    }

    fn advance_cursor(&self, name: &str, from: u64, to: u64) -> Result<bool, AccessError> {
        let connection = self.connection();
        let first = "INSERT INTO cursors (name, seq) VALUES (?1, 0) ON CONFLICT DO NOTHING";
        let sql = "UPDATE cursors SET seq = ?3 WHERE name = ?1 AND seq = ?2";
        connection
            .execute(first, [name])
            .and_then(|_| connection.execute(sql, params![name, from.cast_signed(), to.cast_signed()]))
            .map(|moved| moved == 1)
            .map_err(|e| self.failed(&e))
    }

    fn lease(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        lasting: Duration,
    ) -> Result<bool, AccessError> {
        let sql = "INSERT INTO leases (name, holder, until) VALUES (?1, ?2, ?4) ON CONFLICT (name) \
                   DO UPDATE SET holder = excluded.holder, until = excluded.until \
                   WHERE leases.holder = excluded.holder OR leases.until <= ?3";
        let until = after(now, lasting).as_millisecond();
        let taken = self
            .connection()
            .execute(sql, params![name, holder, now.as_millisecond(), until])
            .map_err(|e| self.failed(&e))?;
        Ok(taken == 1)
    }
}

/// Why a change was rolled back.
enum Rejected {
    IdTaken,
    TokenUsed,
    Missing(String),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Rejected {
    fn from(error: rusqlite::Error) -> Self {
        Rejected::Sqlite(error)
    }
}

fn revision(connection: &Connection) -> rusqlite::Result<u64> {
    let seq: i64 = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?
        .query_row([], |row| row.get(0))?;
    Ok(seq.cast_unsigned())
}

fn write(transaction: &Transaction<'_>, rows: &Rows) -> Result<u64, Rejected> {
    if let Some((token, expires_at, forgotten)) = &rows.token {
        transaction.execute("DELETE FROM spent WHERE expires_at < ?1", [forgotten])?;
        let sql = "INSERT INTO spent (token, expires_at) VALUES (?1, ?2)";
        insert(transaction, sql, params![token, expires_at], Rejected::TokenUsed)?;
    }
    for event in &rows.events {
        transaction
            .prepare_cached("INSERT INTO events (at, body) VALUES (?1, ?2)")?
            .execute(params![event.at, event.body])?;
    }
    let revision = revision(transaction)?;
    let at = revision.cast_signed();
    if let Some(RequestRow { id, state, created_at, body }) = &rows.new_request {
        let sql = "INSERT INTO requests (id, state, created_at, revision, body) VALUES (?1, ?2, ?3, ?4, ?5)";
        insert(transaction, sql, params![id, state, created_at, at, body], Rejected::IdTaken)?;
    }
    if let Some(GrantRow { id, starts_at, ended_at, body }) = &rows.new_grant {
        let sql = "INSERT INTO grants (id, starts_at, ended_at, revision, body) VALUES (?1, ?2, ?3, ?4, ?5)";
        insert(transaction, sql, params![id, starts_at, ended_at, at, body], Rejected::IdTaken)?;
    }
    if let Some(HoldRow { id, state, created_at, decided_at, body }) = &rows.new_hold {
        let sql = "INSERT INTO holds (id, state, created_at, decided_at, revision, body) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let params = params![id, state, created_at, decided_at, at, body];
        insert(transaction, sql, params, Rejected::IdTaken)?;
    }
    for RequestRow { id, state, body, .. } in &rows.requests {
        let sql = "UPDATE requests SET state = ?2, revision = ?3, body = ?4 WHERE id = ?1";
        update(transaction, id, sql, params![id, state, at, body])?;
    }
    for id in &rows.revoked {
        let sql = "UPDATE requests SET state = ?2, revision = ?3 WHERE id = ?1";
        update(transaction, id, sql, params![id, RequestState::Revoked.as_str(), at])?;
    }
    for GrantRow { id, ended_at, body, .. } in &rows.grants {
        let sql = "UPDATE grants SET ended_at = ?2, revision = ?3, body = ?4 WHERE id = ?1";
        update(transaction, id, sql, params![id, ended_at, at, body])?;
    }
    for HoldRow { id, state, decided_at, body, .. } in &rows.holds {
        let sql = "UPDATE holds SET state = ?2, decided_at = ?3, revision = ?4, body = ?5 WHERE id = ?1";
        update(transaction, id, sql, params![id, state, decided_at, at, body])?;
    }
    Ok(revision)
}

/// Inserts a row; `taken` when its key is there already.
fn insert(
    transaction: &Transaction<'_>,
    sql: &str,
    params: impl Params,
    taken: Rejected,
) -> Result<(), Rejected> {
    match transaction.prepare_cached(sql)?.execute(params) {
        Ok(_) => Ok(()),
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::ConstraintViolation => {
            Err(taken)
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

#[cfg(test)]
mod tests;
