//! What was captured, and what taps and rewriters make of it.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![expect(clippy::unwrap_used, reason = "a broken fixture should fail the test")]

pub mod fuzzed;
pub mod needle;

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use portcullis_kube::classify;
use portcullis_kube::stream::{
    Channel, PortEvent, PortForwardProtocol, PortForwardTap, Protocol, RemoteCommandTap, Said, Side,
    StreamError, StreamEvent,
};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Command {
    pub command: String,
    pub client: Outcome,
}

/// What the client told its user; the capture cuts texts at 6,000 characters.
#[derive(Deserialize)]
pub struct Outcome {
    pub rc: Option<i32>,
    #[serde(default)]
    pub stdout: String,
    #[serde(default)]
    pub stderr: String,
    pub terminal: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Upgraded { conn: u32, target: String, upgrade: String, subprotocol: Option<String> },
    Read { conn: u32, dir: String, b64: String },
}

/// One upgraded connection.
pub struct Session {
    pub target: String,
    pub upgrade: String,
    pub subprotocol: Option<String>,
    pub reads: Vec<(Side, Vec<u8>)>,
}

/// What a tap made of an exec or attach.
#[derive(Debug, Default, PartialEq)]
pub struct Transcript {
    pub stdin: Vec<u8>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub sizes: Vec<(u16, u16)>,
    pub exit: Option<(Option<i32>, String)>,
    pub closed: Vec<Channel>,
}

/// What a tap made of a port-forward, by connection.
#[derive(Debug, Default, PartialEq)]
pub struct Forwards(pub BTreeMap<u32, Forward>);

#[derive(Debug, Default, PartialEq)]
pub struct Forward {
    pub port: u16,
    pub opened: bool,
    pub sent: Vec<u8>,
    pub received: Vec<u8>,
    pub error: Vec<u8>,
    pub closed: Vec<Side>,
    pub coded: Vec<String>,
}

impl Session {
    pub fn is_port_forward(&self) -> bool {
        classify("GET", &self.target).unwrap().subresource == "portforward"
    }

    pub fn tty(&self) -> bool {
        self.target.contains("tty=true")
    }

    pub fn tap(&self) -> RemoteCommandTap {
        let protocol = Protocol::negotiated(&self.upgrade, self.subprotocol.as_deref()).unwrap();
        RemoteCommandTap::new(protocol, self.tty())
    }

    pub fn port_tap(&self) -> PortForwardTap {
        let protocol =
            PortForwardProtocol::negotiated(&self.upgrade, self.subprotocol.as_deref(), &self.target);
        PortForwardTap::new(protocol.unwrap())
    }

    pub fn slices(&self, size: usize) -> impl Iterator<Item = (Side, &[u8])> {
        self.reads.iter().flat_map(move |(side, bytes)| bytes.chunks(size).map(|slice| (*side, slice)))
    }

    pub fn replay(&self, size: usize) -> Result<Transcript, StreamError> {
        let mut tap = self.tap();
        let mut transcript = Transcript::default();
        for (side, slice) in self.slices(size) {
            tap.feed(side, slice, &mut |event| transcript.note(event))?;
        }
        Ok(transcript)
    }

    pub fn replay_ports(&self, size: usize) -> Result<Forwards, StreamError> {
        let mut tap = self.port_tap();
        let mut forwards = Forwards::default();
        for (side, slice) in self.slices(size) {
            tap.feed(side, slice, &mut |event| forwards.note(event))?;
        }
        Ok(forwards)
    }
}

impl Transcript {
    pub fn hear(&mut self, said: Said<'_>) {
        let Said::Command(event) = said else { panic!("{said:?}") };
        self.note(event);
    }

    pub fn note(&mut self, event: StreamEvent<'_>) {
        match event {
            StreamEvent::Stdin(bytes) => self.stdin.extend(bytes),
            StreamEvent::Stdout(bytes) => self.stdout.extend(bytes),
            StreamEvent::Stderr(bytes) => self.stderr.extend(bytes),
            StreamEvent::Resize { width, height } => self.sizes.push((width, height)),
            StreamEvent::Exit { code, message } => {
                assert_eq!(self.exit.replace((code, message.to_owned())), None, "a session exits once");
            }
            StreamEvent::Closed(channel) => self.closed.push(channel),
            other => panic!("unexpected {other:?}"),
        }
    }
}

impl Forwards {
    pub fn hear(&mut self, said: Said<'_>) {
        let Said::Port(event) = said else { panic!("{said:?}") };
        self.note(event);
    }

    pub fn note(&mut self, event: PortEvent<'_>) {
        match event {
            PortEvent::Opened { port, request } => {
                let forward = self.0.entry(request).or_default();
                (forward.port, forward.opened) = (port, true);
            }
            PortEvent::Data { port, request, from, bytes } => {
                let forward = self.0.get_mut(&request).expect("opened before");
                assert_eq!(forward.port, port);
                if from == Side::Client { &mut forward.sent } else { &mut forward.received }.extend(bytes);
            }
            PortEvent::Error { request, text, .. } => self.0.entry(request).or_default().error.extend(text),
            PortEvent::Closed { request, side, .. } => self.0.entry(request).or_default().closed.push(side),
            PortEvent::Coded { request, coding, .. } => {
                self.0.entry(request).or_default().coded.push(coding.to_owned());
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

pub fn fixtures() -> Vec<(String, Command, Vec<Session>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let fixtures: Vec<_> = paths.iter().map(|path| fixture(path)).collect();
    assert_eq!(fixtures.len(), 76);
    fixtures
}

fn fixture(path: &Path) -> (String, Command, Vec<Session>) {
    let text = std::fs::read_to_string(path).unwrap();
    let (head, lines) = text.split_once('\n').unwrap();
    let mut sessions = BTreeMap::<u32, Session>::new();
    for line in lines.lines() {
        match serde_json::from_str(line).unwrap() {
            Line::Upgraded { conn, target, upgrade, subprotocol } => {
                sessions.insert(conn, Session { target, upgrade, subprotocol, reads: Vec::new() });
            }
            Line::Read { conn, dir, b64 } => {
                let side = if dir == "c2s" { Side::Client } else { Side::Server };
                sessions.get_mut(&conn).unwrap().reads.push((side, BASE64_STANDARD.decode(b64).unwrap()));
            }
        }
    }
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    (name, serde_json::from_str(head).unwrap(), sessions.into_values().collect())
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
