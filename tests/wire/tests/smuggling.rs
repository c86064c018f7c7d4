//! What two readers could take for two requests is refused with its own reason, and nothing of it arrives.

use anyhow::{Context, Result, ensure};
use portcullis_kube::ambiguity;
use serde_json::Value;
use wire::h2raw::{self, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, block, frame};
use wire::{Gate, Stream, stage};

const VECTORS: &str = include_str!("../../vectors/requestinfo.jsonl");
const POD: &str = "/api/v1/namespaces/demo/pods/web";

/// A whole request with these lines between `Host` and the body.
fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST {POD} HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}").into_bytes()
}

fn get(target: &[u8]) -> Vec<u8> {
    [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat()
}

#[tokio::test]
async fn heads_that_can_be_read_in_two_ways() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let (lengths, coding) = ("both Content-Length and Transfer-Encoding", "Transfer-Encoding is not just");
    let (line_end, name, number) = ("does not end with CR LF", "not a plain word", "not a plain number");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let inner = "GET /api/v1/namespaces/demo/secrets HTTP/1.1\r\nHost: a\r\n\r\n";
    let hidden = format!("0\r\n\r\n{inner}");
    for (request, why) in [
        (post(&format!("Content-Length: 6\r\n{chunked}"), &hidden), lengths),
        (post(&format!("{chunked}Content-Length: 6\r\n"), &hidden), lengths),
        (post("Content-Length: 0\r\nContent-Length: 0\r\n", inner), "more than one Content-Length"),
        (post("Content-Length: 0\r\nContent-Length: 60\r\n", inner), "more than one Content-Length"),
        (post("Content-Length: 0, 60\r\n", inner), number),
        (post("Content-Length: +0\r\n", inner), number),
        (post("Content-Length: 0x0\r\n", inner), number),
        (post("Content-Length: 18446744073709551616\r\n", inner), number),
        (post("Transfer-Encoding: chunked, identity\r\n", &hidden), coding),
        (post("Transfer-Encoding: identity, chunked\r\n", &hidden), coding),
        (post("Transfer-Encoding: xchunked\r\n", &hidden), coding),
        (post("Transfer-Encoding: chunked\x0b\r\n", &hidden), "control bytes"),
        (post(&format!("{chunked}{chunked}"), &hidden), coding),
        (post("Transfer-Encoding : chunked\r\n", &hidden), name),
        (post("Transfer-Encoding\t: chunked\r\n", &hidden), name),
        (post("X: y\r\n Transfer-Encoding: chunked\r\n", &hidden), "is folded"),
        (post("X: y\nTransfer-Encoding: chunked\r\n", &hidden), line_end),
        (post("X: y\rTransfer-Encoding: chunked\r\n", &hidden), line_end),
        (post("X: \0\r\n", inner), "control bytes"),
        (post("X\0: y\r\n", inner), name),
        (post("no colon\r\n", inner), name),
        (post("Host: b\r\n", inner), "more than one host header"),
        (post("Content-Type: a\r\nContent-Type: b\r\n", inner), "more than one content-type header"),
        (post("Connection: Upgrade\r\nUpgrade: h2c\r\n", inner), "an upgrade to"),
        (b"GET /version HTTP/1.1\r\n\r\n".to_vec(), "no Host"),
        (b"GET /version HTTP/1.2\r\nHost: a\r\n\r\n".to_vec(), "request line"),
        (b"GET  /version HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "request line"),
        (b"GET\t/version HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "request line"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "request line"),
    ] {
        let at = || request.escape_ascii().to_string();
        let mut client = gate.http1().await?;
        client.write(&request).await?;
        let head = client.head().await.with_context(at)?;
        let said = String::from_utf8(client.body(&head).await.with_context(at)?)?;
        ensure!(matches!(head.status(), 400 | 403) && said.contains(why), "{}: {} {said}", at(), head.line);
        // By its own words nobody knows where such a request ends, so that nothing behind it is one.
        if head.field("connection") == Some("close") {
            ensure!(client.take_rest().await.0.is_empty(), "{}: more than one answer", at());
        }
        ensure!(arrivals.waiting().is_none(), "{} arrived", at());
    }
    Ok(())
}

#[tokio::test]
async fn targets_that_can_be_read_in_two_ways() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let (dots, escape) = ("dot segment", "percent-escape");
    for (target, why) in [
        (&b"https://elsewhere/api/v1/pods"[..], "does not start with '/'"),
        (b"elsewhere:443", "does not start with '/'"),
        (b"*", "does not start with '/'"),
        (b"?watch=1", "does not start with '/'"),
        (b"//api/v1/secrets", "empty segment"),
        (b"/api/v1//secrets", "empty segment"),
        (b"/api/v1/pods/../secrets", dots),
        (b"/api/v1/./secrets", dots),
        (b"/api/v1/pods/%2e%2e/secrets", dots),
        (b"/api/v1/pods/.%2E/secrets", dots),
        (b"/api/v1/%73ecrets", escape),
        (b"/api/v1/namespaces/demo/secrets%2fx", escape),
        (b"/api/v1/secrets%00", escape),
        (b"/api/v1/secrets%252fx", escape),
        (b"/api/v1/secrets%3Fwatch=1", escape),
        (b"/api/v1/secrets%5cx", escape),
        (b"/api/v1/secrets%zz", escape),
        (b"/api/v1/secrets%", escape),
        (b"/api/v1/%c0%ae%c0%ae/secrets", "not UTF-8"),
        (b"/api/v1/\xc0\xae\xc0\xae/secrets", "have to be escaped"),
        (b"/api/v1/secrets\x01", "have to be escaped"),
        (b"/api/v1/secrets;x=y", "unescaped ';'"),
        (b"/api/v1\\secrets", "unescaped '\\"),
        (b"/API/v1/secrets", "not in lower case"),
        (b"/api/v1/secrets#?watch=1", "fragment"),
        (b"/api/v1/secrets?watch=1#", "fragment"),
        (b"/api/v1/secrets?a=b;watch=1", "';'"),
        (b"/api/v1/secrets?watch=1&watch=0", "two different values"),
        (b"/api/v1/secrets?watch=%", escape),
    ] {
        let at = || target.escape_ascii().to_string();
        let mut client = gate.http1().await?;
        client.write(get(target)).await?;
        let head = client.head().await.with_context(at)?;
        let said = String::from_utf8(client.body(&head).await?)?;
        ensure!(
            matches!(head.status(), 400 | 403) && said.contains(why),
            "HTTP/1.1 {}: {} {said}",
            at(),
            head.line
        );
        ensure!(arrivals.waiting().is_none(), "{} arrived", at());

        if target.contains(&b'#') {
            // See `a_fragment_on_h2_is_cut_off_before_anybody_reads_it`.
            continue;
        }
        let said = h2_answer(&gate, &[(b":method", b"GET"), (b":path", target)]).await.with_context(at)?;
        match &said {
            Answer::Status(status, text) => {
                ensure!(
                    *status != 200 && (text.contains(why) || text.contains("does not start")),
                    "h2 {}: {said:?}",
                    at()
                );
            }
            Answer::Reset(_) => {}
            Answer::Nothing => anyhow::bail!("h2 {}: no answer", at()),
        }
        ensure!(arrivals.waiting().is_none(), "h2 {} arrived", at());
    }
    Ok(())
}

#[tokio::test]
async fn chunks_that_can_be_read_in_two_ways() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let (size, end) = ("the size of a chunk", "a chunk does not end");
    for (body, why) in [
        ("-1\r\nx", size),
        ("+1\r\nx\r\n0\r\n\r\n", size),
        ("0x1\r\nx\r\n0\r\n\r\n", size),
        (" 1\r\nx\r\n0\r\n\r\n", size),
        ("1 \r\nx\r\n0\r\n\r\n", size),
        ("1\nx\r\n0\r\n\r\n", size),
        ("1;a\nx\r\n0\r\n\r\n", size),
        ("10000000000000001\r\nx\r\n0\r\n\r\n", size),
        ("\r\n0\r\n\r\n", size),
        ("1\r\nxx\r\n0\r\n\r\n", end),
        ("1\r\nx\n0\r\n\r\n", end),
        ("0\r\nX : y\r\n\r\n", "not a plain word"),
        ("0\r\nX: y\n\r\n", "does not end with CR LF"),
    ] {
        let mut client = gate.http1().await?;
        client.write(post("Transfer-Encoding: chunked\r\n", body)).await?;
        let head = client.head().await.with_context(|| format!("{body:?}"))?;
        let said = String::from_utf8(client.body(&head).await?)?;
        ensure!(head.status() == 400 && said.contains(why), "{body:?}: {} {said}", head.line);
        ensure!(client.take_rest().await.0.is_empty(), "{body:?}: more than one answer");
        // A body is passed on as it comes, so that a head may have gone up; an end of the body never does.
        if arrivals.waiting_len() > 0 {
            let mut arrival = arrivals.http1().await?;
            let read = arrival.stream.body(&arrival.head).await;
            ensure!(read.is_err(), "{body:?} arrived whole: {read:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_vector_arrives_as_it_was_classified_or_not_at_all() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let (mut passed, mut refused) = (0, 0);
    let mut client = gate.http1().await?;
    for line in VECTORS.lines() {
        let vector: Value = serde_json::from_str(line)?;
        let (method, target) =
            (vector["method"].as_str().unwrap_or(""), vector["target"].as_str().unwrap_or(""));
        client.write(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
        let at = || format!("{method} {target}");
        if ambiguity(method, target).is_some() || vector.get("error").is_some() {
            let head = client.head().await.with_context(at)?;
            // HEAD has the length of a body, and no body.
            if method != "HEAD" {
                client.body(&head).await?;
            }
            ensure!(matches!(head.status(), 400 | 403), "{}: {}", at(), head.line);
            ensure!(arrivals.waiting().is_none(), "{} arrived", at());
            if head.field("connection") == Some("close") {
                client = gate.http1().await?;
            }
            refused += 1;
            continue;
        }
        let mut arrival = arrivals.http1().await.with_context(at)?;
        ensure!(
            arrival.head.line == format!("{method} {target} HTTP/1.1"),
            "{}: {:?}",
            at(),
            arrival.head.line
        );
        arrival.stream.write("HTTP/1.1 204 No Content\r\n\r\n").await?;
        arrival.keep();
        ensure!(client.head().await?.status() == 204, "{}", at());
        passed += 1;
    }
    println!("{passed} passed, {refused} refused");
    ensure!(passed + refused == 1500 && passed > 100, "{passed} passed, {refused} refused");
    Ok(())
}

#[derive(Debug)]
enum Answer {
    Status(u16, String),
    Reset(u32),
    Nothing,
}

type Field<'a> = (&'a [u8], &'a [u8]);
type Fields<'a> = &'a [Field<'a>];

/// What comes back for a header block of these fields, after `:scheme` and `:authority` where it names a method.
async fn h2_answer(gate: &Gate, fields: Fields<'_>) -> Result<Answer> {
    let begin: Fields<'_> = &[(b":scheme", b"https"), (b":authority", b"127.0.0.1")];
    h2_exact(gate, &[begin, fields].concat(), &[]).await
}

async fn h2_exact(gate: &Gate, fields: Fields<'_>, data: &[u8]) -> Result<Answer> {
    let mut stream = Stream::new(gate.connect(&["h2"]).await?);
    let ends = if data.is_empty() { END_STREAM } else { 0 };
    let mut bytes = [h2raw::hello(), frame(HEADERS, END_HEADERS | ends, 1, &block(fields))].concat();
    if !data.is_empty() {
        bytes.extend(frame(DATA, END_STREAM, 1, data));
    }
    stream.write(&bytes).await?;
    let (mut status, mut text) = (0, String::new());
    loop {
        let Ok(frame) = Frame::read(&mut stream).await else { return Ok(Answer::Nothing) };
        match frame.kind {
            RST_STREAM | GOAWAY if frame.error_code() != 0 => return Ok(Answer::Reset(frame.error_code())),
            // Literals of the static table (RFC 7541 appendix A); anything else is none of them.
            HEADERS => {
                status = match frame.payload.first() {
                    Some(0x88) => 200,
                    Some(0x8c) => 400,
                    _ => 1,
                }
            }
            DATA => text.push_str(&String::from_utf8_lossy(&frame.payload)),
            _ => {}
        }
        if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
            return Ok(Answer::Status(status, text));
        }
    }
}

#[tokio::test]
async fn h2_heads_that_can_be_read_in_two_ways() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let pod = POD.as_bytes();
    let (method, scheme): (Field<'_>, Field<'_>) = ((b":method", b"GET"), (b":scheme", b"https"));
    let (path, authority): (Field<'_>, Field<'_>) = ((b":path", pod), (b":authority", b"a"));
    let with = |more: Fields<'static>| [&[method, scheme, path, authority][..], more].concat();
    for (what, fields) in [
        (":path twice", with(&[(b":path", b"/version")])),
        (":method twice", with(&[(b":method", b"DELETE")])),
        (":authority twice", with(&[(b":authority", b"b")])),
        ("a pseudo-header after a header", vec![method, scheme, (b"x", b"y"), path, authority]),
        ("an unknown pseudo-header", with(&[(b":protocol", b"websocket")])),
        ("a pseudo-header of answers", with(&[(b":status", b"200")])),
        ("no path", vec![method, scheme, authority]),
        ("an empty path", vec![method, scheme, (b":path", b""), authority]),
        ("no method", vec![scheme, path, authority]),
        ("connection", with(&[(b"connection", b"x-y")])),
        ("keep-alive", with(&[(b"keep-alive", b"1")])),
        ("proxy-connection", with(&[(b"proxy-connection", b"close")])),
        ("transfer-encoding", with(&[(b"transfer-encoding", b"chunked")])),
        ("upgrade", with(&[(b"upgrade", b"websocket")])),
        ("te", with(&[(b"te", b"gzip")])),
        ("upper case", with(&[(b"X-Upper", b"y")])),
        ("CR LF in a value", with(&[(b"x", b"y\r\nz: w")])),
        ("LF in a value", with(&[(b"x", b"y\nz: w")])),
        ("NUL in a value", with(&[(b"x", b"y\0")])),
        ("CR LF in a name", with(&[(b"x\r\ny", b"z")])),
        ("a colon in a name", with(&[(b"x:y", b"z")])),
        ("a space in a name", with(&[(b"x ", b"z")])),
        ("CR LF in the path", vec![method, scheme, (b":path", b"/version HTTP/1.1\r\nx: y"), authority]),
        ("CR LF in the method", vec![(b":method", b"GET /version\r\n"), scheme, path, authority]),
        ("another host", with(&[(b"host", b"b")])),
        ("hosts", with(&[(b"host", b"a"), (b"host", b"a")])),
        ("content-length twice", with(&[(b"content-length", b"0"), (b"content-length", b"1")])),
        ("a length that is wrong", with(&[(b"content-length", b"5")])),
    ] {
        match h2_exact(&gate, &fields, &[]).await.with_context(|| what.to_owned())? {
            Answer::Status(400, text) => {
                ensure!(text.contains("two ways") || text.contains("more than one"), "{what}: {text}");
            }
            // PROTOCOL_ERROR, or COMPRESSION_ERROR.
            Answer::Reset(1 | 9) => {}
            other => anyhow::bail!("{what}: {other:?}"),
        }
        ensure!(arrivals.waiting().is_none(), "{what} arrived");
    }
    // As libraries send it, it passes.
    let fields = with(&[(b"host", b"a"), (b"te", b"trailers"), (b"cookie", b"a=b")]);
    let mut stream = Stream::new(gate.connect(&["h2"]).await?);
    stream
        .write([h2raw::hello(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))].concat())
        .await?;
    let arrived = arrivals.http2().await?.request;
    ensure!(arrived.uri().path() == POD && arrived.headers().get("cookie").is_none(), "{arrived:?}");
    Ok(())
}

/// The library does that: what is decided is what is sent.
#[tokio::test]
async fn a_fragment_on_h2_is_cut_off_before_anybody_reads_it() -> Result<()> {
    let (gate, mut arrivals) = stage().await?;
    let fields: Fields<'_> = &[
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"a"),
        (b":path", b"/version#/../api"),
    ];
    let mut stream = Stream::new(gate.connect(&["h2"]).await?);
    stream
        .write([h2raw::hello(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))].concat())
        .await?;
    let arrived = arrivals.http2().await?.request;
    let target = arrived.uri().path_and_query().map(ToString::to_string);
    ensure!(target.as_deref() == Some("/version"), "{arrived:?}");
    Ok(())
}
