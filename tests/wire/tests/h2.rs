//! Corners of h2, with the gate in between.

use std::future::poll_fn;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use wire::h2raw::{self, END_HEADERS, END_STREAM, Frame, HEADERS, PING, block, frame};
use wire::{Gate, Http2Arrival, Stream, Upstream, read_body, soon, stage};

const PODS: &str = "/api/v1/namespaces/demo/pods";

type Sender = SendRequest<Bytes>;
type Driver = JoinHandle<Result<(), h2::Error>>;

async fn client(gate: &Gate) -> Result<(Sender, Driver)> {
    let tls = gate.connect(&["h2"]).await?;
    let (send, connection) = h2::client::Builder::new()
        .max_header_list_size(1 << 20)
        .initial_connection_window_size(1 << 30)
        .handshake(tls)
        .await?;
    Ok((send, tokio::spawn(connection)))
}

async fn send(
    sender: &mut Sender,
    method: &str,
    target: &str,
    fields: HeaderMap,
    ends: bool,
) -> Result<(ResponseFuture, SendStream<Bytes>)> {
    let mut request = Request::builder().method(method).uri(format!("https://127.0.0.1{target}")).body(())?;
    *request.headers_mut() = fields;
    *sender = soon("room for a request", sender.clone().ready()).await??;
    Ok(sender.send_request(request, ends)?)
}

async fn get(sender: &mut Sender, target: &str) -> Result<(ResponseFuture, SendStream<Bytes>)> {
    send(sender, "GET", target, HeaderMap::new(), true).await
}

/// Sends all of it, as fast as the other side takes it.
async fn pour(mut stream: SendStream<Bytes>, mut bytes: Bytes) -> Result<()> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await.context("reset")??;
        stream.send_data(bytes.split_to(room.min(bytes.len())), false)?;
    }
    Ok(stream.send_data(Bytes::new(), true)?)
}

fn ok() -> Response<()> {
    Response::new(())
}

fn path(arrival: &Http2Arrival) -> String {
    arrival.request.uri().path_and_query().map(ToString::to_string).unwrap_or_default()
}

#[tokio::test]
async fn many_streams_are_answered_in_any_order() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let (mut sender, _driver) = client(&gate).await?;
    let mut answers = Vec::new();
    let mut arrived = Vec::new();
    for number in 0..100 {
        answers.push((number, get(&mut sender, &format!("{PODS}?n={number}")).await?.0));
        arrived.push(arrivals.http2().await?);
    }
    for mut arrival in arrived.into_iter().rev() {
        let path = path(&arrival);
        arrival.respond.send_response(ok(), false)?.send_data(path.into(), true)?;
    }
    for (number, answer) in answers {
        let body = soon("a body", read_body(soon("an answer", answer).await??.into_body())).await??;
        ensure!(body == format!("{PODS}?n={number}").as_bytes(), "{number}: {}", body.escape_ascii());
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_no_other() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let (mut sender, _driver) = client(&gate).await?;
    let large = Bytes::from(vec![b'x'; 4 << 20]);
    // Answers that are not read, and a body that is not taken.
    let (mut stalled, mut pouring) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let (answer, _) = get(&mut sender, &format!("{PODS}?stalled")).await?;
        let mut arrival = arrivals.http2().await?;
        pouring.push(tokio::spawn(pour(arrival.respond.send_response(ok(), false)?, large.clone())));
        stalled.push(soon("an answer", answer).await??);
    }
    let (_unanswered, upload) = send(&mut sender, "POST", PODS, HeaderMap::new(), false).await?;
    pouring.push(tokio::spawn(pour(upload, large.clone())));
    let untaken = arrivals.http2().await?;
    for _ in 0..20 {
        let (answer, _) = get(&mut sender, PODS).await?;
        let mut arrival = arrivals.http2().await?;
        tokio::spawn(pour(arrival.respond.send_response(ok(), false)?, large.slice(..100_000)));
        let body = soon("a body", read_body(soon("an answer", answer).await??.into_body())).await??;
        ensure!(body.len() == 100_000, "{} bytes", body.len());
    }
    ensure!(!pouring.iter().any(JoinHandle::is_finished), "nothing was held back");
    // And once they are read, all of it comes.
    for answer in stalled {
        ensure!(soon("a stalled answer", read_body(answer.into_body())).await?? == large, "another answer");
    }
    ensure!(
        soon("the stalled body", read_body(untaken.request.into_body())).await?? == large,
        "another body"
    );
    for poured in pouring {
        poured.await??;
    }
    Ok(())
}

#[tokio::test]
async fn what_has_no_body_says_so_and_nothing_is_made_up() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let (mut sender, _driver) = client(&gate).await?;
    for (method, status, fields, body) in [
        ("HEAD", 200, vec![("content-length", "1234"), ("content-type", "a/b")], ""),
        ("GET", 204, vec![("x", "y")], ""),
        ("GET", 304, vec![("etag", "\"z\"")], ""),
        ("GET", 429, vec![("retry-after", "1"), ("content-length", "4")], "wait"),
        ("GET", 503, vec![("retry-after", "1")], "wait"),
        ("POST", 409, vec![("content-length", "2")], "{}"),
    ] {
        let (answer, _) = send(&mut sender, method, PODS, HeaderMap::new(), true).await?;
        let mut arrival = arrivals.http2().await?;
        let mut response = Response::builder().status(status);
        for (name, value) in &fields {
            response = response.header(*name, *value);
        }
        let mut stream = arrival.respond.send_response(response.body(())?, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(body.into(), true)?;
        }
        let (head, got) = soon("an answer", answer).await??.into_parts();
        ensure!(head.status == status && head.headers.len() == fields.len(), "{head:?}");
        for (name, value) in fields {
            ensure!(head.headers.get(name).is_some_and(|got| got == value), "{head:?}");
        }
        ensure!(got.is_end_stream() == body.is_empty(), "{method} {status}: a body out of nowhere");
        ensure!(soon("a body", read_body(got)).await?? == body.as_bytes(), "{method} {status}");
    }
    Ok(())
}

#[tokio::test]
async fn trailers_pass_both_ways() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let (mut sender, _driver) = client(&gate).await?;
    let trailers = |name: &'static str| -> HeaderMap {
        [(HeaderName::from_static(name), HeaderValue::from_static("1"))].into_iter().collect()
    };
    let (answer, mut upload) = send(&mut sender, "POST", PODS, HeaderMap::new(), false).await?;
    upload.send_data("hi".into(), false)?;
    let mut up = trailers("x-up");
    up.insert("impersonate-user", HeaderValue::from_static("root"));
    upload.send_trailers(up)?;
    let Http2Arrival { request, mut respond } = arrivals.http2().await?;
    let mut body = request.into_body();
    ensure!(soon("data", body.data()).await?.context("no body")?? == "hi", "another body");
    ensure!(soon("trailers", body.trailers()).await?? == Some(trailers("x-up")), "other trailers");
    let mut stream = respond.send_response(ok(), false)?;
    stream.send_data("ok".into(), false)?;
    stream.send_trailers(trailers("x-down"))?;
    let mut body = soon("an answer", answer).await??.into_body();
    ensure!(soon("data", body.data()).await?.context("no body")?? == "ok", "another body");
    ensure!(soon("trailers", body.trailers()).await?? == Some(trailers("x-down")), "other trailers");
    Ok(())
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_ends_well() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let (mut sender, _driver) = client(&gate).await?;
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM] {
        let (answer, _) = get(&mut sender, PODS).await?;
        let mut arrival = arrivals.http2().await?;
        let mut stream = arrival.respond.send_response(ok(), false)?;
        stream.send_data("part".into(), false)?;
        let body = soon("an answer", answer).await??.into_body();
        stream.send_reset(reason);
        let whole = soon("the end", read_body(body)).await?;
        ensure!(whole.is_err(), "{reason:?}: a whole body: {whole:?}");
    }
    // Less than was announced.
    let (answer, _) = get(&mut sender, PODS).await?;
    let mut arrival = arrivals.http2().await?;
    let short = Response::builder().header("content-length", "10").body(())?;
    arrival.respond.send_response(short, false)?.send_data("part".into(), true)?;
    match soon("an answer", answer).await? {
        Ok(answer) if answer.status() == 502 => {}
        Ok(answer) => {
            let whole = soon("the end", read_body(answer.into_body())).await?;
            ensure!(whole.is_err(), "a whole body: {whole:?}");
        }
        Err(_) => {}
    }
    // Refused before anything was said.
    let (answer, _) = get(&mut sender, PODS).await?;
    arrivals.http2().await?.respond.send_reset(Reason::INTERNAL_ERROR);
    ensure!(soon("an answer", answer).await??.status() == 502, "no word of it");
    Ok(())
}

#[tokio::test]
async fn a_request_that_the_client_takes_back_is_taken_back() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let (mut sender, _driver) = client(&gate).await?;
    let (answer, mut upload) = get(&mut sender, PODS).await?;
    let mut arrival = arrivals.http2().await?;
    upload.send_reset(Reason::CANCEL);
    drop(answer);
    soon("the server to hear of it", poll_fn(|cx| arrival.respond.poll_reset(cx))).await??;
    // Half a body is no body.
    let (answer, mut upload) = send(&mut sender, "POST", PODS, HeaderMap::new(), false).await?;
    upload.send_data("half".into(), false)?;
    let arrival = arrivals.http2().await?;
    let mut body = arrival.request.into_body();
    ensure!(soon("data", body.data()).await?.context("no body")?? == "half", "another body");
    upload.send_reset(Reason::CANCEL);
    drop(answer);
    let rest = soon("the end", read_body(body)).await?;
    ensure!(rest.is_err(), "a whole body: {rest:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_says_goodbye_finishes_first() -> Result<()> {
    let upstream = Upstream::listen().await?;
    let gate = Gate::before(&upstream).await?;
    let (mut sender, _driver) = client(&gate).await?;
    let (before, _) = get(&mut sender, &format!("{PODS}?before")).await?;
    let mut first = soon("a handshake", h2::server::handshake(upstream.accept().await?)).await??;
    let (_, mut respond) = soon("a request", first.accept()).await?.context("no request")??;
    let mut stream = respond.send_response(ok(), false)?;
    stream.send_data("one, ".into(), false)?;
    first.graceful_shutdown();
    let first = tokio::spawn(async move { while let Some(Ok(_)) = first.accept().await {} });
    let before = soon("an answer", before).await??;
    // What comes later takes another connection.
    let asking = tokio::spawn(async move {
        let (after, _) = get(&mut sender, &format!("{PODS}?after")).await?;
        Ok::<_, anyhow::Error>(soon("an answer", after).await??.status())
    });
    let mut second = soon("a handshake", h2::server::handshake(upstream.accept().await?)).await??;
    let (request, mut respond) = soon("a request", second.accept()).await?.context("no request")??;
    ensure!(request.uri().query() == Some("after"), "{request:?}");
    respond.send_response(ok(), true)?;
    let second = tokio::spawn(async move { while let Some(Ok(_)) = second.accept().await {} });
    ensure!(asking.await?? == 200, "another answer");
    stream.send_data("two".into(), true)?;
    ensure!(soon("the rest", read_body(before.into_body())).await?? == b"one, two", "not finished");
    first.abort();
    second.abort();
    Ok(())
}

#[tokio::test]
async fn a_client_that_says_goodbye_gets_its_answer() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let mut stream = Stream::new(gate.connect(&["h2"]).await?);
    let fields = [
        (&b":method"[..], &b"GET"[..]),
        (b":scheme", b"https"),
        (b":authority", b"a"),
        (b":path", PODS.as_bytes()),
    ];
    stream
        .write([h2raw::hello(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))].concat())
        .await?;
    let mut arrival = arrivals.http2().await?;
    stream.write(frame(h2raw::GOAWAY, 0, 0, &[0; 8])).await?;
    // By the answer to a ping, the goodbye has been heard.
    stream.write(frame(PING, 0, 0, b"answer !")).await?;
    while Frame::read(&mut stream).await?.kind != PING {}
    arrival.respond.send_response(ok(), false)?.send_data("late".into(), true)?;
    loop {
        let frame = Frame::read(&mut stream).await?;
        match frame.kind {
            h2raw::DATA if frame.payload == b"late" => return Ok(()),
            h2raw::RST_STREAM => bail!("{frame:?}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_idle_watch_lives_on_pings() -> Result<()> {
    let upstream = Upstream::listen().await?;
    let gate = Gate::before(&upstream).await?;
    let mut down = Stream::new(gate.connect(&["h2"]).await?);
    let target = format!("{PODS}?watch=1&timeoutSeconds=3600");
    let fields = [
        (&b":method"[..], &b"GET"[..]),
        (b":scheme", b"https"),
        (b":authority", b"a"),
        (b":path", target.as_bytes()),
    ];
    down.write([h2raw::hello(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))].concat())
        .await?;
    let mut up = Stream::new(upstream.accept().await?);
    up.take_until(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    up.write([frame(h2raw::SETTINGS, 0, 0, &[]), frame(h2raw::SETTINGS, END_STREAM, 0, &[])].concat())
        .await?;
    while Frame::read(&mut up).await?.kind != HEADERS {}
    // `:status: 200` of the static table.
    up.write(frame(HEADERS, END_HEADERS, 1, &[0x88])).await?;
    while Frame::read(&mut down).await?.kind != HEADERS {}
    for _ in 0..3 {
        // Each side asks the gate, and the gate asks each side.
        asks(&mut down).await?;
        asks(&mut up).await?;
        gate.turn_clock(Duration::from_secs(31)).await?;
        is_asked(&mut down).await?;
        is_asked(&mut up).await?;
    }
    // The end of `timeoutSeconds` is a clean one.
    up.write([frame(h2raw::DATA, 0, 1, b"{}\n"), frame(h2raw::DATA, END_STREAM, 1, b"")].concat()).await?;
    let mut said = Vec::new();
    loop {
        let frame = Frame::read(&mut down).await?;
        ensure!(frame.kind != h2raw::RST_STREAM && frame.kind != h2raw::GOAWAY, "{frame:?}");
        if frame.kind == h2raw::DATA {
            said.extend_from_slice(&frame.payload);
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    ensure!(said == b"{}\n", "{}", said.escape_ascii());
    Ok(())
}

#[tokio::test]
async fn a_side_that_answers_no_ping_is_given_up() -> Result<()> {
    let upstream = Upstream::listen().await?;
    let gate = Gate::before(&upstream).await?;
    let (mut sender, _driver) = client(&gate).await?;
    let (answer, _) = get(&mut sender, &format!("{PODS}?watch=1")).await?;
    let mut up = Stream::new(upstream.accept().await?);
    up.take_until(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    up.write([frame(h2raw::SETTINGS, 0, 0, &[]), frame(h2raw::SETTINGS, END_STREAM, 0, &[])].concat())
        .await?;
    while Frame::read(&mut up).await?.kind != HEADERS {}
    up.write(frame(HEADERS, END_HEADERS, 1, &[0x88])).await?;
    let body = soon("an answer", answer).await??.into_body();
    gate.turn_clock(Duration::from_secs(31)).await?;
    next_ping(&mut up).await?;
    gate.turn_clock(Duration::from_secs(21)).await?;
    let whole = soon("the end", read_body(body)).await?;
    ensure!(whole.is_err(), "a whole body: {whole:?}");
    Ok(())
}

/// A ping to the gate is answered.
async fn asks<IO: AsyncRead + AsyncWrite + Unpin>(side: &mut Stream<IO>) -> Result<()> {
    side.write(frame(PING, 0, 0, b"how are?")).await?;
    let answer = next_ping(side).await?;
    ensure!(answer.flags == END_STREAM && answer.payload == b"how are?", "{answer:?}");
    Ok(())
}

/// A ping of the gate comes, and is answered.
async fn is_asked<IO: AsyncRead + AsyncWrite + Unpin>(side: &mut Stream<IO>) -> Result<()> {
    let asked = next_ping(side).await?;
    ensure!(asked.flags == 0, "{asked:?}");
    side.write(frame(PING, END_STREAM, 0, &asked.payload)).await
}

async fn next_ping<IO: AsyncRead + AsyncWrite + Unpin>(stream: &mut Stream<IO>) -> Result<Frame> {
    loop {
        let frame = Frame::read(stream).await?;
        if frame.kind == PING {
            return Ok(frame);
        }
    }
}

#[tokio::test]
async fn heads_may_be_long_and_are_told_when_too_long() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let (mut sender, _driver) = client(&gate).await?;
    let long = |length: usize| -> Result<HeaderMap> {
        // In pieces of which each fits.
        let value: HeaderValue = "x".repeat(30_000).parse()?;
        let mut fields = HeaderMap::new();
        for _ in 0..length / 30_000 {
            fields.append("x", value.clone());
        }
        Ok(fields)
    };
    let (answer, _) = send(&mut sender, "GET", PODS, long(120_000)?, true).await?;
    let mut arrival = arrivals.http2().await?;
    ensure!(arrival.request.headers().get_all("x").iter().count() == 4, "fields are missing");
    let mut response = ok();
    *response.headers_mut() = long(900_000)?;
    arrival.respond.send_response(response, true)?;
    let answer = soon("an answer", answer).await??;
    ensure!(answer.headers().get_all("x").iter().count() == 30, "fields are missing");

    let (answer, _) = send(&mut sender, "GET", PODS, long(150_000)?, true).await?;
    ensure!(soon("an answer", answer).await??.status() == 431, "not refused");
    ensure!(arrivals.waiting().is_none(), "arrived all the same");
    // And the connection goes on.
    let (answer, _) = get(&mut sender, PODS).await?;
    arrivals.http2().await?.respond.send_response(ok(), true)?;
    ensure!(soon("an answer", answer).await??.status() == 200, "the connection did not survive");
    Ok(())
}
