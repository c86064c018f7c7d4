//! An exec that writes a gigabyte, over WebSocket: what `kubectl exec … cat` is, without kubectl.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::http::Wire;
use crate::{load, tls};

/// Run one exec to its end.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to connect
    #[arg(long)]
    address: SocketAddr,
    /// The CA that vouches for it
    #[arg(long)]
    ca: PathBuf,
    /// What to ask for; `&bytes=N` says how much the command writes
    #[arg(long)]
    path: String,
}

/// The key of RFC 6455 §1.3, and what answers it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const PROTOCOL: &str = "v5.channel.k8s.io";
/// What the API server copies at a time (`io.Copy`), bytes.
const PIECE: usize = 32 * 1024;
const STDOUT: u8 = 1;
const ERROR: u8 = 3;
/// Final frame of a binary message; of a close.
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let config = tls::client_config(&args.ca, tls::HTTP1)?;
    let mut wire = Wire::new(tls::connect(args.address, &config)?);
    let upgrade = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {PROTOCOL}\r\n"
    );
    let begun = Instant::now();
    wire.send(&load::request_with(&args.path, args.address, &upgrade))?;
    wire.switched()?;
    let (mut bytes, mut piece) = (0, Vec::with_capacity(2 * PIECE));
    loop {
        let kind = frame(&mut wire, &mut piece)?;
        match (kind, piece.first()) {
            (BINARY, Some(&STDOUT)) => bytes += piece.len() as u64 - 1,
            (BINARY, Some(&ERROR)) => break,
            (BINARY, None | Some(_)) => {}
            (kind, _) => bail!("a frame of kind {kind:#x} before the command ended"),
        }
    }
    crate::report(&json!({ "bytes": bytes, "seconds": begun.elapsed().as_secs_f64() }))
}

/// Answers as an API server whose command writes `bytes` of log lines and ends well.
pub(crate) fn serve<S: Read + Write>(wire: &mut Wire<S>, mut bytes: usize) -> Result<()> {
    wire.send(
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n"
        )
        .as_bytes(),
    )?;
    let text = lines(PIECE);
    let whole = message(STDOUT, &text);
    while bytes >= text.len() {
        wire.send(&whole)?;
        bytes -= text.len();
    }
    wire.send(&message(STDOUT, &text[..bytes]))?;
    wire.send(&message(ERROR, br#"{"metadata":{},"status":"Success"}"#))?;
    wire.send(&[CLOSE, 2, 0x03, 0xe8])
}

/// What programs write: lines of text, none of them a secret.
pub(crate) fn lines(length: usize) -> Vec<u8> {
    let line = |number: usize| {
        format!(
            "2026-11-02T08:15:{:02}.{:03}Z INFO checkout request finished path=/cart/items status=200 duration={}ms\n",
            number % 60,
            number * 7 % 1000,
            number * 13 % 400
        )
    };
    (0..).flat_map(|number| line(number).into_bytes()).take(length).collect()
}

/// One message of a server: not masked (RFC 6455 §5.1), in one frame.
fn message(channel: u8, data: &[u8]) -> Vec<u8> {
    let length = data.len() + 1;
    let mut frame = vec![BINARY];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => frame.push(short),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.push(channel);
    frame.extend_from_slice(data);
    frame
}

/// Reads a frame of a server into `payload`; returns its first byte.
fn frame<S: Read + Write>(wire: &mut Wire<S>, payload: &mut Vec<u8>) -> Result<u8> {
    let mut head = [0; 2];
    wire.read_exact(&mut head)?;
    let mut length = [0; 8];
    let length = match head[1] {
        126 => {
            wire.read_exact(&mut length[6..])?;
            u64::from_be_bytes(length)
        }
        127 => {
            wire.read_exact(&mut length)?;
            u64::from_be_bytes(length)
        }
        short => u64::from(short),
    };
    ensure!(length < 1 << 30, "a frame of {length} bytes");
    payload.resize(usize::try_from(length).context("the length of a frame")?, 0);
    wire.read_exact(payload)?;
    Ok(head[0])
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// What one end sends is what the other reads.
    struct Loop(std::collections::VecDeque<u8>);

    impl Read for Loop {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.0.read(out)
        }
    }

    impl Write for Loop {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn as_much_is_read_as_is_written() {
        for bytes in [0, 1, 200, PIECE, 3 * PIECE + 17] {
            let mut wire = Wire::new(Loop(Default::default()));
            serve(&mut wire, bytes).unwrap();
            wire.switched().unwrap();
            let (mut read, mut payload) = (0, Vec::new());
            while frame(&mut wire, &mut payload).unwrap() == BINARY {
                read += if payload[0] == STDOUT { payload.len() - 1 } else { 0 };
            }
            assert_eq!(read, bytes);
        }
    }
}
