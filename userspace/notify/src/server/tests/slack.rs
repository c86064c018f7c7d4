//! Callbacks: Slack's, and those that only look like it.

use super::*;

#[tokio::test]
async fn a_press_decides_as_the_approver_whose_it_is() {
    let stage = Stage::new().await;
    let button = stage.token(None, Verdict::Approve);
    let reply = stage.press("U1", &button).await;
    assert_eq!((reply.status, words(&reply)), (200, "`approve of r-7f3a9c is on record`".to_owned()));
    assert!(reply.body.contains("\"response_type\":\"ephemeral\""));
    let again = stage.press("U1", &button).await;
    assert_eq!((again.status, words(&again)), (200, "`this link or button was used already`".to_owned()));
    // Where two are required, both press the same button.
    stage.press("U2", &button).await;
    assert_eq!(stage.taken(), [said("bob", "r-7f3a9c", "approve"), said("carol", "r-7f3a9c", "approve")]);
    assert_eq!(stage.judge.taken()[0].by.method, portcullis_identity::Method::Webhook);
}

#[tokio::test]
async fn a_press_that_is_not_slacks_decides_nothing() {
    let stage = Stage::new().await;
    let pressed = payload("U1", "T1", &stage.token(None, Verdict::Approve));
    for (secret, late, reason) in [
        (ANOTHER, 0, "does not verify"),
        (SECRET, 301, "more than 300 seconds"),
        (SECRET, -301, "more than 300 seconds"),
    ] {
        let reply = stage.callback(&pressed, secret, late).await;
        assert_eq!(reply.status, 401);
        assert!(reply.body.contains(reason), "{}", reply.body);
    }
    let time = stage.clock.now().as_second();
    for (headers, reason) in [
        (String::new(), "exactly one X-Slack-Request-Timestamp"),
        (format!("X-Slack-Request-Timestamp: {time}\r\n"), "exactly one X-Slack-Signature"),
        (format!("X-Slack-Request-Timestamp: {time}\r\nX-Slack-Signature: v0=0\r\n"), "not of the form v0="),
        (
            format!("X-Slack-Request-Timestamp: {time}\r\nX-Slack-Signature: v0={}\r\n", "0".repeat(64)),
            "does not verify",
        ),
        (
            format!("X-Slack-Request-Timestamp: {time}\r\nX-Slack-Request-Timestamp: {time}\r\n"),
            "exactly one X-Slack-Request-Timestamp",
        ),
    ] {
        let reply = stage.send("POST", "/slack/interactive", &headers, "payload=%7B%7D").await;
        assert_eq!(reply.status, 401, "{headers}");
        assert!(reply.body.contains(reason), "{reason} in {}", reply.body);
    }
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn slacks_word_is_not_enough() {
    let stage = Stage::new().await;
    let button = stage.token(None, Verdict::Approve);
    let unknown = stage.press("U9", &button).await;
    assert!(words(&unknown).contains("Slack user U9 is no approver"), "{}", unknown.body);
    let elsewhere = stage.callback(&payload("U1", "T2", &button), SECRET, 0).await;
    assert!(words(&elsewhere).contains("another workspace"), "{}", elsewhere.body);
    let forged = token(&TokenKey::new(Secret::new(vec![9; 32])), None, Verdict::Approve);
    for (token, reason) in [
        (forged, "another key"),
        ("r-7f3a9c".to_owned(), "not whole"),
        // Bob's own link, pasted into a button that carol presses.
        (stage.token(Some("bob"), Verdict::Approve), "was made for a link"),
    ] {
        let reply = stage.press("U2", &token).await;
        assert_eq!(reply.status, 200);
        assert!(words(&reply).contains(reason), "{reason} in {}", reply.body);
    }
    stage.clock.forward(900);
    assert!(words(&stage.press("U1", &button).await).contains("expired at"));
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn callbacks_of_other_kinds_decide_nothing() {
    let stage = Stage::new().await;
    let press = payload("U1", "T1", &stage.token(None, Verdict::Approve));
    let other = press.replace("block_actions", "view_submission");
    assert_eq!(stage.callback(&other, SECRET, 0).await.status, 400);
    assert_eq!(stage.callback("{", SECRET, 0).await.status, 400);
    // A button that opens a link.
    let mut opened: serde_json::Value = serde_json::from_str(&press).unwrap();
    opened["actions"][0].as_object_mut().unwrap().remove("value");
    let reply = stage.callback(&opened.to_string(), SECRET, 0).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn slack_is_answered_where_it_asks_and_nobody_else_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = CONFIG.replace("team: T1", "team: T1, responseHosts: ['127.0.0.1']");
    let stage = Stage::with(&config, Judge::default()).await;
    let asked = |url: String| {
        let mut press: serde_json::Value =
            serde_json::from_str(&payload("U1", "T1", &stage.token(None, Verdict::Approve))).unwrap();
        press["response_url"] = url.into();
        press.to_string()
    };
    // Of another host: nothing may come of it. What arrives first is what was allowed.
    stage.callback(&asked(format!("http://localhost:{port}/elsewhere")), SECRET, 0).await;
    stage.callback(&asked(format!("http://127.0.0.1:{port}/answer")), SECRET, 0).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = vec![0; 4096];
    let mut length = 0;
    while !String::from_utf8_lossy(&read[..length]).contains('}') {
        length += stream.read(&mut read[length..]).await.unwrap();
    }
    let text = String::from_utf8_lossy(&read[..length]);
    assert!(text.starts_with("POST /answer HTTP/1.1") && text.contains("was used already"), "{text}");
}

#[test]
fn answers_go_to_the_named_hosts_and_securely() {
    tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let replies = Replies::new(&["hooks.slack.com", "127.0.0.1"].map(str::to_owned).into()).unwrap();
    for (url, allowed) in [
        ("https://hooks.slack.com/actions/T1/1/x", true),
        ("http://127.0.0.1:9/x", true),
        ("http://hooks.slack.com/actions/T1/1/x", false),
        ("https://hooks.slack.com.evil.example/", false),
        ("https://hooks.slack.com@evil.example/", false),
        ("https://169.254.169.254/latest", false),
        ("http://localhost:9/x", false),
        ("file:///etc/passwd", false),
        ("", false),
    ] {
        assert_eq!(replies.allowed(url).is_some(), allowed, "{url}");
    }
}
