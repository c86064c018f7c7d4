//! Programs, and those that nobody vouches for.

use super::*;

#[tokio::test]
async fn a_program_decides_for_whom_its_secret_speaks() {
    let stage = Stage::new().await;
    let bob = r#"{"what":"h-000001","verdict":"deny","approver":"bob","comment":"not today"}"#;
    let reply = stage.program(bob, SECRET).await;
    assert_eq!((reply.status, words(&reply)), (200, "deny of h-000001 is on record".to_owned()));
    let again = stage.program(bob, SECRET).await;
    assert_eq!(again.status, 409, "the same message again: {}", again.body);
    // However the header spells it.
    let code = signature(&Secret::new(SECRET.to_vec()), start(), bob.as_bytes())
        .replace("v1=", " v1=")
        .to_uppercase();
    let spelt = format!("X-Portcullis-Signature: {}\r\n", code.replace("T=", "t=").replace("V1=", "v1="));
    assert_eq!(stage.send("POST", "/webhook/decide", &spelt, bob).await.status, 409);
    assert_eq!(stage.taken(), [said("bob", "h-000001", "deny")]);
    let taken = &stage.judge.taken()[0];
    assert_eq!(taken.comment, "not today");
    assert_eq!(
        taken.expires,
        start() + Duration::from_secs(301),
        "remembered for as long as it would be accepted"
    );

    let carol = bob.replace("bob", "carol");
    assert_eq!(stage.program(&carol, SECRET).await.status, 401, "carol has a secret of her own");
    assert_eq!(stage.program(&carol, ANOTHER).await.status, 200);
    assert_eq!(stage.program(bob, ANOTHER).await.status, 401, "which speaks for nobody else");
}

#[tokio::test]
async fn a_program_that_is_not_vouched_for_decides_nothing() {
    let stage = Stage::new().await;
    let body = r#"{"what":"h-000001","verdict":"approve","approver":"bob"}"#;
    let good = signature(&Secret::new(SECRET.to_vec()), start(), body.as_bytes());
    for (headers, body, status, reason) in [
        (String::new(), body, 401, "exactly one X-Portcullis-Signature"),
        (
            format!("X-Portcullis-Signature: {good}\r\nX-Portcullis-Signature: {good}\r\n"),
            body,
            401,
            "exactly one",
        ),
        ("X-Portcullis-Signature: v1=00\r\n".to_owned(), body, 401, "not of the form t="),
        (
            format!("X-Portcullis-Signature: {good}\r\n"),
            &body.replace("000001", "000002"),
            401,
            "does not verify",
        ),
        (format!("X-Portcullis-Signature: {good}\r\n"), &body.replace("bob", "eve"), 401, "does not verify"),
        (
            format!("X-Portcullis-Signature: {good}\r\n"),
            &body.replace("h-0", "g-0"),
            400,
            "neither a request",
        ),
        (
            format!("X-Portcullis-Signature: {good}\r\n"),
            &body.replace("approve\"", "maybe\""),
            400,
            "unknown variant",
        ),
        (
            format!("X-Portcullis-Signature: {good}\r\n"),
            &body.replace('}', ",\"groups\":[]}"),
            400,
            "unknown field",
        ),
        (
            format!("X-Portcullis-Signature: {good}\r\n"),
            &body.replace('}', ",\"approver\":\"carol\"}"),
            400,
            "duplicate field",
        ),
        (format!("X-Portcullis-Signature: {good}\r\n"), "", 400, "no decision"),
    ] {
        let reply = stage.send("POST", "/webhook/decide", &headers, body).await;
        assert_eq!(reply.status, status, "{headers} {body}: {}", reply.body);
        assert!(reply.body.contains(reason), "{reason} in {}", reply.body);
    }
    stage.clock.forward(301);
    let reply =
        stage.send("POST", "/webhook/decide", &format!("X-Portcullis-Signature: {good}\r\n"), body).await;
    assert_eq!(reply.status, 401);
    assert!(reply.body.contains("more than 300 seconds"), "{}", reply.body);
    assert!(stage.taken().is_empty());
}
