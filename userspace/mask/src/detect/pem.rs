//! Private keys in PEM (RFC 7468, with the headers of RFC 1421 and OpenPGP's armour): from the first dash of BEGIN to the
//! last of END, however long, with lines broken by anything that breaks lines in logs: `\n` spelled out, time stamps.
//!
//! A block that breaks off (a log's limit, a file's head) is secret as far as it goes.

use super::alphabet::BASE64;
use super::value::unit;
use super::view::{Hold, Secret, Tail, Verdict, View};

pub(crate) const START: &[u8] = b"-----BEGIN ";
/// Bytes after [`START`] in the line.
const LABEL_LIMIT: usize = 64;
/// Bytes before something that looks like a key. What has more of what may stand there is taken for one.
const PREAMBLE_LIMIT: usize = 1024;
/// A word of prose is shorter than a line of a key.
const LINE: u16 = 16;
/// Lines of a key before anything else are a key's; the longest has some 13 KB.
const EXCERPT_LIMIT: usize = 16 * 1024;

pub(crate) fn verify(view: View<'_>, start: usize) -> Verdict {
    if !view.starts_with(start, START, start)? {
        return Ok(None);
    }
    let label = start + START.len();
    let mut end = label;
    while view
        .get(end, start)?
        .is_some_and(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ')
    {
        end += 1;
        if end - label > LABEL_LIMIT {
            return Ok(None);
        }
    }
    let name = &view.bytes[label..end];
    if !view.starts_with(end, b"-----", start)?
        || !(name.ends_with(b"PRIVATE KEY") || name.ends_with(b"PRIVATE KEY BLOCK"))
    {
        return Ok(None);
    }
    let (mut body, from) = (Body::default(), end + 5);
    let mut at = from;
    while at - from < PREAMBLE_LIMIT {
        let Some(unit) = unit(view, at, start)? else { return Ok(None) };
        if !body.step(unit.meaning) {
            return Ok(None);
        }
        at += unit.length;
        if body.is_key {
            break;
        }
    }
    Ok(Some(Secret { start, end: at, tail: Tail::Pem(body) }))
}

/// Looks whether a stream begins inside of a block, as the last lines of a log may: with lines of a key and the end of one,
/// or nothing but such lines.
pub(crate) fn verify_excerpt(view: View<'_>) -> Verdict {
    let (mut body, mut at) = (Body::default(), 0);
    while at < EXCERPT_LIMIT {
        let Some(unit) = unit(view, at, 0)? else { break };
        // A short word that no line of a key came before is prose.
        if !body.step(unit.meaning) || body.last && !body.is_key {
            return Ok(None);
        }
        at += unit.length;
        if body.over {
            let label = view.bytes[..at].trim_ascii_end();
            let private = [&b"PRIVATE KEY-----"[..], b"PRIVATE KEY BLOCK-----"];
            let secret = body.is_key && private.iter().any(|end| label.ends_with(end));
            return Ok(if secret { Secret::whole(0, at) } else { None });
        }
    }
    Ok(body.is_key.then_some(Secret { start: 0, end: at, tail: Tail::Pem(body) }))
}

/// Follows the inside of a block unit by unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Body {
    word: Word,
    /// Bytes of the word, or of the header's line.
    length: u16,
    /// A line of a key was seen.
    is_key: bool,
    /// A short line was seen: the last one.
    last: bool,
    over: bool,
}

/// What the word at hand can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Word {
    /// Between words.
    #[default]
    Space,
    Any {
        base64: bool,
        stamp: bool,
        name: bool,
    },
    /// A header's value.
    Header,
    /// `-----END …`: dashes so far, and whether it is past the label.
    Dashes {
        label: bool,
    },
}

impl Body {
    /// How far from `at` on the block goes, and whether that is its end.
    pub(crate) fn advance(&mut self, view: View<'_>, mut at: usize) -> (usize, bool) {
        loop {
            match unit(view, at, at) {
                Err(Hold(_)) => return (at, false),
                Ok(Some(unit)) if self.step(unit.meaning) => at += unit.length,
                Ok(_) => return (at, true),
            }
            if self.over {
                return (at, true);
            }
        }
    }

    /// Takes what a byte or an escape means; false if it is none of the block.
    fn step(&mut self, byte: u8) -> bool {
        match self.word {
            Word::Space => self.begin(byte),
            Word::Any { base64, stamp, name } => {
                let word = Word::Any {
                    base64: base64 && BASE64.contains(byte),
                    stamp: stamp && (byte.is_ascii_digit() || b"TZ:.+-".contains(&byte)),
                    name: name && (byte.is_ascii_alphabetic() || byte == b'-'),
                };
                match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => self.end(base64, stamp) && self.begin(byte),
                    b'-' if base64 && !stamp && !name => self.end(true, false) && self.begin(byte),
                    b':' if name => {
                        self.word = Word::Header;
                        true
                    }
                    _ => {
                        self.word = word;
                        self.length = self.length.saturating_add(1);
                        self.is_key |= base64 && !name && self.length >= LINE;
                        word != Word::Any { base64: false, stamp: false, name: false }
                    }
                }
            }
            Word::Header => {
                if byte == b'\n' {
                    self.word = Word::Space;
                }
                true
            }
            Word::Dashes { label } => self.dashes(byte, label),
        }
    }

    fn begin(&mut self, byte: u8) -> bool {
        self.length = 1;
        self.word = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => Word::Space,
            b'-' => Word::Dashes { label: false },
            // After the last line only the end comes, or a time stamp before it.
            _ if self.last && !byte.is_ascii_digit() => return false,
            _ if BASE64.contains(byte) => Word::Any {
                base64: !self.last,
                stamp: byte.is_ascii_digit(),
                name: !self.is_key && byte.is_ascii_alphabetic(),
            },
            _ => return false,
        };
        true
    }

    fn end(&mut self, base64: bool, stamp: bool) -> bool {
        if base64 && self.length >= LINE {
            self.is_key = true;
        } else if base64 && !stamp {
            // A number may be one of a line.
            self.last = true;
        }
        base64 || stamp
    }

    /// `-----END PRIVATE KEY-----`
    fn dashes(&mut self, byte: u8, label: bool) -> bool {
        match byte {
            b'-' => {
                self.length += 1;
                self.over = label && self.length == 5;
                self.length <= 5
            }
            b'A'..=b'Z' | b'0'..=b'9' | b' ' if label || self.length == 5 => {
                self.word = Word::Dashes { label: true };
                self.length = 0;
                true
            }
            _ => false,
        }
    }
}
