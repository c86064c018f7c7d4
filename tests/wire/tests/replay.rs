//! What real clients and a real API server said to each other, said again with the gate between them: each byte arrives
//! as it was sent, but for the fields that are the gate's own and its word in the user agent.
//!
//! What is not kept: the order of header fields of different names (their case is, and the order among those of one
//! name); where HTTP/1.1 chunks and h2 frames begin and end; that an answer has no length but ends with its connection
//! (it comes in chunks); which connection upstream a request takes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use wire::{Arrivals, Connection, Exchange, Gate, Head, Http1Arrival, Http2Arrival, Side, Stream, Upstream};
use wire::{captures, read_body, soon};

/// Fields of a request that are the gate's to set, or that belong to one hop.
const OURS: &[&str] = &["authorization", "audit-id", "host", "connection", "upgrade"];

/// Questions about oneself, which the gate answers: see the end-to-end tests.
fn is_for_the_gate(exchange: &Exchange) -> bool {
    exchange.target.contains("/selfsubject")
}

/// Why the gate refuses a request that was captured, told by the words of the refusal.
fn refused(exchange: &Exchange) -> Option<&'static str> {
    let Exchange { target, request, .. } = exchange;
    let has = |name: &str| request.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    if target.contains("//") {
        Some("an empty segment")
    } else if target.contains("/../") {
        Some("a dot segment")
    } else if target.contains("%73ecrets") || target.contains("secrets%2F") {
        Some("in a percent-escape")
    } else if has("impersonate-user") {
        Some("impersonation")
    } else {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_capture_passes_byte_for_byte() -> Result<()> {
    let upstream = Upstream::listen().await?;
    let gate = Gate::before(&upstream).await?;
    let mut replay = Replay { gate, arrivals: upstream.arrivals(), tally: BTreeMap::new() };
    let captures = captures()?;
    let mut failures = Vec::new();
    for capture in &captures {
        for connection in &capture.connections {
            if let Err(error) = replay.connection(connection).await {
                failures.push(format!("{}: {error:#}", capture.name));
                while replay.arrivals.waiting().is_some() {}
            }
        }
    }
    println!("{} captures: {:#?}", captures.len(), replay.tally);
    ensure!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    ensure!(captures.len() == 381, "captures are missing");
    Ok(())
}

struct Replay {
    gate: Gate,
    arrivals: Arrivals,
    tally: BTreeMap<String, usize>,
}

type Client = Stream<TlsStream<TcpStream>>;

impl Replay {
    fn count(&mut self, what: &str) {
        *self.tally.entry(what.to_owned()).or_default() += 1;
    }

    async fn connection(&mut self, connection: &Connection) -> Result<()> {
        let at = |exchange: &Exchange| format!("{} {}", exchange.method, exchange.target);
        if connection.alpn.as_deref() == Some("h2") {
            let tls = self.gate.connect(&["h2", "http/1.1"]).await?;
            let (mut send, driver) = h2::client::handshake(tls).await?;
            let driver = tokio::spawn(driver);
            for exchange in connection.exchanges.iter().filter(|exchange| !is_for_the_gate(exchange)) {
                let replayed = self.h2_exchange(&mut send, exchange).await;
                replayed.with_context(|| at(exchange))?;
            }
            driver.abort();
            return Ok(());
        }
        let alpn: Vec<&str> = connection.alpn.iter().map(String::as_str).collect();
        let mut client = None;
        for exchange in connection.exchanges.iter().filter(|exchange| !is_for_the_gate(exchange)) {
            let open = match client.take() {
                Some(open) => open,
                None => Stream::new(self.gate.connect(&alpn).await?),
            };
            client = self.http1_exchange(open, exchange).await.with_context(|| at(exchange))?;
        }
        Ok(())
    }

    async fn h2_exchange(
        &mut self,
        send: &mut h2::client::SendRequest<Bytes>,
        exchange: &Exchange,
    ) -> Result<()> {
        let mut request = Request::builder()
            .method(exchange.method.as_str())
            .uri(format!("https://127.0.0.1:6443{}", exchange.target))
            .body(())?;
        *request.headers_mut() = map(&exchange.request)?;
        let sent: Vec<u8> = joined(&exchange.sent);
        *send = soon("room for a request", send.clone().ready()).await??;
        let (response, mut upload) = send.send_request(request, sent.is_empty())?;
        if !sent.is_empty() {
            upload.send_data(sent.clone().into(), true)?;
        }
        if let Some(why) = refused(exchange) {
            let (head, body) = soon("a refusal", response).await??.into_parts();
            let said = soon("a refusal's text", read_body(body)).await??;
            self.check_refused(head.status.as_u16(), &said, why)?;
            return Ok(());
        }
        let Http2Arrival { request, mut respond } = self.arrivals.http2().await?;
        let (head, body) = request.into_parts();
        same("method", head.method.as_str(), &exchange.method)?;
        same("target", head.uri.path_and_query().map_or("", |target| target.as_str()), &exchange.target)?;
        same(
            "fields upstream",
            &without_name(&listed(&head.headers, OURS)),
            &sorted(&exchange.request, OURS),
        )?;
        same(
            "body upstream",
            &soon("the body", read_body(body)).await??.escape_ascii().to_string(),
            &sent.escape_ascii().to_string(),
        )?;

        let mut answer = Response::builder().status(exchange.status).body(())?;
        *answer.headers_mut() = map(&exchange.response)?;
        let bodiless = exchange.received.is_empty() && exchange.ended;
        let mut stream = respond.send_response(answer, bodiless)?;
        let (head, mut body) = soon("an answer", response).await??.into_parts();
        same("status", &head.status.as_u16(), &exchange.status)?;
        same("fields downstream", &listed(&head.headers, &[]), &sorted(&exchange.response, &[]))?;
        for (number, frame) in exchange.received.iter().enumerate() {
            let last = number + 1 == exchange.received.len() && exchange.ended;
            stream.send_data(Bytes::copy_from_slice(frame.bytes()), last)?;
            let mut got = Vec::new();
            while got.len() < frame.bytes().len() {
                let data = soon("data", body.data()).await?.context("ended early")??;
                body.flow_control().release_capacity(data.len())?;
                got.extend_from_slice(&data);
            }
            ensure!(got == frame.bytes(), "frame {number} differs");
        }
        if exchange.ended {
            ensure!(soon("the end", body.data()).await?.is_none(), "more than was sent");
            ensure!(soon("trailers", body.trailers()).await??.is_none(), "trailers out of nowhere");
            self.count("h2, to the end");
        } else {
            // The client had seen enough.
            drop((upload, body));
            soon("the server to hear of it", std::future::poll_fn(|cx| stream.poll_reset(cx))).await??;
            self.count("h2, left by the client");
        }
        Ok(())
    }

    /// Returns the client's connection if it can be used again.
    async fn http1_exchange(&mut self, mut client: Client, exchange: &Exchange) -> Result<Option<Client>> {
        let sent = joined(&exchange.sent);
        let request = format!("{} {} HTTP/1.1", exchange.method, exchange.target);
        client.write([head_bytes(&request, &exchange.request), sent.clone()].concat()).await?;
        if let Some(why) = refused(exchange) {
            let head = client.head().await?;
            let said = client.body(&head).await?;
            self.check_refused(head.status(), &said, why)?;
            return Ok(None);
        }
        let mut arrival = self.arrivals.http1().await?;
        same("request line", &arrival.head.line, &request)?;
        let ours: &[&str] = if exchange.raw.is_empty() { OURS } else { &OURS[..3] };
        self.same_fields(
            "fields upstream",
            &without_name(&arrival.head.fields),
            &without_bearer(&exchange.request),
            ours,
        )?;
        let received = arrival.stream.body(&arrival.head).await?;
        ensure!(received == sent, "the body upstream differs");

        let line = format!("HTTP/1.1 {} {}", exchange.status, exchange.reason);
        arrival.stream.write(head_bytes(&line, &exchange.response)).await?;
        let head = if exchange.received.is_empty() || exchange.status == 101 {
            client.head().await?
        } else {
            // Together with the first bytes, as servers do.
            Self::http1_body(&mut arrival, exchange, 0).await?;
            client.head().await?
        };
        same("status line", &head.line, &line)?;
        let endless = exchange.status != 101 && !exchange.response.iter().any(|(name, _)| is_framing(name));
        let hop: &[&str] = match exchange.status {
            101 => &[],
            _ if endless => &["connection", "transfer-encoding"],
            _ => &["connection"],
        };
        self.same_fields("fields downstream", &head.fields, &exchange.response, hop)?;
        if exchange.status == 101 {
            self.upgraded(client, arrival, exchange).await?;
            return Ok(None);
        }
        self.http1_rest(client, arrival, exchange, &head).await
    }

    async fn http1_body(arrival: &mut Http1Arrival, exchange: &Exchange, number: usize) -> Result<()> {
        let data = exchange.received[number].bytes();
        let chunked =
            exchange.response.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"));
        let last = number + 1 == exchange.received.len() && exchange.ended;
        let mut bytes = if chunked { format!("{:x}\r\n", data.len()).into_bytes() } else { Vec::new() };
        bytes.extend_from_slice(data);
        if chunked {
            bytes.extend_from_slice(if last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
        }
        arrival.stream.write(bytes).await
    }

    async fn http1_rest(
        &mut self,
        mut client: Client,
        mut arrival: Http1Arrival,
        exchange: &Exchange,
        head: &Head,
    ) -> Result<Option<Client>> {
        let chunked = head.field("transfer-encoding").is_some();
        let mut got = Vec::new();
        let mut sent = Vec::new();
        for number in 0..exchange.received.len() {
            if number > 0 {
                Self::http1_body(&mut arrival, exchange, number).await?;
            }
            sent.extend_from_slice(exchange.received[number].bytes());
            while got.len() < sent.len() {
                match chunked {
                    true => got.extend(client.chunk().await?.context("ended early")?),
                    false => got.extend(client.take(sent.len() - got.len()).await?),
                }
            }
            ensure!(got == sent, "the body differs by chunk {number}");
        }
        if !exchange.response.iter().any(|(name, _)| is_framing(name)) && exchange.status != 304 {
            arrival.stream.finish().await?;
            ensure!(client.chunk().await?.is_none(), "more than was sent");
            self.count("HTTP/1.1, ended by closing");
            return Ok(None);
        }
        if chunked && !exchange.ended {
            drop(client);
            arrival.stream.take_rest().await;
            self.count("HTTP/1.1, left by the client");
            return Ok(None);
        }
        if chunked {
            ensure!(client.chunk().await?.is_none(), "more than was sent");
        }
        self.count("HTTP/1.1, to the end");
        arrival.keep();
        let again = head.field("connection") != Some("close");
        Ok(again.then_some(client))
    }

    /// One after the other as recorded, so that neither answers what was not asked yet.
    async fn upgraded(
        &mut self,
        mut client: Client,
        mut server: Http1Arrival,
        exchange: &Exchange,
    ) -> Result<()> {
        for (number, (side, body)) in exchange.raw.iter().enumerate() {
            if *side == Side::Client && is_fragment(exchange, body.bytes()) {
                // To the API server each fragment is a message; to the gate it is the end.
                client.write(body.bytes()).await?;
                ensure!(server.stream.take_rest().await.0.is_empty(), "a fragment went up");
                self.count("cut: the client sent a message in fragments");
                return Ok(());
            }
            let got = match side {
                Side::Client => {
                    client.write(body.bytes()).await?;
                    server.stream.take(body.bytes().len()).await
                }
                Side::Server => {
                    server.stream.write(body.bytes()).await?;
                    client.take(body.bytes().len()).await
                }
            };
            let got = got.with_context(|| format!("piece {number} of {side:?}"))?;
            ensure!(got == body.bytes(), "piece {number} of {side:?} differs");
        }
        drop(server);
        ensure!(client.take_rest().await.0.is_empty(), "more than was sent");
        self.count("upgraded");
        Ok(())
    }

    fn check_refused(&mut self, status: u16, said: &[u8], why: &str) -> Result<()> {
        let said = String::from_utf8_lossy(said);
        ensure!(matches!(status, 400 | 403) && said.contains(why), "{status}: {said}");
        if let Some(arrived) = self.arrivals.waiting() {
            bail!("refused, and arrived all the same: {arrived}");
        }
        self.count(&format!("refused: {why}"));
        Ok(())
    }

    fn same_fields(
        &mut self,
        what: &str,
        got: &[(String, String)],
        wanted: &[(String, String)],
        ours: &[&str],
    ) -> Result<()> {
        let without = |fields: &[(String, String)]| -> Vec<(String, String)> {
            let passes = |name: &str| !ours.iter().any(|own| own.eq_ignore_ascii_case(name));
            fields.iter().filter(|(name, _)| passes(name)).cloned().collect()
        };
        let (mut got, mut wanted) = (without(got), without(wanted));
        self.count(&format!("{what}, {}", if got == wanted { "in order" } else { "in another order" }));
        got.sort();
        wanted.sort();
        same(what, &got, &wanted)
    }
}

fn is_framing(name: &str) -> bool {
    ["content-length", "transfer-encoding"].iter().any(|framing| framing.eq_ignore_ascii_case(name))
}

/// A text or binary frame without FIN (RFC 6455 §5.2).
fn is_fragment(exchange: &Exchange, bytes: &[u8]) -> bool {
    let websocket = exchange.request.iter().any(|(_, value)| value == "websocket");
    websocket && matches!(bytes.first(), Some(1 | 2))
}

/// The user agent says for whom the gate asks, at its end; where there is none, there is only that.
fn without_name(fields: &[(String, String)]) -> Vec<(String, String)> {
    let own = |(name, value): &(String, String)| match value.split_once(" portcullis (alice") {
        Some(("unknown", _)) => None,
        Some((agent, _)) if name.eq_ignore_ascii_case("user-agent") => Some((name.clone(), agent.to_owned())),
        _ => Some((name.clone(), value.clone())),
    };
    fields.iter().filter_map(own).collect()
}

/// A token among the subprotocols is a credential, and stays here.
fn without_bearer(fields: &[(String, String)]) -> Vec<(String, String)> {
    let kept = |value: &str| -> String {
        let bearer = |protocol: &&str| protocol.starts_with("base64url.bearer.authorization.k8s.io.");
        value.split(", ").filter(|protocol| !bearer(protocol)).collect::<Vec<_>>().join(", ")
    };
    fields.iter().map(|(name, value)| (name.clone(), kept(value))).collect()
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, got: &T, wanted: &T) -> Result<()> {
    ensure!(got == wanted, "{what}:\n  got    {got:?}\n  wanted {wanted:?}");
    Ok(())
}

fn joined(bodies: &[wire::Body]) -> Vec<u8> {
    bodies.iter().flat_map(|body| body.bytes()).copied().collect()
}

fn head_bytes(line: &str, fields: &[(String, String)]) -> Vec<u8> {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{line}\r\n{fields}\r\n").into_bytes()
}

fn map(fields: &[(String, String)]) -> Result<HeaderMap> {
    fields
        .iter()
        .map(|(name, value)| Ok((name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?)))
        .collect()
}

fn listed(headers: &HeaderMap, ours: &[&str]) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let fields: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    sorted(&fields, ours)
}

fn sorted(fields: &[(String, String)], ours: &[&str]) -> Vec<(String, String)> {
    let mut fields: Vec<_> =
        fields.iter().filter(|(name, _)| !ours.contains(&name.as_str())).cloned().collect();
    fields.sort();
    fields
}
