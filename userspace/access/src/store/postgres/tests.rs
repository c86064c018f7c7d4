//! What only a server can get wrong.

use std::net::TcpListener;
use std::path::Path;
use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::store::Token;
use crate::store::testing::{Place, Server, private_file};
use crate::store::tests::change;
use crate::testing::{hold, person, request, start};

fn open(url: &str, certificate_authority: Option<&Path>) -> Result<PostgresStore, String> {
    let url = private_file(url);
    let config = PostgresConfig {
        url_file: url.path().into(),
        certificate_authority: certificate_authority.map(Into::into),
    };
    let store = PostgresStore::open(&config).map_err(|error| error.to_string())?;
    // The file is gone afterwards: what is open stays open.
    store.load(start()).map_err(|error| error.to_string())?;
    Ok(store)
}

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that has a certificate for `localhost`, with the CA of that, and its port.
static WITH_TLS: LazyLock<(Server, u16)> = LazyLock::new(|| {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start(Some(port), |dir| {
        let ca = issuer("grants");
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
        std::fs::write(dir.join("server.pem"), certificate.pem()).unwrap();
        std::fs::copy(private_file(&key.serialize_pem()).path(), dir.join("server.key")).unwrap();
        let hba = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(dir.join("hba"), hba).unwrap();
        let in_folder =
            [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key"), ("hba_file", "hba")];
        let files = in_folder.map(|(setting, file)| format!("{setting}={}/{file}", dir.display()));
        let plain = ["ssl=on", "listen_addresses=127.0.0.1"].map(str::to_owned);
        plain.into_iter().chain(files).collect()
    });
    server.execute("postgres", "CREATE ROLE daemon LOGIN SUPERUSER PASSWORD 'hunter2'").unwrap();
    (server, port)
});

#[test]
fn the_server_has_to_prove_who_it_is() {
    let (server, port) = &*WITH_TLS;
    let database = server.database();
    let url = |host: &str, more: &str| format!("postgres://daemon:hunter2@{host}:{port}/{database}{more}");
    let ca = server.dir().join("ca.pem");
    for mode in ["", "?sslmode=verify-full", "?sslmode=require"] {
        open(&url("localhost", mode), Some(&ca)).unwrap();
    }
    let other = private_file(&issuer("another").pem());
    for (url, ca, expected) in [
        (url("localhost", ""), other.path(), "invalid peer certificate: UnknownIssuer"),
        (url("127.0.0.1", ""), &ca, "invalid peer certificate: certificate not valid for name \"127.0.0.1\""),
        (url("localhost", "?sslmode=disable"), &ca, "no pg_hba.conf entry"),
        (url("localhost", "").replace("hunter2", "hunter3"), &ca, "password authentication failed"),
    ] {
        let error = open(&url, Some(ca)).err().unwrap();
        assert!(error.contains(expected) && !error.contains("hunter"), "{error}");
        assert!(error.starts_with(&format!("the grant store {database} of PostgreSQL at ")), "{error}");
    }
    let empty = private_file("");
    assert!(open(&url("localhost", ""), Some(empty.path())).err().unwrap().contains("holds no certificate"));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error =
        open(&format!("postgres://u:hunter2@127.0.0.1:{port}/db?sslmode=disable"), None).err().unwrap();
    assert!(
        error.starts_with(&format!("the grant store db of PostgreSQL at 127.0.0.1:{port} cannot be used"))
    );
    assert!(error.contains("refused") && !error.contains("hunter2"), "{error}");
}

#[test]
fn tables_of_another_program_are_left_alone() {
    let place = Place::postgres();
    place.execute("CREATE SCHEMA portcullis; CREATE TABLE portcullis.grants (mine int)").unwrap();
    let error = place.try_open().err().unwrap().to_string();
    assert!(error.ends_with("has a schema `portcullis` of another program"), "{error}");
    // An empty schema that somebody made for us will do.
    let place = Place::postgres();
    place.execute("CREATE SCHEMA portcullis").unwrap();
    place.open();
}

#[test]
fn bastions_that_start_together_make_the_tables_once() {
    let place = Place::postgres();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| place.open().load(start()).unwrap());
        }
    });
}

/// What the manual tells operators to grant is enough, and events can only be added.
#[test]
fn a_user_that_only_adds_to_the_trail() {
    let manual = include_str!("../../../../../docs/store.md");
    let (_, sql) = manual.split_once("```sql\n").unwrap();
    let (sql, _) = sql.split_once("```").unwrap();
    let place = Place::postgres();
    place.open(); // the owner makes the tables
    let Place::Postgres { server, database, .. } = &place else { unreachable!() };
    server.execute(database, sql).unwrap();

    let url = private_file(&server.url_of("portcullis", database));
    let config = PostgresConfig { url_file: url.path().into(), certificate_authority: None };
    let store = PostgresStore::open(&config).unwrap();
    store.load(start()).unwrap();
    let alice = person("alice", &[]);
    let token = Some(Token { id: "t".into(), expires_at: start() });
    let asked =
        Change { new_request: Some(request(1, &alice, "pods")), new_hold: Some(hold(1)), token, ..change(1) };
    assert_eq!(store.apply(0, &asked).unwrap(), Applied::Done(1));
    let all_changed = Change {
        new_grant: None,
        requests: vec![request(1, &alice, "pods")],
        revoked: vec![request(1, &alice, "pods").id],
        grants: asked.new_grant.into_iter().collect(),
        holds: vec![hold(1)],
        token: Some(Token { id: "u".into(), expires_at: start() }),
        ..change(1)
    };
    assert_eq!(store.apply(1, &all_changed).unwrap(), Applied::Done(2));
    assert_eq!(store.since(1).unwrap().unwrap().holds.len(), 1);
    assert!(store.advance_cursor("hooks", 0, 1).unwrap() && store.advance_cursor("hooks", 1, 2).unwrap());
    assert!(
        store.lease("hooks", "a", start(), ALLOWED).unwrap()
            && store.lease("hooks", "a", start(), ALLOWED).unwrap()
    );

    for sql in [
        "UPDATE portcullis.events SET body = ''",
        "DELETE FROM portcullis.events",
        "TRUNCATE portcullis.events",
        "DELETE FROM portcullis.grants",
        "UPDATE portcullis.spent SET token = 'v'",
        "ALTER TABLE portcullis.events DISABLE TRIGGER ALL",
        "CREATE TABLE portcullis.mine (a int)",
    ] {
        let error = server.execute_as("portcullis", database, sql).unwrap_err();
        assert!(error.contains("permission denied") || error.contains("must be owner"), "{sql}: {error}");
    }
    assert!(place.execute("TRUNCATE events").unwrap_err().starts_with("events are never"));
}
