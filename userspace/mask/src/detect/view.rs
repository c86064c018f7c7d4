//! What a detector sees: a stretch of the stream around a candidate, and the answers it can give.

use super::Alphabet;
use super::pem;
use super::value;

/// How far before a candidate a detector may look. The scanner keeps that much of what is already out, whatever the
/// chunks were, so that no verdict depends on them.
pub(crate) const LOOKBACK: usize = 32;

/// White space in a row that a detector looks past.
const SPACES: usize = 128;

/// The stretch at hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) bytes: &'a [u8],
    /// Nothing comes after it, or nothing that a verdict can wait for.
    pub(crate) ended: bool,
    /// It only paused: what is at its end may go on.
    pub(crate) paused: bool,
}

/// It cannot be told before more has come. Bytes from this position on may be part of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold(pub(crate) usize);

/// Whether a secret stands at a candidate.
pub(crate) type Verdict = Result<Option<Secret>, Hold>;

/// A secret, known up to `end`; from there it goes on as `tail` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) tail: Tail,
}

/// How the end of a secret is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// This is the end.
    Ended,
    /// It goes on for as long as bytes are of this alphabet.
    Run(Alphabet),
    /// It goes on to what ends a value.
    Value(value::Quoting),
    /// It goes on to the end of a PEM block.
    Pem(pem::Body),
}

/// A run of bytes of one alphabet.
pub(crate) struct Run {
    pub(crate) end: usize,
    /// More of it may come.
    pub(crate) open: bool,
}

impl<'a> View<'a> {
    /// The byte at `at`, or none past the end of the stream.
    #[inline]
    pub(crate) fn get(self, at: usize, hold: usize) -> Result<Option<u8>, Hold> {
        match self.bytes.get(at) {
            None if !self.ended => Err(Hold(hold.min(self.bytes.len()))),
            byte => Ok(byte.copied()),
        }
    }

    /// Whether `prefix` stands at `at`.
    pub(crate) fn starts_with(self, at: usize, prefix: &[u8], hold: usize) -> Result<bool, Hold> {
        let here = &self.bytes[at..self.bytes.len().min(at + prefix.len())];
        if here.len() == prefix.len() || !prefix.starts_with(here) {
            return Ok(here == prefix);
        }
        self.get(self.bytes.len(), hold).map(|_| false)
    }

    /// The view of what is before `end`, as if the rest had not come yet.
    pub(crate) fn up_to(self, end: usize) -> Self {
        match self.bytes.get(..end) {
            Some(bytes) if bytes.len() < self.bytes.len() => Self { bytes, ended: false, paused: false },
            _ => self,
        }
    }

    /// Whether what ends at `end` may go on after a pause.
    pub(crate) fn may_go_on(self, end: usize) -> bool {
        self.paused && end == self.bytes.len()
    }

    /// Where spaces and tabs at `at` end. Nothing of them is secret.
    pub(crate) fn after_spaces(self, mut at: usize) -> Result<usize, Hold> {
        let from = at;
        while at - from < SPACES && matches!(self.get(at, usize::MAX)?, Some(b' ' | b'\t')) {
            at += 1;
        }
        Ok(at)
    }

    pub(crate) fn run(self, from: usize, alphabet: Alphabet) -> Run {
        let rest = &self.bytes[from..];
        let length = rest.iter().position(|&byte| !alphabet.contains(byte));
        Run { end: from + length.unwrap_or(rest.len()), open: length.is_none() && !self.ended }
    }

    /// The run at `from`, of which no more than `most` bytes are looked at.
    pub(crate) fn run_up_to(self, from: usize, alphabet: Alphabet, most: usize) -> Run {
        let bytes = &self.bytes[..self.bytes.len().min(from + most)];
        let run = View { bytes, ..self }.run(from, alphabet);
        Run { open: run.open || run.end < self.bytes.len() && run.end == bytes.len(), ..run }
    }

    /// The bytes before `at`, as far as a detector may look.
    pub(crate) fn before(self, at: usize) -> &'a [u8] {
        &self.bytes[at.saturating_sub(LOOKBACK)..at]
    }

    /// Whether `at` is in the middle of a word, or of an escape. What a letter ends that is no letter of the text does not
    /// count: `\n` and `\u0026` of JSON in a log, `%3D` of a URL, a colour of a terminal.
    pub(crate) fn inside_word(self, at: usize) -> bool {
        if !self.bytes.get(at).is_some_and(u8::is_ascii_alphanumeric) {
            return false;
        }
        match self.before(at) {
            [.., b'\\'] => matches!(self.bytes.get(at), Some(b'b' | b'f' | b'n' | b'r' | b't' | b'u')),
            [.., b'\\', b'b' | b'f' | b'n' | b'r' | b't'] => false,
            [.., b'\\', b'u', a, b, c, d] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => {
                false
            }
            [.., b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => false,
            [start @ .., b'm'] => !ends_in_colour(start),
            [.., byte] => byte.is_ascii_alphanumeric(),
            [] => false,
        }
    }
}

/// Whether `text` ends in the start of a sequence that an `m` completes to a colour (ECMA-48, SGR).
fn ends_in_colour(text: &[u8]) -> bool {
    let numbers = text.iter().rev().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
    let start = &text[..text.len() - numbers];
    start.ends_with(b"\x1b[")
        || start.ends_with(b"\\u001b[")
        || start.ends_with(b"\\x1b[")
        || start.ends_with(b"\\033[")
}

impl Secret {
    /// A secret whose end is where it is known to.
    pub(crate) fn whole(start: usize, end: usize) -> Option<Self> {
        Some(Self { start, end, tail: Tail::Ended })
    }
}

impl Tail {
    /// How far from `at` on the secret goes, and whether that is its end.
    pub(crate) fn advance(&mut self, view: View<'_>, at: usize) -> (usize, bool) {
        match self {
            Self::Ended => (at, true),
            Self::Run(alphabet) => {
                let run = view.run(at, *alphabet);
                (run.end, !run.open)
            }
            Self::Value(quoting) => {
                let run = quoting.run(view, at);
                (run.end, !run.open)
            }
            Self::Pem(body) => body.advance(view, at),
        }
    }
}
