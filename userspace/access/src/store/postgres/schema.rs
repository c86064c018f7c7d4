//! The tables, in the schema `portcullis`: made where they are missing, refused where they are not ours.

use tokio_postgres::{Client, GenericClient};

use super::session::Failed;

/// Each entry takes the schema one version further; `schema_version` says how many have run.
const MIGRATIONS: &[&str] = &[include_str!("001.sql")];
/// "portcull" as a number: bastions that start at the same time migrate one after the other.
const LOCK: i64 = 0x706f_7274_6375_6c6c;

/// Brings the schema to the version of this build.
pub(super) async fn prepare(client: &mut Client) -> Result<(), Failed> {
    let known = MIGRATIONS.len();
    if version(client).await? == known {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.batch_execute("SET LOCAL lock_timeout = '20s'").await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let found = version(&transaction).await?;
    if found > known {
        return Err(Failed::Because(format!(
            "was written by a newer portcullis: its schema is {found}, this build knows {known}"
        )));
    }
    if found == 0 {
        create(&transaction).await?;
    }
    for migration in &MIGRATIONS[found..] {
        transaction.batch_execute(migration).await?;
    }
    let version = i32::try_from(known).map_err(|_| Failed::Because("has too many versions".to_owned()))?;
    transaction.execute("UPDATE schema_version SET version = $1", &[&version]).await?;
    Ok(transaction.commit().await?)
}

/// How many migrations have run; 0 where there is no table that says so.
async fn version(client: &impl GenericClient) -> Result<usize, Failed> {
    // `to_regclass` may still not see what another bastion made while this one waited for its lock.
    let there = "SELECT EXISTS (SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
                 WHERE nspname = 'portcullis' AND relname = 'schema_version')";
    if !client.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let found = client.query_opt("SELECT version FROM portcullis.schema_version", &[]).await?;
    let version: i32 = found.ok_or_else(foreign)?.try_get(0)?;
    usize::try_from(version).ok().filter(|version| *version > 0).ok_or_else(foreign)
}

async fn create(client: &impl GenericClient) -> Result<(), Failed> {
    let occupied = "SELECT EXISTS (SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
                    WHERE nspname = 'portcullis')";
    if client.query_one(occupied, &[]).await?.try_get::<_, bool>(0)? {
        return Err(foreign());
    }
    // Asked first: `IF NOT EXISTS` needs the right to make one even where it makes none.
    let there = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'portcullis')";
    if !client.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        client.batch_execute("CREATE SCHEMA portcullis").await?;
    }
    let sql = "CREATE TABLE portcullis.schema_version (\
                   only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), version integer NOT NULL);\
               INSERT INTO portcullis.schema_version (version) VALUES (0)";
    Ok(client.batch_execute(sql).await?)
}

fn foreign() -> Failed {
    Failed::Because("has a schema `portcullis` of another program".to_owned())
}
