//! Corners of HTTP/1.1, with the gate in between.

use std::time::Duration;

use anyhow::{Result, ensure};
use wire::{Arrivals, Stream, stage};

const PODS: &str = "/api/v1/namespaces/demo/pods";
const SPDY: &str =
    "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n";

fn head(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// Answers the next request with these bytes and keeps the connection.
async fn answer(arrivals: &mut Arrivals, with: &str) -> Result<()> {
    let mut arrival = arrivals.http1().await?;
    arrival.stream.body(&arrival.head).await?;
    arrival.stream.write(with).await?;
    arrival.keep();
    Ok(())
}

#[tokio::test]
async fn answers_come_as_they_are_and_the_connection_goes_on() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let mut client = gate.http1().await?;
    for (method, answered, body) in [
        ("GET", "200 OK\r\nContent-Length: 2\r\n", "ok"),
        ("GET", "200 Fine By Me\r\nContent-Length: 2\r\n", "ok"),
        ("HEAD", "200 OK\r\nContent-Type: a/b\r\nContent-Length: 1234\r\n", ""),
        ("HEAD", "404 Not Found\r\nContent-Length: 9\r\n", ""),
        ("GET", "204 No Content\r\nX: y\r\n", ""),
        ("GET", "304 Not Modified\r\nEtag: \"z\"\r\n", ""),
        ("GET", "404 Not Found\r\nContent-Length: 3\r\n", "no\n"),
        ("GET", "429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 4\r\n", "wait"),
        (
            "GET",
            "503 Service Unavailable\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 4\r\n",
            "wait",
        ),
        ("GET", "500 Internal Server Error\r\nContent-Length: 0\r\n", ""),
        ("DELETE", "200 OK\r\nContent-Length: 2\r\n", "{}"),
    ] {
        client.write(head(method, PODS, "")).await?;
        answer(&mut arrivals, &format!("HTTP/1.1 {answered}\r\n{body}")).await?;
        let got = client.take_until(b"\r\n\r\n").await?;
        let wanted = format!("HTTP/1.1 {answered}\r\n");
        ensure!(got == wanted.as_bytes(), "{method}:\n{}\n{}", got.escape_ascii(), wanted.escape_default());
        ensure!(client.take(body.len()).await? == body.as_bytes(), "{method} {answered}");
    }
    Ok(())
}

#[tokio::test]
async fn requests_in_one_write_are_answered_in_order() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let mut client = gate.http1().await?;
    let chunked =
        head("POST", PODS, "Transfer-Encoding: chunked\r\n") + "2;x=\"y\"\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
    let sized = head("POST", PODS, "Content-Length: 4\r\n") + "body";
    client.write(format!("{chunked}{sized}\r\n{}", head("GET", "/version", ""))).await?;
    for (number, wanted) in ["hi!", "body", ""].into_iter().enumerate() {
        let mut arrival = arrivals.http1().await?;
        let body = arrival.stream.body(&arrival.head).await?;
        ensure!(body == wanted.as_bytes(), "{}", body.escape_ascii());
        arrival.stream.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}")).await?;
        arrival.keep();
    }
    for number in ["0", "1", "2"] {
        let head = client.head().await?;
        ensure!(head.field("connection").is_none(), "{head:?}");
        ensure!(client.body(&head).await? == number.as_bytes(), "{number}");
    }
    Ok(())
}

#[tokio::test]
async fn trailers_pass_both_ways() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let mut client = gate.http1().await?;
    let fields = "TE: trailers\r\nTrailer: X-Up, Impersonate-User\r\nTransfer-Encoding: chunked\r\n";
    client
        .write(head("POST", PODS, fields) + "2\r\nhi\r\n0\r\nX-Up: 1\r\nImpersonate-User: root\r\n\r\n")
        .await?;
    let mut arrival = arrivals.http1().await?;
    let body = arrival.stream.take_until(b"\r\n\r\n").await?;
    let text = String::from_utf8_lossy(&body).to_ascii_lowercase();
    ensure!(text.ends_with("0\r\nx-up: 1\r\n\r\n"), "{text}");
    arrival
        .stream
        .write("HTTP/1.1 200 OK\r\nTrailer: X-Down\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Down: 2\r\n\r\n")
        .await?;
    let head = client.head().await?;
    ensure!(head.field("trailer") == Some("X-Down"), "{head:?}");
    let body = client.take_until(b"\r\n\r\n").await?;
    let text = String::from_utf8_lossy(&body).to_ascii_lowercase();
    ensure!(text.ends_with("0\r\nx-down: 2\r\n\r\n"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_body_that_waits_for_a_word_gets_it() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let mut client = gate.http1().await?;
    client.write(head("POST", PODS, "Expect: 100-continue\r\nContent-Length: 4\r\n")).await?;
    ensure!(client.head().await?.status() == 100, "no word");
    client.write("body").await?;
    let mut arrival = arrivals.http1().await?;
    ensure!(arrival.head.field("expect").is_none(), "{:?}", arrival.head);
    ensure!(arrival.stream.body(&arrival.head).await? == b"body", "another body");
    arrival.stream.write("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await?;
    ensure!(client.head().await?.status() == 201, "another answer");
    // Refused before its body was wanted, it is not asked for.
    let mut client = gate.http1().await?;
    client.write(head("POST", "/api/v1//pods", "Expect: 100-continue\r\nContent-Length: 4\r\n")).await?;
    ensure!(matches!(client.head().await?.status(), 400 | 403), "asked for a body all the same");
    Ok(())
}

#[tokio::test]
async fn what_is_refused_before_its_body_came_leaves_the_connection_as_it_was() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    for (fields, body) in
        [("Content-Length: 4\r\n", "body"), ("Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n")]
    {
        let mut client = gate.http1().await?;
        client.write(head("POST", "/api/v1//pods", fields)).await?;
        let refused = client.head().await?;
        ensure!(refused.status() == 400, "{refused:?}");
        client.body(&refused).await?;
        client.write(body).await?;
        client.write(head("GET", PODS, "")).await?;
        answer(&mut arrivals, "HTTP/1.1 204 No Content\r\n\r\n").await?;
        ensure!(client.head().await?.status() == 204, "{fields}: another answer");
    }
    // No more of it is read than has an end in sight.
    let mut client = gate.http1().await?;
    client.write(head("POST", "/api/v1//pods", "Content-Length: 9999999999\r\n")).await?;
    let refused = client.head().await?;
    client.body(&refused).await?;
    let piece = vec![0; 64 * 1024];
    let sending = async { while client.write(&piece).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), sending).await?;
    Ok(())
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_ends_well() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    for (fields, part) in [
        ("Content-Length: 10\r\n", "part"),
        ("Transfer-Encoding: chunked\r\n", "4\r\npart\r\n"),
        ("Transfer-Encoding: chunked\r\n", "8\r\npart"),
        ("Transfer-Encoding: chunked\r\n", "4\r\npart\r\n0\r\n"),
        ("Transfer-Encoding: chunked\r\n", "4\r\npart\r\nx\r\n"),
        ("", "part"),
    ] {
        let mut client = gate.http1().await?;
        client.write(head("GET", PODS, "")).await?;
        let mut arrival = arrivals.http1().await?;
        arrival.stream.write(format!("HTTP/1.1 200 OK\r\n{fields}\r\n{part}")).await?;
        // Without a word, as when a server dies.
        drop(arrival);
        let got = client.head().await?;
        if got.status() == 502 {
            // Nothing had gone out yet.
            continue;
        }
        ensure!(got.status() == 200, "{got:?}");
        let whole = client.body(&got).await;
        ensure!(whole.is_err(), "{fields}{part}: a whole body: {whole:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_hung_up_while_idle_is_asked_again() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let mut client = gate.http1().await?;
    for method in ["GET", "GET", "PUT", "DELETE"] {
        client.write(head(method, PODS, "Content-Length: 2\r\n") + "{}").await?;
        let mut arrival = arrivals.http1().await?;
        arrival.stream.body(&arrival.head).await?;
        arrival.stream.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
        ensure!(client.head().await?.status() == 200, "{method}");
        arrival.stream.finish().await?;
        arrival.stream.take_rest().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_hangs_up_on_a_request_is_told_of() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let mut client = gate.http1().await?;
    for _ in 0..2 {
        client.write(head("GET", PODS, "")).await?;
        drop(arrivals.http1().await?);
        let got = client.head().await?;
        let said = String::from_utf8(client.body(&got).await?)?;
        ensure!(got.status() == 502 && said.contains("target demo did not answer"), "{got:?} {said}");
    }
    // And goes on.
    client.write(head("GET", PODS, "")).await?;
    answer(&mut arrivals, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
    ensure!(client.head().await?.status() == 200, "the connection did not survive");
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    for begun in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"] {
        let mut client = gate.http1().await?;
        client.write(head("GET", &format!("{PODS}?watch=1"), "")).await?;
        let mut arrival = arrivals.http1().await?;
        arrival.stream.write(begun).await?;
        if !begun.is_empty() {
            let got = client.head().await?;
            ensure!(got.status() == 200, "{got:?}");
        }
        drop(client);
        let (rest, _) = arrival.stream.take_rest().await;
        ensure!(rest.is_empty(), "{}", rest.escape_ascii());
    }
    // Half a body is no body.
    let mut client = gate.http1().await?;
    client.write(head("POST", PODS, "Content-Length: 10\r\n") + "half").await?;
    let mut arrival = arrivals.http1().await?;
    ensure!(arrival.stream.take(4).await? == b"half", "another body");
    drop(client);
    ensure!(arrival.stream.take_rest().await.0.is_empty(), "the rest of a body out of nowhere");
    Ok(())
}

#[tokio::test]
async fn an_upgrade_that_the_server_refuses_is_answered_in_its_words() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    for answered in ["400 Bad Request", "403 Forbidden", "404 Not Found", "500 Internal Server Error"] {
        let mut client = gate.http1().await?;
        client
            .write(head("POST", &format!("{PODS}/web/portforward"), &format!("{SPDY}Content-Length: 0\r\n")))
            .await?;
        answer(&mut arrivals, &format!("HTTP/1.1 {answered}\r\nContent-Length: 3\r\n\r\nno\n")).await?;
        let got = client.head().await?;
        ensure!(got.line == format!("HTTP/1.1 {answered}"), "{got:?}");
        ensure!(client.body(&got).await? == b"no\n", "another body");
    }
    Ok(())
}

#[tokio::test]
async fn each_side_of_an_upgraded_stream_ends_by_itself() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let mut client = gate.http1().await?;
    client
        .write(head("POST", &format!("{PODS}/web/portforward"), &format!("{SPDY}Content-Length: 0\r\n")))
        .await?;
    let mut server = arrivals.http1().await?;
    server.stream.write(format!("HTTP/1.1 101 Switching Protocols\r\n{SPDY}\r\n")).await?;
    ensure!(client.head().await?.status() == 101, "no upgrade");
    // SPDY pings (SPDY/3.1 §2.6.5), since the gate follows what it passes on.
    let ping = |id: u8| [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, id];
    client.write(ping(1)).await?;
    client.finish().await?;
    ensure!(server.stream.take_rest().await == (ping(1).to_vec(), true), "the client's half did not end");
    for id in [2, 4, 6] {
        server.stream.write(ping(id)).await?;
        ensure!(client.take(12).await? == ping(id), "the server's half ended with the client's");
    }
    server.stream.finish().await?;
    ensure!(client.take_rest().await == (Vec::new(), true), "the server's half did not end");
    Ok(())
}

#[tokio::test]
async fn old_clients_get_an_answer_that_they_can_read() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    for (fields, body) in
        [("Content-Length: 2\r\n", "ok"), ("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n")]
    {
        let mut client = gate.http1().await?;
        client.write(format!("GET {PODS} HTTP/1.0\r\n\r\n")).await?;
        let mut arrival = arrivals.http1().await?;
        arrival.stream.write(format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}")).await?;
        let got = client.head().await?;
        ensure!(got.status() == 200 && got.field("transfer-encoding").is_none(), "{got:?}");
        ensure!(client.take_rest().await == (b"ok".to_vec(), true), "{fields}");
    }
    Ok(())
}

#[tokio::test]
async fn heads_may_be_long_and_are_told_when_too_long() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let many: String = (0..1500).map(|number| format!("X-Field-{number}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "x".repeat(390_000));
    let query = format!("{PODS}?labelSelector={}", "a".repeat(60_000));
    for (target, fields) in [(PODS, &many), (PODS, &long), (query.as_str(), &String::new())] {
        let mut client = gate.http1().await?;
        client.write(head("GET", target, fields)).await?;
        let arrival = {
            let mut arrival = arrivals.http1().await?;
            // The server's answers may be as long.
            arrival
                .stream
                .write(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n", "y".repeat(200_000)))
                .await?;
            arrival
        };
        ensure!(arrival.head.line == format!("GET {target} HTTP/1.1"), "another target");
        ensure!(arrival.head.fields.len() >= fields.lines().count(), "fields are missing");
        let got = client.head().await?;
        ensure!(got.field("x").is_some_and(|value| value.len() == 200_000), "{}", got.line);
    }
    for (target, fields, status, why) in [
        (PODS.to_owned(), format!("X: {}\r\n", "x".repeat(400 << 10)), 431, "its head is over 409600 bytes"),
        (format!("{PODS}?{}", "a".repeat(70_000)), String::new(), 414, "its target is over 65534 bytes"),
    ] {
        let mut client = gate.http1().await?;
        client.write(head("GET", &target, &fields)).await?;
        let got = client.head().await?;
        let said = String::from_utf8(client.body(&got).await?)?;
        ensure!(got.status() == status && said.contains(why), "{got:?} {said}");
        ensure!(arrivals.waiting().is_none(), "arrived all the same");
    }
    Ok(())
}

#[tokio::test]
async fn large_bodies_stream_both_ways() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let mut client = gate.http1().await?;
    let large: Vec<u8> = (0..8_u32 << 20).map(|at| (at >> 8) as u8 ^ at as u8).collect();
    let (sent, length) = (large.clone(), large.len());
    let sending = tokio::spawn(async move {
        client.write(head("POST", PODS, &format!("Content-Length: {length}\r\n"))).await?;
        client.write(&sent).await?;
        Ok::<_, anyhow::Error>(client)
    });
    let mut arrival = arrivals.http1().await?;
    // Begun before it is there.
    tokio::time::timeout(Duration::from_secs(10), arrival.stream.body(&arrival.head))
        .await?
        .map(|body| assert!(body == large, "another body"))?;
    let mut client: Stream<_> = sending.await??;
    let sending = tokio::spawn(async move {
        arrival.stream.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await?;
        arrival.stream.write(&large).await?;
        Ok::<_, anyhow::Error>(large)
    });
    let got = client.head().await?;
    let body = client.body(&got).await?;
    ensure!(body == sending.await??, "another answer");
    Ok(())
}
