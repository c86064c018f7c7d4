//! What the endpoint does whoever asks: limits, certificate, end.

use super::*;

#[tokio::test]
async fn what_is_not_configured_is_not_there() {
    let stage = Stage::new().await;
    for path in
        ["/", "/decide", "/slack", "/slack/interactive/", "/webhook/decide/x", "/metrics", "//decide/x"]
    {
        assert_eq!(stage.send("GET", path, "", "").await.status, 404, "{path}");
    }
    for path in ["/slack/interactive", "/webhook/decide"] {
        let reply = stage.send("GET", path, "", "").await;
        assert_eq!(reply.status, 405, "{path}");
    }
    let bare = Stage::with(
        "{listen: '127.0.0.1:0', links_for: 1m}".replace(", links_for: 1m", "").as_str(),
        Judge::default(),
    )
    .await;
    for path in ["/decide/x.y", "/slack/interactive", "/webhook/decide"] {
        assert_eq!(bare.send("POST", path, OURS, "").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn everything_is_bounded() {
    let stage = Stage::new().await;
    let big = "x".repeat(300 * 1024);
    for (path, headers) in
        [(stage.link(Verdict::Approve).as_str(), OURS), ("/slack/interactive", ""), ("/webhook/decide", "")]
    {
        assert_eq!(stage.send("POST", path, headers, &big).await.status, 413, "{path}");
    }
    let reply = stage.send("GET", "/", &format!("X-Big: {}\r\n", "x".repeat(32 * 1024)), "").await;
    assert_eq!(reply.status, 431);
    // One request a connection: a second one is not read.
    let two = "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = stage.raw(two.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 404").count(), 1, "{answer}");
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_places_come_free() {
    let stage = Stage::new().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(TcpStream::connect(stage.address).await.unwrap());
    }
    // Accepted in order, so by now all places are taken.
    assert_eq!(stage.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, "");
    drop(open);
    // The server notices in its own time; each try is a real connection, not a pause.
    for _ in 0..10_000 {
        if stage.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 404") {
            return;
        }
    }
    panic!("places never came free");
}

#[tokio::test]
async fn draining_ends_the_server() {
    let stage = Stage::new().await;
    assert_eq!(stage.send("GET", "/", "", "").await.status, 404);
    stage.drain.cancel();
    stage.task.await.unwrap();
    assert!(TcpStream::connect(stage.address).await.is_err());
}

#[tokio::test]
async fn the_certificate_is_shown_and_read_again_when_it_was_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let renew = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = dir.path().join("key.new");
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(key, dir.path().join("key")).unwrap();
        std::fs::write(dir.path().join("cert.new"), made.cert.pem()).unwrap();
        std::fs::rename(dir.path().join("cert.new"), dir.path().join("cert")).unwrap();
        reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()
    };
    let first = renew("first.example");
    let tls = format!("tls: {{certFile: {0}/cert, keyFile: {0}/key}}\n", dir.path().display());
    let config = CONFIG.replace("baseUrl", &format!("{tls}baseUrl"));
    let stage = Stage::with(&config, Judge::default()).await;
    let get = async |name: &str, root: &reqwest::Certificate| {
        let client =
            reqwest::Client::builder().tls_certs_only([root.clone()]).resolve(name, stage.address).no_proxy();
        let url = format!("https://{name}:{}/", stage.address.port());
        client.build().unwrap().get(url).send().await.map(|answer| answer.status().as_u16())
    };
    assert_eq!(get("first.example", &first).await.unwrap(), 404);
    let second = renew("second.example");
    stage.clock.forward(60);
    assert_eq!(get("second.example", &second).await.unwrap(), 404);
    assert!(get("first.example", &first).await.is_err());
    // A renewal that cannot be used changes nothing.
    std::fs::write(dir.path().join("cert"), "half a certi").unwrap();
    stage.clock.forward(60);
    assert_eq!(get("second.example", &second).await.unwrap(), 404);
}

/// In paused time, which runs ahead while everyone waits.
#[tokio::test(start_paused = true)]
async fn who_is_slow_is_cut() {
    let stage = Stage::new().await;
    let asked = tokio::time::Instant::now();
    stage.raw(b"GET / HTTP/1.1\r\nHos").await;
    assert!((5..=6).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
    let asked = tokio::time::Instant::now();
    stage.raw(b"POST /webhook/decide HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").await;
    assert!((30..=31).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
}
