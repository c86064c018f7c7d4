//! The page that shows where a held request stands.

use super::*;

/// The path of the page of `h-7f3a9c`.
fn page(stage: &Stage) -> String {
    let hold = "h-7f3a9c".parse().unwrap();
    format!("/hold/{}", stage.notify.tokens.page(&hold, start() + Duration::from_secs(3600)))
}

#[tokio::test]
async fn a_page_shows_where_a_hold_stands_and_what_to_do() {
    let stage = Stage::with(CONFIG, Judge { diff: Some("+secret".into()), ..Judge::default() }).await;
    let url = page(&stage);
    for (state, next, looks_again) in [
        (None, "pending</h1>|Somebody has to agree to it until 2026-01-01T01:00:00Z", true),
        (Some("approved"), "approved</h1>|It may go on, once, until", false),
        (Some("spent"), "spent</h1>|It went on", false),
        (Some("denied"), "denied</h1>|It does not go on", false),
        (Some("cancelled"), "cancelled</h1>|It does not go on", false),
        (Some("expired"), "expired</h1>|It does not go on", false),
    ] {
        *stage.judge.over.lock().unwrap() = state.map(str::to_owned);
        let page = stage.send("GET", &url, "", "").await;
        assert_eq!(page.status, 200);
        let shown = ["<h1>h-7f3a9c is ", "delete pods &quot;web&quot;", "<dd>demo</dd>", "members of leads"];
        for part in next.split('|').chain(shown) {
            assert!(page.body.contains(part), "{state:?}: {part} in {}", page.body);
        }
        assert_eq!(
            page.body.contains("<meta http-equiv=\"refresh\" content=\"5\">"),
            looks_again,
            "{state:?}"
        );
        // Neither who asks nor with what, and nothing to press.
        for part in ["alice", "INC-7", "kubectl", "secret", "<form", "<button", "<script", "href"] {
            assert!(!page.body.contains(part), "{state:?}: {part} in {}", page.body);
        }
        let head = page.head.to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "x-frame-options: deny",
        ] {
            assert!(head.contains(header), "{header} in {head}");
        }
    }
}

#[tokio::test]
async fn a_page_is_looked_at_and_nothing_else() {
    let stage = Stage::new().await;
    let url = page(&stage);
    assert_eq!(stage.send("HEAD", &url, "", "").await.status, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let reply = stage.send(method, &url, OURS, "").await;
        assert_eq!(reply.status, 405, "{method}");
        assert!(reply.head.to_lowercase().contains("allow: get, head"), "{}", reply.head);
    }
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn without_its_token_there_is_no_page() {
    let stage = Stage::new().await;
    let good = page(&stage);
    let decides = stage.link(Verdict::Approve).replace("/decide/", "/hold/");
    let bad = [
        good.replace("7f3a9c", "7f3a9d"),
        good[..good.len() - 1].to_owned(),
        decides,
        "/hold/h-7f3a9c".into(),
    ];
    for url in bad.into_iter().chain(["/hold/".into(), "/hold".into()]) {
        let reply = stage.send("GET", &url, "", "").await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (404, "portcullis: there is nothing here\n"),
            "{url}"
        );
    }
    stage.clock.forward(3600);
    assert_eq!(stage.send("GET", &good, "", "").await.status, 404, "its time is over");

    let without = CONFIG.replace("baseUrl: https://bastion.example.com\n", "").replace(", approver: bob", "");
    let stage = Stage::with(&without, Judge::default()).await;
    assert_eq!(stage.send("GET", &page(&stage), "", "").await.status, 404, "no address for links");
}

#[tokio::test]
async fn pages_have_urls_where_they_can_be_opened() {
    let stage = Stage::new().await;
    let hold = crate::testing::hold();
    let url = stage.notify.hold_pages().unwrap()(&hold);
    let path = url.strip_prefix("https://bastion.example.com").unwrap();
    assert_eq!(stage.send("GET", path, "", "").await.status, 200);
    stage.clock.forward(24 * 3600);
    assert_eq!(stage.send("GET", path, "", "").await.status, 404);

    let dir = tempfile::tempdir().unwrap();
    for config in ["{}", "listen: 127.0.0.1:0", "baseUrl: https://bastion.example.com"] {
        assert!(notify(dir.path(), config).hold_pages().is_none(), "{config}");
    }
}
