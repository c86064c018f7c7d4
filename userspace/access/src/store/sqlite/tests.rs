use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use std::os::unix::fs::PermissionsExt;

use super::file::{APPLICATION_ID, MIGRATIONS};
use super::*;
use crate::store::tests::change;
use crate::testing::start;

const WRITER_DATABASE: &str = "PORTCULLIS_TEST_WRITER_DATABASE";

fn refused(path: &Path) -> String {
    SqliteStore::open(path).unwrap_err().to_string()
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

/// A database as the first build left it: its rows are read, and nothing of it is lost.
#[test]
fn an_older_database_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    private_file(&path).unwrap();
    let old = Connection::open(&path).unwrap();
    old.execute_batch(MIGRATIONS[0]).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    let by = r#"{"issuer":"unix","id":"1001","name":"alice"}"#;
    let of = r#""role":"pods","target":"demo","reason":"because""#;
    let time = r#""2026-03-01T12:00:00Z""#;
    let request = format!(
        r#"{{"id":"r-000001","subject":{by},{of},"duration":"15m","extends":null,"state":"approved","createdAt":{time},"expiresAt":{time},"approvals":[],"decidedAt":{time},"refusal":null,"grant":"g-000001"}}"#
    );
    let grant = format!(
        r#"{{"id":"g-000001","request":"r-000001","subject":{by},{of},"approvedBy":[],"startsAt":{time},"expiresAt":{time},"ended":null}}"#
    );
    let event = format!(
        r#"{{"at":{time},"action":"granted","by":null,"subject":{by},"role":"pods","target":"demo","request":"r-000001","grant":"g-000001","comment":null}}"#
    );
    let insert = "INSERT INTO requests VALUES ('r-000001', 'approved', 1, ?1)";
    old.execute(insert, [request]).unwrap();
    old.execute("INSERT INTO grants VALUES ('g-000001', 1, NULL, ?1)", [grant]).unwrap();
    old.execute("INSERT INTO events (at, body) VALUES (1, ?1)", [event]).unwrap();
    drop(old);

    let store = SqliteStore::open(&path).unwrap();
    let live = store.load(start()).unwrap();
    assert_eq!((live.revision, live.grants.len(), live.requests.len()), (1, 1, 0));
    let event = store.events(0, 5).unwrap().remove(0);
    assert_eq!((event.request, event.hold), (Some("r-000001".parse().unwrap()), None));
    let grant = Grant { ended: Some(crate::Ended::Expired { at: start() }), ..live.grants[0].clone() };
    let revoked = Change {
        new_grant: None,
        grants: vec![grant],
        revoked: vec!["r-000001".parse().unwrap()],
        ..change(1)
    };
    assert_eq!(store.apply(1, &revoked).unwrap(), Applied::Done(2));
    let request = store.request(&"r-000001".parse().unwrap()).unwrap().unwrap();
    assert_eq!((request.state, request.starts_at, request.emergency), (RequestState::Revoked, None, false));
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.since(1).unwrap().unwrap().grants.len(), 1);
}
