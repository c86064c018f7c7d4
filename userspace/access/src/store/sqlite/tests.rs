use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;
use crate::Person;
use crate::store::EventAction;
use crate::testing::{grant, person, start};

const WRITER_DATABASE: &str = "PORTCULLIS_TEST_WRITER_DATABASE";

fn change(n: u32) -> Change {
    let grant = grant(n, &person("alice", &[]), "pods");
    let event = Event {
        seq: 0,
        at: start(),
        action: EventAction::Granted,
        by: None,
        subject: Person::from(&person("alice", &[])),
        role: grant.role.clone(),
        target: grant.target.clone(),
        request: grant.request.clone(),
        grant: Some(grant.id.clone()),
        comment: None,
    };
    Change { new_grant: Some(grant), events: vec![event], ..Change::default() }
}

fn refused(path: &Path) -> String {
    SqliteStore::open(path).unwrap_err().to_string()
}

#[test]
fn a_change_is_written_once_and_upon_the_right_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("db")).unwrap();
    assert_eq!(store.apply(0, &change(1)).unwrap(), Applied::Done(1));
    assert_eq!(store.apply(0, &change(2)).unwrap(), Applied::Conflict);
    assert_eq!(store.apply(1, &change(1)).unwrap(), Applied::IdTaken);
    assert_eq!(store.revision().unwrap(), 1);
    let unknown = Change { new_grant: None, grants: change(7).new_grant.into_iter().collect(), ..change(7) };
    assert!(store.apply(1, &unknown).unwrap_err().to_string().ends_with("has no g-000007 to change"));
    assert_eq!((store.revision().unwrap(), store.events(0, 10).unwrap().len()), (1, 1));
    assert_eq!(store.load(start()).unwrap().grants, [change(1).new_grant.unwrap()]);
}

#[test]
fn events_are_never_changed() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("db")).unwrap();
    store.apply(0, &change(1)).unwrap();
    for sql in ["UPDATE events SET body = ''", "DELETE FROM events"] {
        let error = store.connection().execute(sql, []).unwrap_err().to_string();
        assert!(error.starts_with("events are never"), "{error}");
    }
}

#[test]
fn the_file_and_its_log_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let store = SqliteStore::open(&path).unwrap();
    store.apply(0, &change(1)).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    drop(store);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refused(&path).contains("its mode 0640 opens it to others"));
}

#[test]
fn what_is_not_ours_or_not_whole_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let database = |name: &str, prepare: &dyn Fn(&Connection)| {
        let path = dir.path().join(name);
        let store = SqliteStore::open(&path).unwrap();
        for n in 0..200 {
            store.apply(n.into(), &change(n)).unwrap();
        }
        prepare(&store.connection());
        drop(store);
        path
    };
    let newer = database("newer", &|db| db.pragma_update(None, "user_version", 99).unwrap());
    assert_eq!(
        refused(&newer),
        format!(
            "the grant store {} was written by a newer portcullis: its schema is 99, this build knows 1",
            newer.display()
        )
    );
    let foreign = database("foreign", &|db| db.pragma_update(None, "application_id", 1).unwrap());
    assert!(refused(&foreign).ends_with("is the database of another program"));

    let torn = database("torn", &|_| ());
    let mut bytes = std::fs::read(&torn).unwrap();
    let end = bytes.len() - 8192;
    bytes[4096..end].fill(0x5a);
    std::fs::write(&torn, bytes).unwrap();
    assert!(refused(&torn).contains("damaged"), "{}", refused(&torn));

    let garbage = dir.path().join("garbage");
    private_file(&garbage).unwrap();
    std::fs::write(&garbage, "this is no database at all, is it? ".repeat(100)).unwrap();
    assert!(
        refused(&garbage).contains("damaged or unusable: file is not a database"),
        "{}",
        refused(&garbage)
    );
    assert!(refused(&dir.path().join("no/such/dir")).contains("cannot be opened"));
}

#[test]
fn a_row_that_cannot_be_read_is_an_error_and_no_missing_grant() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("db")).unwrap();
    store.apply(0, &change(1)).unwrap();
    store.connection().execute("UPDATE grants SET body = '{\"id\": \"g-000001\"}'", []).unwrap();
    let error = store.load(start()).unwrap_err().to_string();
    assert!(error.contains("holds a row that cannot be read: missing field"), "{error}");
}

/// Not a test of its own: the process that the next one kills.
#[test]
fn writer() {
    let Some(path) = std::env::var_os(WRITER_DATABASE) else { return };
    let store = SqliteStore::open(Path::new(&path)).unwrap();
    for n in 0u32.. {
        assert_eq!(store.apply(n.into(), &change(n)).unwrap(), Applied::Done(u64::from(n) + 1));
        println!("\nwritten {n}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::sqlite::tests::writer", "--nocapture"])
        .env(WRITER_DATABASE, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut written = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some(n) = line.unwrap().strip_prefix("written ") {
            written = Some(n.parse::<u32>().unwrap());
        }
        if written == Some(25) {
            child.kill().unwrap(); // SIGKILL; what it still printed is read until the pipe ends
        }
    }
    child.wait().unwrap();
    let store = SqliteStore::open(&path).unwrap();
    for n in 0..=written.unwrap() {
        assert!(store.grant(&format!("g-{n:06x}").parse().unwrap()).unwrap().is_some(), "{n}");
    }
    let events = store.events(0, 1_000_000).unwrap();
    assert_eq!(events.len() as u64, store.revision().unwrap());
}
