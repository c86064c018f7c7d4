//! h2 frames written by hand, for what no library would send (RFC 9113; header blocks of literals only, RFC 7541 §6.2.2).

use anyhow::{Result, ensure};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Stream;

/// Frame types (RFC 9113 §6).
pub const DATA: u8 = 0;
/// A header block, or its beginning.
pub const HEADERS: u8 = 1;
/// The end of a stream.
pub const RST_STREAM: u8 = 3;
/// What each side can take.
pub const SETTINGS: u8 = 4;
/// Is anybody there?
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// More of a header block.
pub const CONTINUATION: u8 = 9;

/// The flag of `DATA` and `HEADERS` that nothing follows on the stream; of `SETTINGS` and `PING`, that it is an answer.
pub const END_STREAM: u8 = 1;
/// The flag of a header block that it is complete.
pub const END_HEADERS: u8 = 4;

/// How a client begins: the preface and empty settings.
#[must_use]
pub fn hello() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// A frame.
///
/// # Panics
/// When the payload is over 16 MiB.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    assert_eq!(length[0], 0);
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of these fields, as they are.
#[must_use]
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend_from_slice(text);
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(mut value: usize, out: &mut Vec<u8>) {
    if value < 127 {
        out.push(value as u8);
        return;
    }
    out.push(127);
    value -= 127;
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A frame that came.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream that it is about.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a `RST_STREAM` or `GOAWAY`.
    #[must_use]
    pub fn error_code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        self.payload
            .get(at..at + 4)
            .map_or(0, |code| u32::from_be_bytes([code[0], code[1], code[2], code[3]]))
    }

    /// Reads the next one.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn read<IO: AsyncRead + AsyncWrite + Unpin>(stream: &mut Stream<IO>) -> Result<Self> {
        let head = stream.take(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        ensure!(length <= 1 << 24, "a frame of {length} bytes");
        let (kind, flags) = (head[3], head[4]);
        let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Ok(Self { kind, flags, stream: number, payload: stream.take(length).await? })
    }
}
