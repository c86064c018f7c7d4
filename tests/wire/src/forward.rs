//! Both ends of a port-forward, in each of its framings.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use portcullis_codec::spdy::{self, Encoder, Headers, StreamId};
use portcullis_codec::websocket::{self, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::{Arrivals, Gate, ServerStream, Stream};

/// The client's end.
pub type Forwarding = Peer<TlsStream<TcpStream>>;

/// How a port-forward is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// SPDY/3.1.
    Spdy,
    /// SPDY/3.1 in WebSocket.
    Tunnel,
    /// WebSocket channels, with one connection to each port.
    Channels,
}

impl Framing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Spdy, Self::Tunnel, Self::Channels];
}

/// One end of a port-forward.
pub struct Peer<IO> {
    stream: Stream<IO>,
    framing: Framing,
    /// Of the client, whose messages are masked.
    mask: Option<[u8; 4]>,
    encoder: Encoder,
    messages: websocket::Decoder,
    frames: spdy::Decoder,
    /// Of the message under way.
    channel: Option<u8>,
    /// What the other end has said, by connection.
    heard: BTreeMap<u32, Heard>,
    /// Bytes of a frame, and of a write.
    slices: usize,
}

/// What was heard on one connection.
#[derive(Debug, Default)]
pub struct Heard {
    /// Bytes that nobody has taken yet.
    pub bytes: Vec<u8>,
    /// Why it was not forwarded.
    pub error: String,
    /// Whether the other end says no more.
    pub ended: bool,
    /// Whether it was ended at once.
    pub reset: bool,
}

/// Forwards ports to a pod, `namespace/name`, through the gate.
///
/// # Errors
/// When it is not agreed to.
pub async fn forward(
    gate: &Gate,
    arrivals: &mut Arrivals,
    pod: &str,
    framing: Framing,
    port: u16,
) -> Result<(Forwarding, Peer<ServerStream>)> {
    let upgrade = match framing {
        Framing::Spdy => "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io",
        Framing::Tunnel => "Upgrade: websocket\r\nSec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io",
        Framing::Channels => "Upgrade: websocket\r\nSec-WebSocket-Protocol: v4.channel.k8s.io",
    };
    let fields = format!("Connection: Upgrade\r\n{upgrade}\r\n\r\n");
    let mut client = gate.http1().await?;
    let (namespace, name) = pod.split_once('/').context("a namespace")?;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/portforward?ports={port}");
    client.write(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}")).await?;
    let mut server = arrivals.http1().await?;
    server.stream.write(format!("HTTP/1.1 101 Switching Protocols\r\n{fields}")).await?;
    let head = client.head().await?;
    ensure!(head.status() == 101, "{head:?}");
    let mut peers = (
        Peer::new(client, framing, Some([1, 2, 3, 4]), websocket::Decoder::server()),
        Peer::new(server.stream, framing, None, websocket::Decoder::client()),
    );
    if framing == Framing::Channels {
        for channel in [0, 1] {
            peers.1.message(&[&[channel], &port.to_le_bytes()]).await?;
        }
        peers.0.hears(0, |heard| heard.bytes.len() + heard.error.len() >= 4).await?;
        peers.0.heard.clear();
    }
    Ok(peers)
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Peer<IO> {
    fn new(
        stream: Stream<IO>,
        framing: Framing,
        mask: Option<[u8; 4]>,
        messages: websocket::Decoder,
    ) -> Self {
        let (encoder, frames, channel, heard) = Default::default();
        Self { stream, framing, mask, encoder, messages, frames, channel, heard, slices: usize::MAX }
    }

    /// Cuts all that it says into frames of so many bytes from now on, and these into writes of four times as many.
    pub fn cut_into(&mut self, slices: usize) {
        self.slices = slices;
    }

    /// Opens a connection to `port`; channels are open.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn open(&mut self, connection: u32, port: u16) -> Result<()> {
        if self.framing == Framing::Channels {
            return Ok(());
        }
        let mut out = Vec::new();
        for (stream, kind) in [(error_stream(connection), "error"), (data_stream(connection), "data")] {
            let (port, request) = (port.to_string(), connection.to_string());
            let headers: Headers =
                [("streamtype", kind), ("port", &port), ("requestid", &request)].into_iter().collect();
            let (associated, priority, fin, unidirectional) = (StreamId(0), 0, false, false);
            let syn = spdy::Frame::SynStream { stream, associated, priority, fin, unidirectional, headers };
            self.encoder.encode(&syn, &mut out)?;
        }
        self.write(out).await
    }

    /// Says `bytes` on a connection.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn say(&mut self, connection: u32, bytes: impl AsRef<[u8]>) -> Result<()> {
        for payload in bytes.as_ref().chunks(self.slices.min(16 << 10)) {
            if self.framing == Framing::Channels {
                self.message(&[&[2 * connection as u8], payload]).await?;
            } else {
                let (stream, fin) = (data_stream(connection), false);
                self.frame(&spdy::Frame::Data { stream, payload, fin }).await?;
            }
        }
        Ok(())
    }

    /// Says no more on a connection, of SPDY.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn end(&mut self, connection: u32) -> Result<()> {
        self.frame(&spdy::Frame::Data { stream: data_stream(connection), payload: b"", fin: true }).await
    }

    /// Ends a connection at once, of SPDY.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn reset(&mut self, connection: u32) -> Result<()> {
        self.frame(&spdy::Frame::RstStream { stream: data_stream(connection), status: 5 }).await
    }

    /// Closes the WebSocket, and what it is in.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn close(mut self) -> Result<()> {
        let mut out = Vec::new();
        websocket::close(&mut out, self.mask, 1000, "");
        self.stream.write(out).await?;
        self.stream.finish().await
    }

    async fn frame(&mut self, frame: &spdy::Frame<'_>) -> Result<()> {
        let mut out = Vec::new();
        self.encoder.encode(frame, &mut out)?;
        self.write(out).await
    }

    async fn write(&mut self, frames: Vec<u8>) -> Result<()> {
        match self.framing {
            Framing::Tunnel => self.message(&[&frames]).await,
            Framing::Spdy | Framing::Channels => self.pieces(&frames).await,
        }
    }

    async fn message(&mut self, payload: &[&[u8]]) -> Result<()> {
        let mut out = Vec::new();
        websocket::message(&mut out, websocket::Kind::Binary, self.mask, payload);
        self.pieces(&out).await
    }

    async fn pieces(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(self.slices.saturating_mul(4)) {
            self.stream.write(piece).await?;
        }
        Ok(())
    }

    /// What was heard on `connection`, once `enough` of it was.
    ///
    /// # Errors
    /// When the other end is gone before.
    pub async fn hears(&mut self, connection: u32, enough: impl Fn(&Heard) -> bool) -> Result<&mut Heard> {
        while !enough(self.heard.entry(connection).or_default()) {
            let bytes = self.stream.some().await?;
            ensure!(!bytes.is_empty(), "the port-forward is over: {:?}", self.heard);
            self.hear(&bytes)?;
        }
        Ok(self.heard.entry(connection).or_default())
    }

    /// The bytes that were said on `connection` up to and including `end`.
    ///
    /// # Errors
    /// As [`Peer::hears`].
    pub async fn until(&mut self, connection: u32, end: &str) -> Result<String> {
        let at = |heard: &Heard| {
            heard
                .bytes
                .windows(end.len())
                .position(|window| window == end.as_bytes())
                .map(|at| at + end.len())
        };
        let heard = self.hears(connection, |heard| at(heard).is_some()).await?;
        let said = heard.bytes.drain(..at(heard).unwrap_or_default()).collect();
        Ok(String::from_utf8(said)?)
    }

    /// A head and the body whose length it says.
    ///
    /// # Errors
    /// As [`Peer::hears`].
    pub async fn http(&mut self, connection: u32) -> Result<(String, String)> {
        let head = self.until(connection, "\r\n\r\n").await?;
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        if field("transfer-encoding").is_some() {
            let mut body = String::new();
            loop {
                let size = self.until(connection, "\r\n").await?;
                let size = usize::from_str_radix(size.trim(), 16)?;
                let heard = self.hears(connection, |heard| heard.bytes.len() >= size + 2).await?;
                let chunk: Vec<u8> = heard.bytes.drain(..size + 2).collect();
                body.push_str(std::str::from_utf8(&chunk[..size])?);
                if size == 0 {
                    return Ok((head, body));
                }
            }
        }
        let length = field("content-length").map_or(Ok(0), |length| length.parse())?;
        let heard = self.hears(connection, |heard| heard.bytes.len() >= length).await?;
        Ok((head, String::from_utf8(heard.bytes.drain(..length).collect())?))
    }

    /// What was said on `connection` so far.
    pub fn heard(&mut self, connection: u32) -> &Heard {
        self.heard.entry(connection).or_default()
    }

    fn hear(&mut self, mut bytes: &[u8]) -> Result<()> {
        let Self { framing, messages, frames, channel, heard, .. } = self;
        if *framing == Framing::Spdy {
            return hear_frames(frames, heard, bytes);
        }
        while let Some(frame) = messages.next(&mut bytes)? {
            match (frame, *framing) {
                (Frame::Data(slice), Framing::Channels) => {
                    let mut payload = slice.payload;
                    if slice.begins_message() {
                        *channel = None;
                    }
                    if let (None, [first, rest @ ..]) = (&channel, payload) {
                        (*channel, payload) = (Some(*first), rest);
                    }
                    let Some(channel) = *channel else { continue };
                    let heard = heard.entry(u32::from(channel) / 2).or_default();
                    match channel % 2 {
                        0 => heard.bytes.extend_from_slice(payload),
                        _ => heard.error.extend(payload.iter().copied().map(char::from)),
                    }
                }
                (Frame::Data(slice), _) => hear_frames(frames, heard, slice.payload)?,
                (Frame::Close { .. }, _) => heard.values_mut().for_each(|heard| heard.ended = true),
                _ => {}
            }
        }
        Ok(())
    }
}

fn hear_frames(frames: &mut spdy::Decoder, heard: &mut BTreeMap<u32, Heard>, mut bytes: &[u8]) -> Result<()> {
    while let Some(frame) = frames.next(&mut bytes)? {
        match frame {
            spdy::Frame::Data { stream, payload, fin } => {
                let heard = heard.entry(stream.0 / 4).or_default();
                if stream.0 % 4 == 3 {
                    heard.bytes.extend_from_slice(payload);
                    heard.ended |= fin;
                } else {
                    heard.error.push_str(&String::from_utf8_lossy(payload));
                }
            }
            spdy::Frame::RstStream { stream, .. } => heard.entry(stream.0 / 4).or_default().reset = true,
            _ => {}
        }
    }
    Ok(())
}

fn error_stream(connection: u32) -> StreamId {
    StreamId(4 * connection + 1)
}

fn data_stream(connection: u32) -> StreamId {
    StreamId(4 * connection + 3)
}
