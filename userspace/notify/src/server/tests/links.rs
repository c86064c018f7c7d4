//! Links, and those who open, alter or steal them.

use super::*;

#[tokio::test]
async fn a_link_shows_first_and_decides_when_its_button_is_pressed() {
    let stage = Stage::with(CONFIG, Judge { diff: Some("-a\n+<b>".into()), ..Judge::default() }).await;
    let link = stage.link(Verdict::Approve);
    let page = stage.send("GET", &link, "", "").await;
    assert_eq!(page.status, 200);
    for part in [
        "Approve r-7f3a9c?",
        "alice",
        "INC-7: web is stuck",
        "kubectl delete pod web",
        "+&lt;b&gt;",
        "Approve as bob",
    ] {
        assert!(page.body.contains(part), "{part} in {}", page.body);
    }
    let head = page.head.to_lowercase();
    for header in [
        "content-security-policy: default-src 'none'",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "frame-ancestors 'none'",
        "x-frame-options: deny",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert!(stage.taken().is_empty(), "looking decides nothing");

    let done = stage.send("POST", &link, OURS, "comment=seen+it+%26+fine").await;
    assert_eq!(done.status, 200);
    assert!(done.body.contains("approve of r-7f3a9c is on record"), "{}", done.body);
    let taken = stage.judge.taken();
    assert_eq!(stage.taken(), [said("bob", "r-7f3a9c", "approve")]);
    assert_eq!(
        (taken[0].comment.as_str(), taken[0].by.method),
        ("seen it & fine", portcullis_identity::Method::Link)
    );
    assert_eq!((taken[0].by.issuer.as_str(), taken[0].by.id.as_str()), ("unix", "1002"));
    assert_eq!(taken[0].expires, start() + Duration::from_secs(900));

    let again = stage.send("POST", &link, OURS, "").await;
    assert_eq!(again.status, 409);
    assert!(again.body.contains("was used already"), "{}", again.body);
    assert_eq!(stage.taken().len(), 1);
}

#[tokio::test]
async fn what_only_looks_decides_nothing() {
    let stage = Stage::new().await;
    let link = stage.link(Verdict::Approve);
    for method in ["GET", "HEAD"] {
        let reply = stage.send(method, &link, "", "").await;
        assert_eq!((reply.status, method == "HEAD"), (200, reply.body.is_empty()), "{method}");
    }
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        let reply = stage.send(method, &link, OURS, "").await;
        assert_eq!(reply.status, 405, "{method}");
        assert!(reply.head.to_lowercase().contains("allow: get, head, post"), "{}", reply.head);
    }
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn a_post_from_elsewhere_decides_nothing() {
    let stage = Stage::new().await;
    let link = stage.link(Verdict::Approve);
    for headers in [
        "",
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: http://bastion.example.com\r\n",
        "Origin: https://bastion.example.com.evil.example\r\n",
        "Origin: https://bastion.example.com:8443\r\n",
        "Origin: https://bastion.example.com\r\nOrigin: https://evil.example\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: none\r\n",
        "Referer: https://bastion.example.com/\r\n",
        "Sec-Fetch-Site: cross-site\r\nOrigin: https://bastion.example.com\r\n",
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        let reply = stage.send("POST", &link, headers, "").await;
        assert_eq!(reply.status, 403, "{headers}");
        assert!(reply.body.contains("open the link"), "{}", reply.body);
    }
    assert!(stage.taken().is_empty());
    // What browsers send from a page without referrer.
    let reply = stage.send("POST", &link, "Sec-Fetch-Site: same-origin\r\nOrigin: null\r\n", "").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn each_bad_link_has_its_own_reason() {
    let stage = Stage::new().await;
    let good = stage.token(Some("bob"), Verdict::Approve);
    let other = token(&TokenKey::new(Secret::new(vec![9; 32])), Some("bob"), Verdict::Approve);
    let (payload, code) = good.split_once('.').unwrap();
    let altered =
        format!("{}{}.{code}", &payload[..payload.len() - 1], if payload.ends_with('A') { "Q" } else { "A" });
    let gone = stage.token(Some("dave"), Verdict::Approve);
    let button = stage.token(None, Verdict::Approve);
    for (token, status, reason) in [
        (good[..good.len() - 5].to_owned(), 400, "is not whole"),
        (String::new(), 400, "is not whole"),
        ("../decide".to_owned(), 400, "is not whole"),
        (altered, 403, "was altered"),
        (other, 403, "another key"),
        (gone, 403, "dave is no longer among notify.approvers"),
        (button, 403, "was made for a button"),
    ] {
        for (method, headers) in [("GET", ""), ("POST", OURS)] {
            let reply = stage.send(method, &format!("/decide/{token}"), headers, "").await;
            assert_eq!(reply.status, status, "{method} {token}: {}", reply.body);
            assert!(reply.body.contains(reason), "{reason} in {}", reply.body);
        }
    }
    stage.clock.forward(899);
    assert_eq!(stage.send("GET", &stage.link(Verdict::Deny), "", "").await.status, 200);
    stage.clock.forward(1);
    for (method, headers) in [("GET", ""), ("POST", OURS)] {
        let reply = stage.send(method, &stage.link(Verdict::Deny), headers, "").await;
        assert_eq!(reply.status, 410);
        assert!(reply.body.contains("expired at 2026-01-01T00:15:00Z"), "{}", reply.body);
    }
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn what_is_decided_already_has_no_button() {
    let stage = Stage::new().await;
    *stage.judge.over.lock().unwrap() = Some("denied".into());
    let page = stage.send("GET", &stage.link(Verdict::Approve), "", "").await;
    assert_eq!(page.status, 409);
    assert!(
        page.body.contains("no longer waits: it is denied") && !page.body.contains("<form"),
        "{}",
        page.body
    );
}
