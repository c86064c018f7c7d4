//! What kubectl, curl and a WebSocket client said to a real API server, and it to them.

use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;

/// First line: bodies, by number. Then a line for each capture.
const FILE: &[u8] = include_bytes!("../fixtures/captures.jsonl.gz");

/// One command's connections.
#[derive(Debug, Deserialize)]
pub struct Capture {
    /// Client and command, as `kubectl-1.33-exec-ls`.
    pub name: String,
    /// In the order in which they were opened.
    pub connections: Vec<Connection>,
}

/// A TLS connection.
#[derive(Debug, Deserialize)]
pub struct Connection {
    /// What was agreed on; `None` where the client offered nothing.
    pub alpn: Option<String>,
    /// In the order of the requests.
    pub exchanges: Vec<Exchange>,
}

/// A request and its answer.
#[derive(Debug, Deserialize)]
pub struct Exchange {
    /// As sent.
    pub method: String,
    /// As sent.
    pub target: String,
    /// Fields of the request, in order; on h2 without pseudo-headers.
    pub request: Vec<(String, String)>,
    /// The request's body.
    pub sent: Vec<Body>,
    /// Of the answer.
    pub status: u16,
    /// Of the answer, on HTTP/1.1.
    #[serde(default)]
    pub reason: String,
    /// Fields of the answer.
    pub response: Vec<(String, String)>,
    /// The answer's body: frames, chunks or reads.
    pub received: Vec<Body>,
    /// Whether the answer came to its end, or the client left before.
    pub ended: bool,
    /// What followed an upgrade, in order.
    #[serde(default)]
    pub raw: Vec<(Side, Body)>,
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Side {
    /// The client.
    #[serde(rename = "c2s")]
    Client,
    /// The API server.
    #[serde(rename = "s2c")]
    Server,
}

/// Bytes of a body; short ones stand where they were sent, the others in the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Stored")]
pub struct Body(Stored);

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Stored {
    Number(usize),
    Text(String),
    Binary {
        b64: String,
    },
    #[serde(skip)]
    Bytes(Arc<[u8]>),
}

impl From<Stored> for Body {
    fn from(stored: Stored) -> Self {
        Self(stored)
    }
}

impl Body {
    /// The bytes.
    ///
    /// # Panics
    /// Never on what [`captures`] gives.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Stored::Bytes(bytes) => bytes,
            other => panic!("{other:?} was not looked up"),
        }
    }

    fn look_up(&mut self, table: &[Arc<[u8]>]) -> Result<()> {
        self.0 = Stored::Bytes(match &self.0 {
            Stored::Number(number) => Arc::clone(table.get(*number).context("no such body")?),
            other => decoded(other)?,
        });
        Ok(())
    }
}

fn decoded(stored: &Stored) -> Result<Arc<[u8]>> {
    Ok(match stored {
        Stored::Text(text) => text.as_bytes().into(),
        Stored::Binary { b64 } => STANDARD.decode(b64)?.into(),
        Stored::Bytes(bytes) => Arc::clone(bytes),
        Stored::Number(number) => anyhow::bail!("body {number} stands for another one"),
    })
}

/// All captures, by name.
///
/// # Errors
/// When the file is damaged.
pub fn captures() -> Result<Vec<Capture>> {
    let mut text = String::new();
    GzDecoder::new(FILE).read_to_string(&mut text)?;
    let mut lines = text.lines();
    let table: Vec<Stored> = serde_json::from_str(lines.next().context("an empty file")?)?;
    let table = table.iter().map(decoded).collect::<Result<Vec<_>>>()?;
    lines
        .map(|line| {
            let mut capture: Capture = serde_json::from_str(line)?;
            for exchange in capture.connections.iter_mut().flat_map(|connection| &mut connection.exchanges) {
                let raw = exchange.raw.iter_mut().map(|(_, body)| body);
                for body in exchange.sent.iter_mut().chain(&mut exchange.received).chain(raw) {
                    body.look_up(&table)?;
                }
            }
            Ok(capture)
        })
        .collect()
}
