//! The inside of a JSON string over chunks cut anywhere: escapes, surrogates, UTF-8.

use std::str;

use super::scan;
use crate::JsonFault;

/// A string being read. What it says is handed on in pieces, if anybody wants it.
#[derive(Default)]
pub(super) struct Text {
    wanted: bool,
    escape: Escape,
    /// The first half of a surrogate pair, waiting for the second.
    high: Option<u16>,
    /// A UTF-8 character that the end of a chunk cut.
    partial: [u8; 4],
    partial_length: usize,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Backslash,
    Unicode {
        digits: u8,
        value: u16,
    },
}

/// How far [`Text::read`] came.
pub(super) enum Progress {
    /// The chunk is over, the string is not.
    More,
    /// The closing quote is the byte before this position.
    Ended(usize),
}

impl Text {
    /// Begins a string after its opening quote.
    #[inline]
    pub(super) fn begin(&mut self, wanted: bool) {
        self.wanted = wanted;
    }

    /// Reads on from `at`. Pieces of what the string says go to `sink`, if wanted; a piece may end inside a character.
    #[inline]
    pub(super) fn read(
        &mut self,
        chunk: &[u8],
        at: usize,
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<Progress, (usize, JsonFault)> {
        let mut gathered = Gathered { sink, bytes: [0; GATHERED], length: 0 };
        let progress = self.read_pieces(chunk, at, &mut |piece| gathered.push(piece));
        gathered.give();
        progress
    }

    fn read_pieces(
        &mut self,
        chunk: &[u8],
        mut at: usize,
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<Progress, (usize, JsonFault)> {
        loop {
            if self.escape != Escape::None || self.partial_length > 0 {
                let Some(&byte) = chunk.get(at) else { return Ok(Progress::More) };
                self.resume(byte, sink).map_err(|fault| (at, fault))?;
                at += 1;
                continue;
            }
            let plain = scan::plain(&chunk[at..]);
            if plain.length > 0 {
                let piece = &chunk[at..at + plain.length];
                if !plain.ascii {
                    self.check_utf8(piece, at, chunk.len())?;
                }
                if self.wanted {
                    self.end_pair(sink);
                    sink(piece);
                }
                at += plain.length;
            }
            match chunk.get(at) {
                None => return Ok(Progress::More),
                Some(b'"') => {
                    self.end_pair(sink);
                    return Ok(Progress::Ended(at + 1));
                }
                Some(b'\\') => match chunk.get(at + 1).copied().and_then(escaped) {
                    // Most escapes are of two characters, and whole.
                    Some(character) => {
                        self.say(character, sink);
                        at += 1;
                    }
                    None => self.escape = Escape::Backslash,
                },
                Some(_) => return Err((at, JsonFault::ControlCharacter)),
            }
            at += 1;
        }
    }

    /// Takes one byte of an escape or of a character that a chunk's end cut.
    fn resume(&mut self, byte: u8, sink: &mut impl FnMut(&[u8])) -> Result<(), JsonFault> {
        if self.partial_length > 0 {
            self.partial[self.partial_length] = byte;
            self.partial_length += 1;
            match str::from_utf8(&self.partial[..self.partial_length]) {
                Ok(_) => self.partial_length = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(JsonFault::InvalidUtf8),
            }
            if self.wanted {
                sink(&[byte]);
            }
            return Ok(());
        }
        self.escape(byte, sink)
    }

    fn escape(&mut self, byte: u8, sink: &mut impl FnMut(&[u8])) -> Result<(), JsonFault> {
        let Escape::Unicode { digits, value } = self.escape else {
            if byte == b'u' {
                self.escape = Escape::Unicode { digits: 0, value: 0 };
                return Ok(());
            }
            let character = escaped(byte).ok_or(JsonFault::BadEscape)?;
            self.escape = Escape::None;
            self.say(character, sink);
            return Ok(());
        };
        let digit = char::from(byte).to_digit(16).ok_or(JsonFault::BadEscape)?;
        let value = value << 4 | digit as u16;
        if digits < 3 {
            self.escape = Escape::Unicode { digits: digits + 1, value };
            return Ok(());
        }
        self.escape = Escape::None;
        if self.wanted {
            self.unit(value, sink);
        }
        Ok(())
    }

    /// Takes what an escape of two characters stands for.
    #[inline]
    fn say(&mut self, character: u8, sink: &mut impl FnMut(&[u8])) {
        if self.wanted {
            self.end_pair(sink);
            sink(&[character]);
        }
    }

    /// Takes a UTF-16 unit. A lone half of a pair becomes U+FFFD, as Go reads it.
    fn unit(&mut self, unit: u16, sink: &mut impl FnMut(&[u8])) {
        let low = (0xdc00..0xe000).contains(&unit);
        let character = match self.high.filter(|_| low) {
            Some(high) => {
                self.high = None;
                char::from_u32(0x10000 + (u32::from(high - 0xd800) << 10) + u32::from(unit - 0xdc00))
            }
            None => {
                self.end_pair(sink);
                if (0xd800..0xdc00).contains(&unit) {
                    self.high = Some(unit);
                    return;
                }
                char::from_u32(u32::from(unit))
            }
        };
        sink(character.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// What a first half without its second says.
    #[inline]
    fn end_pair(&mut self, sink: &mut impl FnMut(&[u8])) {
        if self.high.take().is_some() {
            sink("\u{fffd}".as_bytes());
        }
    }

    /// Checks a plain stretch at `at`; a character cut by the end of the chunk is kept to go on with.
    #[cold]
    fn check_utf8(&mut self, piece: &[u8], at: usize, chunk_end: usize) -> Result<(), (usize, JsonFault)> {
        let Err(error) = str::from_utf8(piece) else { return Ok(()) };
        let rest = &piece[error.valid_up_to()..];
        if error.error_len().is_some() || at + piece.len() < chunk_end {
            return Err((at + error.valid_up_to(), JsonFault::InvalidUtf8));
        }
        self.partial[..rest.len()].copy_from_slice(rest);
        self.partial_length = rest.len();
        Ok(())
    }
}

/// Between two escapes there is often little text: so much is gathered before it is handed on.
const GATHERED: usize = 256;

/// Small pieces on their way to a sink.
struct Gathered<'s, S> {
    sink: &'s mut S,
    bytes: [u8; GATHERED],
    length: usize,
}

impl<S: FnMut(&[u8])> Gathered<'_, S> {
    fn push(&mut self, piece: &[u8]) {
        if self.length + piece.len() > GATHERED {
            self.give();
        }
        match self.bytes[self.length..].get_mut(..piece.len()) {
            Some(room) => {
                room.copy_from_slice(piece);
                self.length += piece.len();
            }
            None => (self.sink)(piece),
        }
    }

    fn give(&mut self) {
        if self.length > 0 {
            (self.sink)(&self.bytes[..self.length]);
            self.length = 0;
        }
    }
}

/// What the character after a backslash stands for, if it is alone.
#[inline]
fn escaped(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' | b'/' => byte,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    })
}
