//! The SPDY encoder: whole frames, header blocks in one zlib stream.

use super::headers::Deflater;
use super::{
    FLAG_CLEAR_SETTINGS, FLAG_FIN, FLAG_UNIDIRECTIONAL, Frame, HEAD, Headers, Kind, MAX_PAYLOAD, StreamId,
    VERSION,
};
use crate::Error;

/// Encodes one direction of a SPDY/3.1 connection.
///
/// Frames must reach the wire in the order encoded, for header blocks build on each other; an encoder that failed must
/// not be used again.
#[derive(Debug, Default)]
pub struct Encoder(
    /// Made with the first header block: a connection that is merely being ended needs none.
    Option<Deflater>,
);

impl Encoder {
    /// Appends `frame` to `out`.
    ///
    /// # Errors
    /// When it does not fit a frame.
    pub fn encode(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        match frame {
            Frame::SynStream { stream, associated, priority, fin, unidirectional, headers } => {
                let flags = flag(*fin, FLAG_FIN) | flag(*unidirectional, FLAG_UNIDIRECTIONAL);
                control(Kind::SynStream, flags, out, |out| {
                    word(out, stream.0);
                    word(out, associated.0);
                    out.extend_from_slice(&[priority << 5, 0]);
                    self.deflater()?.write(headers, out)
                })
            }
            Frame::SynReply { stream, fin, headers } => {
                self.headers(Kind::SynReply, *stream, *fin, headers, out)
            }
            Frame::Headers { stream, fin, headers } => {
                self.headers(Kind::Headers, *stream, *fin, headers, out)
            }
            Frame::RstStream { stream, status } => words(Kind::RstStream, &[stream.0, *status], out),
            Frame::Settings { clear, entries } => {
                control(Kind::Settings, flag(*clear, FLAG_CLEAR_SETTINGS), out, |out| {
                    word(out, entries.len() as u32);
                    for entry in entries {
                        word(out, u32::from(entry.flags) << 24 | entry.id & 0x00ff_ffff);
                        word(out, entry.value);
                    }
                    Ok(())
                })
            }
            Frame::Ping { id } => words(Kind::Ping, &[*id], out),
            Frame::GoAway { last_good, status } => words(Kind::GoAway, &[last_good.0, *status], out),
            Frame::WindowUpdate { stream, delta } => words(Kind::WindowUpdate, &[stream.0, *delta], out),
            Frame::Data { stream, payload, fin } => {
                if payload.len() > MAX_PAYLOAD {
                    return Err(Error::SpdyPayloadTooLong(*stream, payload.len()));
                }
                word(out, stream.0);
                word(out, u32::from(flag(*fin, FLAG_FIN)) << 24 | payload.len() as u32);
                out.extend_from_slice(payload);
                Ok(())
            }
        }
    }

    fn headers(
        &mut self,
        kind: Kind,
        stream: StreamId,
        fin: bool,
        headers: &Headers,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        control(kind, flag(fin, FLAG_FIN), out, |out| {
            word(out, stream.0);
            self.deflater()?.write(headers, out)
        })
    }

    fn deflater(&mut self) -> Result<&mut Deflater, Error> {
        Ok(match &mut self.0 {
            Some(deflater) => deflater,
            none => none.insert(Deflater::new()?),
        })
    }
}

/// Writes a control frame's head, its body, and then the length that the body turned out to have.
fn control(
    kind: Kind,
    flags: u8,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
) -> Result<(), Error> {
    let start = out.len();
    word(out, 0x8000_0000 | u32::from(VERSION) << 16 | u32::from(kind as u16));
    word(out, 0);
    body(out)?;
    let length = out.len() - start - HEAD;
    if length > MAX_PAYLOAD {
        return Err(Error::SpdyControlTooLong { length, limit: MAX_PAYLOAD });
    }
    let field = u32::from(flags) << 24 | length as u32;
    out[start + 4..start + HEAD].copy_from_slice(&field.to_be_bytes());
    Ok(())
}

fn words(kind: Kind, words: &[u32], out: &mut Vec<u8>) -> Result<(), Error> {
    control(kind, 0, out, |out| {
        words.iter().for_each(|w| word(out, *w));
        Ok(())
    })
}

fn word(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_be_bytes());
}

fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}
