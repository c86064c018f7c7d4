//! The file, and the tables in it: made where they are missing, refused where they are not ours or not whole.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

/// Each entry takes the schema one version further; `user_version` says how many have run.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("001.sql"), include_str!("002.sql")];
/// "PCLS": tells our databases from others (`PRAGMA application_id`).
pub(super) const APPLICATION_ID: i64 = 0x5043_4C53;
/// How long to wait for another writer.
const BUSY: Duration = Duration::from_secs(5);

/// Why a database cannot be worked with.
pub(super) enum Unusable {
    Sqlite(rusqlite::Error),
    Because(String),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        Unusable::Sqlite(error)
    }
}

/// Makes the file when it is not there, readable by nobody else from its first moment; refuses one that others
/// can read or write. SQLite gives its `-wal` and `-shm` files the same mode.
pub(super) fn private_file(path: &Path) -> io::Result<()> {
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

pub(super) fn prepare(connection: &mut Connection) -> Result<(), Unusable> {
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
