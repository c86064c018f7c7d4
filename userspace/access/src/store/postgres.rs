//! PostgreSQL, for several bastions on one set of grants.
//!
//! The tables and the revision are as in the SQLite store. Writers lock the one row of `revision`, so that what was
//! decided upon is still so when it is written, whichever bastion decided. Each change is told by `NOTIFY`; who misses
//! that finds the revision moved.

mod place;
mod schema;
mod session;
mod tls;

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row, Transaction};

use self::session::{CHANNEL, Failed, Link, Session};
use super::rows::{self, GrantRow, HoldRow, RequestRow, Rows};
use super::{Applied, Change, Event, Live, Store};
use crate::state::after;
use crate::{AccessError, Grant, GrantId, Hold, HoldId, PostgresConfig, Request, RequestId, RequestState};

/// How long a question may take, a new connection included.
const ALLOWED: Duration = Duration::from_secs(4);
/// How long it may take to read all that is in force, and to make the tables.
const ALL_ALLOWED: Duration = Duration::from_secs(30);

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The store of several bastions.
pub struct PostgresStore(Link);

impl PostgresStore {
    /// Connects, and makes the tables where there are none.
    ///
    /// # Errors
    /// [`AccessError::Store`] when a file that `config` names is not as it must be, the server cannot be reached or does
    /// not prove who it is, or the tables are of a newer build or of another program.
    pub fn open(config: &PostgresConfig) -> Result<Self, AccessError> {
        let store = Self(Link::start(config)?);
        store.0.run(ALL_ALLOWED, |_| Box::pin(async { Ok(()) }))?;
        Ok(store)
    }
}

impl Store for PostgresStore {
    fn load(&self, since: Timestamp) -> Result<Live, AccessError> {
        self.0.run(ALL_ALLOWED, move |session| Box::pin(load(session, since.as_millisecond())))
    }

    fn since(&self, revision: u64) -> Result<Option<Live>, AccessError> {
        self.0.run(ALLOWED, move |session| Box::pin(since(session, revision.cast_signed())))
    }

    fn revision(&self) -> Result<u64, AccessError> {
        self.0.run(ALLOWED, |session| {
            Box::pin(async {
                let row = session.client.query_one("SELECT seq FROM revision", &[]).await?;
                Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
            })
        })
    }

    fn apply(&self, revision: u64, change: &Change) -> Result<Applied, AccessError> {
        let rows =
            Rows::of(change).map_err(|error| self.0.error(format!("was given an odd change: {error}")))?;
        // A lockdown may end very many grants at once.
        let more = u32::try_from(rows.len() / 5000).unwrap_or(u32::MAX).min(30);
        let allowed = ALLOWED + Duration::from_secs(1) * more;
        self.0.run(allowed, move |session| Box::pin(apply(session, revision.cast_signed(), rows)))
    }

    fn request(&self, id: &RequestId) -> Result<Option<Request>, AccessError> {
        let id = id.to_string();
        self.0.run(ALLOWED, |session| {
            Box::pin(async move {
                let sql = "SELECT state, body FROM requests WHERE id = $1";
                Ok(session.read(sql, &[&id], request).await?.pop())
            })
        })
    }

    fn grant(&self, id: &GrantId) -> Result<Option<Grant>, AccessError> {
        let id = id.to_string();
        self.0.run(ALLOWED, |session| {
            Box::pin(async move {
                Ok(session.read("SELECT body FROM grants WHERE id = $1", &[&id], object).await?.pop())
            })
        })
    }

    fn hold(&self, id: &HoldId) -> Result<Option<Hold>, AccessError> {
        let id = id.to_string();
        self.0.run(ALLOWED, |session| {
            Box::pin(async move {
                Ok(session.read("SELECT body FROM holds WHERE id = $1", &[&id], object).await?.pop())
            })
        })
    }

    fn requests(&self, limit: u32) -> Result<Vec<Request>, AccessError> {
        self.0.run(ALLOWED, move |session| {
            Box::pin(async move {
                let sql = "SELECT state, body FROM requests ORDER BY created_at DESC, id LIMIT $1";
                session.read(sql, &[&i64::from(limit)], request).await
            })
        })
    }

    fn grants(&self, limit: u32) -> Result<Vec<Grant>, AccessError> {
        self.0.run(ALLOWED, move |session| {
            Box::pin(async move {
                let sql = "SELECT body FROM grants ORDER BY starts_at DESC, id LIMIT $1";
                session.read(sql, &[&i64::from(limit)], object).await
            })
        })
    }

    fn holds(&self, limit: u32) -> Result<Vec<Hold>, AccessError> {
        self.0.run(ALLOWED, move |session| {
            Box::pin(async move {
                let sql = "SELECT body FROM holds ORDER BY created_at DESC, id LIMIT $1";
                session.read(sql, &[&i64::from(limit)], object).await
            })
        })
    }

    fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, AccessError> {
        self.0.run(ALLOWED, move |session| {
            Box::pin(async move {
                let sql = "SELECT seq, body FROM events WHERE seq > $1 ORDER BY seq LIMIT $2";
                session.read(sql, &[&after.cast_signed(), &i64::from(limit)], event).await
            })
        })
    }

    fn token_used(&self, id: &str) -> Result<bool, AccessError> {
        let id = id.to_owned();
        self.0.run(ALLOWED, |session| {
            Box::pin(async move {
                let sql = "SELECT EXISTS (SELECT 1 FROM spent WHERE token = $1)";
                Ok(session.client.query_one(sql, &[&id]).await?.try_get(0)?)
            })
        })
    }

    fn cursor(&self, name: &str) -> Result<u64, AccessError> {
        let name = name.to_owned();
        self.0.run(ALLOWED, |session| {
            Box::pin(async move {
                let sql = "SELECT coalesce(max(seq), 0) FROM cursors WHERE name = $1";
                let row = session.client.query_one(sql, &[&name]).await?;
                Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
            })
        })
    }

    fn advance_cursor(&self, name: &str, from: u64, to: u64) -> Result<bool, AccessError> {
        let name = name.to_owned();
        self.0.run(ALLOWED, move |session| {
            Box::pin(async move {
                let first = "INSERT INTO cursors (name, seq) VALUES ($1, 0) ON CONFLICT DO NOTHING";
                session.client.execute(first, &[&name]).await?;
                let sql = "UPDATE cursors SET seq = $3 WHERE name = $1 AND seq = $2";
                let params: Params<'_> = &[&name, &from.cast_signed(), &to.cast_signed()];
                Ok(session.client.execute(sql, params).await? == 1)
            })
        })
    }

    fn lease(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        lasting: Duration,
    ) -> Result<bool, AccessError> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        let (now, until) = (now.as_millisecond(), after(now, lasting).as_millisecond());
        self.0.run(ALLOWED, move |session| {
            Box::pin(async move {
                let sql = "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $4) ON CONFLICT (name) \
                           DO UPDATE SET holder = excluded.holder, until = excluded.until \
                           WHERE leases.holder = excluded.holder OR leases.until <= $3";
                Ok(session.client.execute(sql, &[&name, &holder, &now, &until]).await? == 1)
            })
        })
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.0.news())
    }
}

impl Session {
    /// What `of` makes of each row.
    async fn read<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        of: fn(&Row) -> Result<T, Failed>,
    ) -> Result<Vec<T>, Failed> {
        self.client.query(sql, params).await?.iter().map(of).collect()
    }

    /// One look at the database, so that rows and revision belong together.
    async fn look(&mut self) -> Result<Transaction<'_>, Failed> {
        let transaction =
            self.client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        Ok(transaction.start().await?)
    }
}

async fn load(session: &mut Session, since: i64) -> Result<Live, Failed> {
    let look = session.look().await?;
    let [pending, approved] = rows::OPEN_HOLDS;
    let live = Live {
        revision: look
            .query_one("SELECT seq FROM revision", &[])
            .await?
            .try_get::<_, i64>(0)?
            .cast_unsigned(),
        requests: look
            .query("SELECT state, body FROM requests WHERE state = $1", &[&RequestState::Pending.as_str()])
            .await?
            .iter()
            .map(request)
            .collect::<Result<_, _>>()?,
        grants: look
            .query("SELECT body FROM grants WHERE ended_at IS NULL OR ended_at >= $1", &[&since])
            .await?
            .iter()
            .map(object)
            .collect::<Result<_, _>>()?,
        holds: look
            .query(
                "SELECT body FROM holds WHERE state IN ($1, $2) OR decided_at >= $3",
                &[&pending, &approved, &since],
            )
            .await?
            .iter()
            .map(object)
            .collect::<Result<_, _>>()?,
    };
    look.commit().await?;
    session.loaded = true;
    Ok(live)
}

async fn since(session: &mut Session, after: i64) -> Result<Option<Live>, Failed> {
    if !session.loaded {
        return Ok(None);
    }
    let seq = "SELECT seq FROM revision";
    let revision: i64 = session.client.query_one(seq, &[]).await?.try_get(0)?;
    let mut live = Live {
        revision: revision.cast_unsigned(),
        requests: Vec::new(),
        grants: Vec::new(),
        holds: Vec::new(),
    };
    if revision <= after {
        return Ok((revision == after).then_some(live));
    }
    let look = session.look().await?;
    live.revision = look.query_one(seq, &[]).await?.try_get::<_, i64>(0)?.cast_unsigned();
    for row in look.query("SELECT state, body FROM requests WHERE revision > $1", &[&after]).await? {
        live.requests.push(request(&row)?);
    }
    for row in look.query("SELECT body FROM grants WHERE revision > $1", &[&after]).await? {
        live.grants.push(object(&row)?);
    }
    for row in look.query("SELECT body FROM holds WHERE revision > $1", &[&after]).await? {
        live.holds.push(object(&row)?);
    }
    look.commit().await?;
    Ok(Some(live))
}

/// A number of statements that does not grow with the change.
async fn apply(session: &mut Session, expected: i64, rows: Rows) -> Result<Applied, Failed> {
    if !session.loaded {
        return Ok(Applied::Conflict); // decided upon in another session, perhaps upon another database
    }
    let transaction = session.client.transaction().await?;
    let found: i64 = transaction.query_one("SELECT seq FROM revision FOR UPDATE", &[]).await?.try_get(0)?;
    if found != expected {
        transaction.rollback().await?;
        return Ok(Applied::Conflict);
    }
    if let Some((token, expires_at, forgotten)) = &rows.token {
        transaction.execute("DELETE FROM spent WHERE expires_at < $1", &[forgotten]).await?;
        let sql = "INSERT INTO spent (token, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        if transaction.execute(sql, &[token, expires_at]).await? == 0 {
            transaction.rollback().await?;
            return Ok(Applied::TokenUsed);
        }
    }
    let at = found + i64::try_from(rows.events.len()).unwrap_or(i64::MAX);
    if !insert_new(&transaction, at, &rows).await? {
        transaction.rollback().await?;
        return Ok(Applied::IdTaken);
    }
    let (times, bodies): (Vec<i64>, Vec<&str>) =
        rows.events.iter().map(|event| (event.at, event.body.as_str())).unzip();
    let sql = "INSERT INTO events (seq, at, body) SELECT $1 + number, at, body \
               FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS event (at, body, number)";
    transaction.execute(sql, &[&found, &times, &bodies]).await?;
    transaction.execute("UPDATE revision SET seq = $1", &[&at]).await?;
    update(&transaction, at, &rows).await?;
    transaction.execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &at.to_string()]).await?;
    transaction.commit().await?;
    Ok(Applied::Done(at.cast_unsigned()))
}

/// Inserts what is new; `false` when an id is taken.
async fn insert_new(transaction: &Transaction<'_>, at: i64, rows: &Rows) -> Result<bool, Failed> {
    let mut inserted = true;
    if let Some(RequestRow { id, state, created_at, body }) = &rows.new_request {
        let sql = "INSERT INTO requests (id, state, created_at, revision, body) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        inserted &= transaction.execute(sql, &[id, state, created_at, &at, body]).await? == 1;
    }
    if let Some(GrantRow { id, starts_at, ended_at, body }) = &rows.new_grant {
        let sql = "INSERT INTO grants (id, starts_at, ended_at, revision, body) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        inserted &= transaction.execute(sql, &[id, starts_at, ended_at, &at, body]).await? == 1;
    }
    if let Some(HoldRow { id, state, created_at, decided_at, body }) = &rows.new_hold {
        let sql = "INSERT INTO holds (id, state, created_at, decided_at, revision, body) \
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        inserted &= transaction.execute(sql, &[id, state, created_at, decided_at, &at, body]).await? == 1;
    }
    Ok(inserted)
}

/// Updates what exists, all of it.
async fn update(transaction: &Transaction<'_>, at: i64, rows: &Rows) -> Result<(), Failed> {
    if !rows.requests.is_empty() {
        let column = |of: fn(&RequestRow) -> &str| rows.requests.iter().map(of).collect::<Vec<_>>();
        let (ids, bodies) = (column(|row| &row.id), column(|row| &row.body));
        let states = column(|row| row.state);
        let sql = "UPDATE requests SET state = n.state, revision = $1, body = n.body \
                   FROM unnest($2::text[], $3::text[], $4::text[]) AS n (id, state, body) WHERE requests.id = n.id";
        all_there(transaction.execute(sql, &[&at, &ids, &states, &bodies]).await?, &ids)?;
    }
    if !rows.revoked.is_empty() {
        let ids: Vec<&str> = rows.revoked.iter().map(String::as_str).collect();
        let sql = "UPDATE requests SET state = $2, revision = $1 WHERE id = ANY ($3)";
        let revoked = RequestState::Revoked.as_str();
        all_there(transaction.execute(sql, &[&at, &revoked, &ids]).await?, &ids)?;
    }
    if !rows.grants.is_empty() {
        let column = |of: fn(&GrantRow) -> &str| rows.grants.iter().map(of).collect::<Vec<_>>();
        let (ids, bodies) = (column(|row| &row.id), column(|row| &row.body));
        let ends: Vec<Option<i64>> = rows.grants.iter().map(|row| row.ended_at).collect();
        let sql = "UPDATE grants SET ended_at = n.ended_at, revision = $1, body = n.body \
                   FROM unnest($2::text[], $3::bigint[], $4::text[]) AS n (id, ended_at, body) WHERE grants.id = n.id";
        all_there(transaction.execute(sql, &[&at, &ids, &ends, &bodies]).await?, &ids)?;
    }
    if !rows.holds.is_empty() {
        let column = |of: fn(&HoldRow) -> &str| rows.holds.iter().map(of).collect::<Vec<_>>();
        let (ids, bodies) = (column(|row| &row.id), column(|row| &row.body));
        let states = column(|row| row.state);
        let decided: Vec<Option<i64>> = rows.holds.iter().map(|row| row.decided_at).collect();
        let sql = "UPDATE holds SET state = n.state, decided_at = n.decided_at, revision = $1, body = n.body \
                   FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[]) AS n (id, state, decided_at, body) \
                   WHERE holds.id = n.id";
        all_there(transaction.execute(sql, &[&at, &ids, &states, &decided, &bodies]).await?, &ids)?;
    }
    Ok(())
}

fn all_there(changed: u64, ids: &[&str]) -> Result<(), Failed> {
    if usize::try_from(changed).is_ok_and(|changed| changed == ids.len()) {
        return Ok(());
    }
    Err(Failed::Because(format!("has no {} to change", ids.join(" or no "))))
}

fn request(row: &Row) -> Result<Request, Failed> {
    Ok(rows::request(row.try_get(0)?, row.try_get(1)?)?)
}

fn event(row: &Row) -> Result<Event, Failed> {
    Ok(rows::event(row.try_get(0)?, row.try_get(1)?)?)
}

/// The object in the one column.
fn object<T: serde::de::DeserializeOwned>(row: &Row) -> Result<T, Failed> {
    Ok(rows::object(row.try_get(0)?)?)
}

#[cfg(test)]
mod tests;
