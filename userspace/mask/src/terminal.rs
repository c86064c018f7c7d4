//! Masking what a terminal shows, as it streams by: the output of `exec -it` and `attach -it`.
//!
//! Secrets are looked for in the text as it is to be seen: colours and the like inside of one do not hide it, nor does a line
//! that is broken at the edge of a terminal whose width is known. Every control sequence passes, in its place. On the
//! alternate screen (vim, less, top) a placeholder takes no more room than what it stands for, so that nothing moves.

mod sequence;

use std::collections::VecDeque;
use std::sync::Arc;
use std::{iter, mem};

use crate::detect::{Scanner, Sink};
use crate::placeholder::Placeholder;
use crate::{Detectors, MaskKey};
use sequence::{Effect, Sequence};

/// Control sequences that wait for the text before them are given, with that text, once they are more than this.
const QUEUE_LIMIT: usize = 16 * 1024;

/// What covers the part of a secret that is longer than its placeholder.
const COVER: u8 = b'*';

/// Masks the secrets in the output of a terminal. Any cut of the stream gives the same output, byte for byte what came
/// where there is no secret. Constant memory.
pub struct TerminalMasker {
    scanner: Scanner,
    sequence: Sequence,
    screen: Screen,
    margin: Margin,
}

/// Knows where a line is at the edge of the terminal.
#[derive(Default)]
struct Margin {
    width: Option<u16>,
    /// Characters of the line before the cursor, if that is known.
    column: Option<u16>,
    last: u8,
    /// What came at the edge and may break the line there: a byte of text, and the control sequence after it.
    pending: Vec<u8>,
}

/// What is between the text that the scanner sees and the bytes of the stream.
#[derive(Default)]
struct Screen {
    /// Bytes of text that the scanner was shown, and those that it gave or hid.
    shown: u64,
    passed: u64,
    /// Controls among the text that did not pass yet.
    marks: VecDeque<Mark>,
    /// What was hidden and has no placeholder yet.
    hidden: Vec<Hidden>,
    alternate: bool,
}

/// Something before the byte of text at `at`.
struct Mark {
    at: u64,
    what: Control,
}

enum Control {
    /// A byte of a control sequence.
    Byte(u8),
    /// The byte of text at this place says that the cursor moved. It is none of the stream.
    Moved,
}

enum Hidden {
    Text,
    Control(u8),
}

impl TerminalMasker {
    /// A masker for one stream.
    pub fn new(detectors: Arc<Detectors>, key: &MaskKey) -> Self {
        Self {
            scanner: Scanner::new(detectors, Placeholder::new(key)),
            sequence: Sequence::default(),
            screen: Screen::default(),
            margin: Margin::default(),
        }
    }

    /// Says how many columns the terminal has from now on (0: nobody knows).
    pub fn resize(&mut self, columns: u16) {
        self.margin.width = Some(columns).filter(|&columns| columns > 0);
        self.margin.column = None;
    }

    /// Takes the next output and appends what can be given of it to `out`: all but what may turn out to be a secret.
    pub fn push(&mut self, output: &[u8], out: &mut Vec<u8>) {
        let mut rest = output;
        while let Some((&byte, after)) = rest.split_first() {
            if self.sequence.is_open() || sequence::begins(byte) {
                self.control(byte, out);
                rest = after;
            } else {
                let end = rest.iter().position(|&byte| sequence::begins(byte)).unwrap_or(rest.len());
                self.text(&rest[..end], out);
                rest = &rest[end..];
            }
        }
    }

    /// Whether something is held back. [`flush`](Self::flush) it when nothing more has come for 50 ms, so that nobody waits
    /// for it.
    pub fn holds(&self) -> bool {
        self.scanner.holds() || !self.margin.pending.is_empty() || !self.screen.marks.is_empty()
    }

    /// Gives what is held back. What is known to be a secret stays hidden, and so does what comes after if it turns out to
    /// belong to one.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        self.end_pending(out);
        self.scanner.flush(&mut Pass { screen: &mut self.screen, out });
        self.screen.settle(out);
    }

    /// Ends the stream and gives what is left.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.end_pending(out);
        self.scanner.finish(&mut Pass { screen: &mut self.screen, out });
        self.screen.settle(out);
    }

    /// Takes text without controls.
    fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let Some(width) = self.margin.width else {
            self.end_pending(out);
            return self.scan(text, out);
        };
        let mut from = 0;
        for (at, &byte) in text.iter().enumerate() {
            if let &[first] = self.margin.pending.as_slice() {
                // As programs write a line on, readline and less among them.
                if matches!((first, byte), (b'\r', b'\n') | (b' ', b'\r' | 0x08)) {
                    self.margin.column = Some(0);
                    self.margin.pending.push(byte);
                    self.give_pending(out);
                    from = at + 1;
                    continue;
                }
                self.end_pending(out);
            }
            if self.margin.may_break(byte, width) {
                self.scan(&text[from..at], out);
                self.margin.pending.push(byte);
                from = at + 1;
                continue;
            }
            self.margin.take(byte, width);
        }
        self.scan(&text[from..], out);
    }

    /// What broke a line at the edge is no text.
    fn give_pending(&mut self, out: &mut Vec<u8>) {
        for byte in mem::take(&mut self.margin.pending) {
            self.raw(byte, out);
        }
    }

    /// What could have broken a line did not.
    fn end_pending(&mut self, out: &mut Vec<u8>) {
        let pending = mem::take(&mut self.margin.pending);
        let Some((&byte, sequence)) = pending.split_first() else { return };
        if let Some(width) = self.margin.width {
            self.margin.take(byte, width);
        }
        self.scan(&[byte], out);
        for &byte in sequence {
            self.raw(byte, out);
        }
    }

    fn scan(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.screen.shown += text.len() as u64;
        self.scanner.push(text, &mut Pass { screen: &mut self.screen, out });
    }

    /// Takes a byte of a control sequence.
    fn control(&mut self, byte: u8, out: &mut Vec<u8>) {
        let effect = self.sequence.step(byte);
        if !self.margin.pending.is_empty() {
            self.margin.pending.push(byte);
            if self.sequence.is_open() {
                return;
            }
            // vim writes the last character twice and goes back, so that terminals know that the line goes on.
            if effect == Effect::Column(Some(0)) {
                self.margin.column = Some(0);
                return self.give_pending(out);
            }
            self.end_pending(out);
        } else {
            self.raw(byte, out);
        }
        let at_edge = self.margin.width.is_some() && self.margin.column == self.margin.width;
        match effect {
            Effect::None => {}
            Effect::Column(Some(0)) if at_edge => self.margin.column = Some(0),
            Effect::Column(column) => {
                self.margin.column = column;
                self.moved(b'\n', out);
            }
            Effect::Along => {
                self.margin.column = None;
                self.moved(b' ', out);
            }
            Effect::Alternate(alternate) => {
                self.margin.column = None;
                self.moved(b'\n', out);
                self.screen.alternate = alternate;
            }
        }
    }

    fn raw(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.screen.shown == self.screen.passed && self.screen.hidden.is_empty() {
            return out.push(byte);
        }
        self.screen.mark(Control::Byte(byte));
        if self.screen.marks.len() > QUEUE_LIMIT {
            self.flush(out);
        }
    }

    /// Shows the scanner that the cursor moved.
    fn moved(&mut self, as_if: u8, out: &mut Vec<u8>) {
        self.screen.mark(Control::Moved);
        self.scan(&[as_if], out);
    }
}

impl Margin {
    /// Whether `byte` comes at the edge and may be the first of what breaks a line there.
    fn may_break(&self, byte: u8, width: u16) -> bool {
        self.column == Some(width) && (byte == b'\r' || byte == b' ' || byte == self.last)
    }

    fn take(&mut self, byte: u8, width: u16) {
        self.last = byte;
        self.column = match (byte, self.column) {
            (b'\r', _) => Some(0),
            (b'\n', column) => column,
            (b' '..=b'~', Some(column)) if column < width => Some(column + 1),
            (b' '..=b'~', Some(_)) => Some(1),
            // How wide this is is for the terminal to know.
            _ => None,
        };
    }
}

impl Screen {
    fn mark(&mut self, what: Control) {
        self.marks.push_back(Mark { at: self.shown, what });
    }

    /// The next control, if it stands before the text at `at`.
    fn next_mark(&mut self, at: u64) -> Option<Control> {
        self.marks.pop_front_if(|mark| mark.at <= at).map(|mark| mark.what)
    }

    fn hide(&mut self, hidden: Hidden, out: &mut Vec<u8>) {
        self.hidden.push(hidden);
        if self.hidden.len() > QUEUE_LIMIT {
            self.cover(b"", out);
        }
    }

    /// Gives the controls of what was hidden, after the placeholder or, on the alternate screen, among its letters.
    fn cover(&mut self, placeholder: &[u8], out: &mut Vec<u8>) {
        let mut letters = placeholder.iter().copied().chain(iter::repeat(COVER));
        if !self.alternate {
            out.extend_from_slice(placeholder);
        }
        for hidden in mem::take(&mut self.hidden) {
            match hidden {
                Hidden::Control(byte) => out.push(byte),
                Hidden::Text if self.alternate => out.extend(letters.next()),
                Hidden::Text => {}
            }
        }
    }

    /// Gives the controls that no held text is before.
    fn settle(&mut self, out: &mut Vec<u8>) {
        if self.hidden.is_empty() && self.passed == self.shown {
            while let Some(control) = self.next_mark(self.passed) {
                if let Control::Byte(byte) = control {
                    out.push(byte);
                }
            }
        }
    }

    /// Takes `length` bytes of text, one stretch without controls after another. What a control is, is told before the
    /// text that is after it.
    fn pass(&mut self, text: &[u8], mut piece: impl FnMut(&mut Self, Passed<'_>)) {
        let mut rest = text;
        while !rest.is_empty() {
            let mut skip = 0;
            while let Some(control) = self.next_mark(self.passed) {
                match control {
                    Control::Byte(byte) => piece(self, Passed::Control(byte)),
                    Control::Moved => skip = 1,
                }
            }
            self.passed += skip as u64;
            rest = &rest[skip..];
            if skip > 0 {
                continue;
            }
            let until = self.marks.front().map_or(u64::MAX, |mark| mark.at) - self.passed;
            let length = usize::try_from(until).unwrap_or(usize::MAX).min(rest.len());
            piece(self, Passed::Text(&rest[..length]));
            self.passed += length as u64;
            rest = &rest[length..];
        }
    }
}

enum Passed<'a> {
    Text(&'a [u8]),
    Control(u8),
}

/// A scanner's way out.
struct Pass<'a> {
    screen: &'a mut Screen,
    out: &'a mut Vec<u8>,
}

impl Sink for Pass<'_> {
    fn give(&mut self, text: &[u8]) {
        let out = &mut *self.out;
        self.screen.pass(text, |_, passed| match passed {
            Passed::Text(text) => out.extend_from_slice(text),
            Passed::Control(byte) => out.push(byte),
        });
    }

    fn hide(&mut self, text: &[u8]) {
        let out = &mut *self.out;
        self.screen.pass(text, |screen, passed| match passed {
            Passed::Control(byte) => screen.hide(Hidden::Control(byte), out),
            Passed::Text(text) => {
                // Of a character of several bytes one counts.
                for _ in text.iter().filter(|&&byte| byte & 0xc0 != 0x80) {
                    screen.hide(Hidden::Text, out);
                }
            }
        });
    }

    fn stand_in(&mut self, placeholder: &[u8]) {
        self.screen.cover(placeholder, self.out);
    }
}
