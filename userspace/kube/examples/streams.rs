//! How fast an exec's output is on its way, on one core: `cargo run --release -p portcullis-kube --example streams`.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::hint::black_box;
use std::time::Instant;

use portcullis_codec::spdy::{Encoder, Frame, Headers, StreamId};
use portcullis_codec::websocket::{self, Kind};
use portcullis_kube::stream::{Masker, Protocol, RemoteCommandRewriter, Session, Side, StreamError, Version};
use portcullis_mask::{CoverMasker, MaskKey, Profile, TerminalMasker};

/// What the kubelet and the API server put into one frame, and what one read of the gate takes.
const FRAME: usize = 32 << 10;
const READ: usize = 16 << 10;
const TOTAL: usize = 256 << 20;

type Maskers = Option<[Box<dyn Masker>; 2]>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = MaskKey::generate()?;
    let profile = Profile::default();
    println!(
        "{:<22} {:>12} {:>14} {:>14} {:>14}",
        "MB/s", "as it is", "framed anew", "pipe masked", "tty masked"
    );
    for (name, protocol) in [
        ("SPDY", Protocol::Spdy(Version::V4)),
        ("WebSocket v5", Protocol::WebSocket { version: Version::V5, base64: false }),
        ("WebSocket base64", Protocol::WebSocket { version: Version::V4, base64: true }),
    ] {
        let both = |make: &dyn Fn() -> Box<dyn Masker>| Some([make(), make()]);
        let cover = || -> Box<dyn Masker> { Box::new(Cover(CoverMasker::new(profile.detectors(), &key))) };
        let terminal =
            || -> Box<dyn Masker> { Box::new(Terminal(TerminalMasker::new(profile.detectors(), &key))) };
        println!(
            "{name:<22} {:>12.0} {:>14.0} {:>14.0} {:>14.0}",
            rate(protocol, None)?,
            rate(protocol, both(&|| Box::new(Copy)))?,
            rate(protocol, both(&cover))?,
            rate(protocol, both(&terminal))?,
        );
    }
    Ok(())
}

/// Megabytes of output a second.
fn rate(protocol: Protocol, maskers: Maskers) -> Result<f64, Box<dyn std::error::Error>> {
    let (opening, frame) = frames(protocol)?;
    let mut session = RemoteCommandRewriter::new(protocol, true, maskers);
    let mut out = Vec::new();
    session.feed(Side::Client, &opening, &mut out, &mut |_| {})?;
    let begun = Instant::now();
    for _ in 0..TOTAL / FRAME {
        for read in frame.chunks(READ) {
            out.clear();
            session.feed(Side::Server, read, &mut out, &mut |said| {
                black_box(said);
            })?;
            black_box(&out);
        }
    }
    Ok(TOTAL as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

/// What opens a session, and a frame of output without a secret.
fn frames(protocol: Protocol) -> Result<(Vec<u8>, Vec<u8>), portcullis_codec::Error> {
    let line =
        "2026-11-26T03:00:00.000Z INFO request served path=/api/items/4711 status=200 took=12ms bytes=5120\n";
    let text: String = line.repeat(FRAME / line.len() + 1)[..FRAME].to_owned();
    let (mut opening, mut frame) = (Vec::new(), Vec::new());
    match protocol {
        Protocol::Spdy(_) => {
            let stream = StreamId(1);
            let headers: Headers = [("streamType", "stdout")].into_iter().collect();
            let (associated, priority, fin, unidirectional) = (StreamId(0), 0, false, false);
            let syn = Frame::SynStream { stream, associated, priority, fin, unidirectional, headers };
            Encoder::default().encode(&syn, &mut opening)?;
            let data = Frame::Data { stream, payload: text.as_bytes(), fin: false };
            Encoder::default().encode(&data, &mut frame)?;
        }
        Protocol::WebSocket { base64: true, .. } => {
            let coded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &text);
            websocket::message(&mut frame, Kind::Text, None, &[b"1", coded.as_bytes()]);
        }
        Protocol::WebSocket { .. } => {
            websocket::message(&mut frame, Kind::Binary, None, &[&[1], text.as_bytes()]);
        }
    }
    Ok((opening, frame))
}

struct Copy;
struct Cover(CoverMasker);
struct Terminal(TerminalMasker);

macro_rules! masker {
    ($name:ident, $self:ident, $bytes:ident, $out:ident, $push:expr) => {
        impl Masker for $name {
            fn push(&mut $self, $bytes: &[u8], $out: &mut Vec<u8>) -> Result<(), StreamError> {
                $push;
                Ok(())
            }

            fn due(&self) -> Option<Instant> {
                None
            }

            fn flush(&mut self, _: &mut Vec<u8>) -> Result<(), StreamError> {
                Ok(())
            }

            fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), StreamError> {
                Ok(())
            }
        }
    };
}

masker!(Copy, self, bytes, out, out.extend_from_slice(bytes));
masker!(Cover, self, bytes, out, self.0.push(bytes, out));
masker!(Terminal, self, bytes, out, self.0.push(bytes, out));
