//! The provider as a whole: its controls, and how it is spoken to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use idp::{Endpoint, Error, Idp, Lifetimes, Options, Person};
use reqwest::Method;

use crate::rig::{Rig, claims, text};

fn people() -> Vec<Person> {
    vec![Person::example("alice", &["dev"])]
}

#[test]
fn it_listens_on_loopback_alone() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let options = Options { listen: address.parse().unwrap(), ..Options::new(people()) };
        let refused = Idp::start(options).unwrap_err();
        assert!(matches!(refused, Error::NotLoopback(_)), "{refused}");
        assert!(refused.to_string().contains("anybody"), "{refused}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let refused = Idp::start(Options { listen: address, ..Options::new(people()) }).unwrap_err();
    assert!(refused.to_string().contains(&address.to_string()), "{refused}");
}

#[test]
fn dropped_it_is_gone_with_what_is_connected() {
    let idp = Idp::start(Options::new(people())).unwrap();
    let address: SocketAddr = idp.issuer().strip_prefix("http://").unwrap().parse().unwrap();
    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(b"GET /jwks HTTP/1.1\r\n").unwrap();
    let before = Instant::now();
    drop(idp);
    assert!(before.elapsed() < Duration::from_secs(5));
    assert!(matches!(idle.read(&mut [0; 64]), Ok(0) | Err(_)), "the connection is closed");
    assert!(TcpStream::connect(address).is_err());
    // The port is free again, for the same issuer.
    let again = Idp::start(Options { listen: address, ..Options::new(people()) }).unwrap();
    assert_eq!(again.issuer(), format!("http://{address}"));
}

#[test]
fn out_of_order_it_answers_nothing_and_lets_nobody_in() {
    let rig = Rig::start();
    let begun = rig.begin_device();
    let user_code = text(&begun["user_code"]);
    rig.idp.outage(true);
    for path in ["/jwks", "/.well-known/openid-configuration", "/device", "/authorize"] {
        assert_eq!(rig.get(path).status, 503, "{path}");
    }
    assert_eq!(rig.poll(text(&begun["device_code"])).status, 503);
    assert!(matches!(rig.idp.confirm(user_code, "alice"), Err(Error::Outage)));
    assert!(matches!(rig.idp.refuse(user_code), Err(Error::Outage)));
    assert!(matches!(rig.idp.log_in(&rig.authorization(&[]), "alice"), Err(Error::Outage)));
    assert!(matches!(rig.idp.decline(&rig.authorization(&[])), Err(Error::Outage)));
    rig.idp.outage(false);
    rig.idp.confirm(user_code, "alice").unwrap();
    rig.poll(text(&begun["device_code"])).json(200);
}

#[test]
fn requests_are_counted_by_endpoint() {
    let rig = Rig::start();
    let begun = rig.begin_device();
    rig.poll(text(&begun["device_code"]));
    rig.poll("nonsense");
    rig.get("/jwks");
    rig.get("/nowhere");
    rig.idp.outage(true);
    rig.get("/jwks");
    for (endpoint, count) in [
        (Endpoint::DeviceAuthorization, 1),
        (Endpoint::Token, 2),
        (Endpoint::Jwks, 2),
        (Endpoint::Discovery, 0),
        (Endpoint::Device, 0),
        (Endpoint::Authorize, 0),
        (Endpoint::Login, 0),
        (Endpoint::Revoke, 0),
    ] {
        assert_eq!(rig.idp.requests(endpoint), count, "{endpoint:?}");
    }
}

#[test]
fn lifetimes_are_as_asked_for() {
    let rig = Rig::with(|options| {
        options.lifetimes = Lifetimes {
            id_token: Duration::from_secs(8),
            access_token: Duration::from_secs(9),
            refresh_token: Duration::from_secs(10),
            device_code: Duration::from_secs(11),
            code: Duration::from_secs(12),
        };
        options.poll_interval = Duration::from_secs(1);
    });
    let begun = rig.begin_device();
    assert_eq!((begun["expires_in"].as_u64(), begun["interval"].as_u64()), (Some(11), Some(1)));
    let code = rig.code();
    rig.seconds(11);
    let tokens = rig.redeem(&code, &[]).json(200);
    let said = claims(text(&tokens["id_token"]));
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 8);
    assert_eq!(tokens["expires_in"].as_u64(), Some(9));
    rig.seconds(10);
    assert_eq!(rig.refresh(text(&tokens["refresh_token"])).refused(), "invalid_grant");
}

#[test]
fn it_is_spoken_to_in_forms() {
    let rig = Rig::start();
    let send = |method: Method, path: &str, kind: &str, body: Vec<u8>| {
        let request = rig.web().request(method, &rig.url(path)).header("content-type", kind).body(body);
        rig.web().send(request)
    };
    let json = b"{\"client_id\": \"portcullis\"}".to_vec();
    assert_eq!(send(Method::POST, "/token", "application/json", json).refused(), "invalid_request");
    let form = "application/x-www-form-urlencoded";
    for body in [b"client_id=%zz".to_vec(), b"client_id=\xff".to_vec(), b"a=1&a=2".to_vec()] {
        assert_eq!(send(Method::POST, "/token", form, body).refused(), "invalid_request");
    }
    assert_eq!(send(Method::POST, "/token", form, vec![b'a'; 70_000]).status, 413);
    for (method, path, allowed) in [
        (Method::GET, "/token", "POST"),
        (Method::GET, "/login", "POST"),
        (Method::PUT, "/device", "GET, POST"),
        (Method::DELETE, "/authorize", "GET, POST"),
        (Method::POST, "/jwks", "GET"),
    ] {
        let answer = send(method.clone(), path, form, Vec::new());
        assert_eq!((answer.status, answer.header("allow")), (405, allowed), "{method} {path}");
    }
    for path in ["/", "/jwks/", "/Token", "//jwks", "/.well-known/openid-configuration/"] {
        assert_eq!(rig.get(path).status, 404, "{path}");
    }
    let basic = rig.web().request(Method::POST, &rig.url("/token")).basic_auth("portcullis", Some("secret"));
    let refused =
        rig.web().send(basic.form(&[("grant_type", "authorization_code"), ("client_id", "portcullis")]));
    assert_eq!(
        (refused.refused().as_str(), refused.header("www-authenticate").is_empty()),
        ("invalid_client", false)
    );
}
