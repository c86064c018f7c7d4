//! Detectors over a stream: what is no secret is given, what is one is hidden, what cannot be told yet is held back.
//!
//! Memory: one piece of the input and the longest secret that has to be seen whole (a few KiB). Past that, a secret is
//! hidden as it comes, for as long as it goes on.

use std::sync::Arc;

use super::view::{LOOKBACK, Secret, Tail, View};
use super::{Detectors, Next, aws, pem};
use crate::placeholder::Placeholder;

/// The input is looked at in pieces of this size.
const PIECE: usize = 64 * 1024;

/// Where the stream goes.
pub(crate) trait Sink {
    /// These bytes are no secret.
    fn give(&mut self, bytes: &[u8]);
    /// These bytes are a part of a secret.
    fn hide(&mut self, bytes: &[u8]);
    /// This stands for what was hidden since the last one. It is empty where a pause came before the end of a secret.
    fn stand_in(&mut self, placeholder: &[u8]);
}

/// Finds secrets in a stream cut anywhere.
pub(crate) struct Scanner {
    detectors: Arc<Detectors>,
    /// Of the secret at hand.
    placeholder: Placeholder,
    /// Room for it once it is written.
    written: Vec<u8>,
    /// What was not given yet, after what was and may still be looked at.
    window: Vec<u8>,
    /// Up to here the window was given or hidden.
    done: usize,
    /// From here on it is still to be searched.
    at: usize,
    /// Up to here secret keys of AWS are looked for.
    beside: usize,
    inside: Option<Inside>,
    /// The stream has not been looked at yet, and may begin in the middle of a key.
    excerpt: bool,
}

/// A secret whose end has not come yet.
struct Inside {
    tail: Tail,
    /// Some of it was hidden.
    hidden: bool,
    /// Its placeholder was given.
    told: bool,
}

impl Scanner {
    pub(crate) fn new(detectors: Arc<Detectors>, placeholder: Placeholder) -> Self {
        Self {
            detectors,
            placeholder,
            written: Vec::new(),
            window: Vec::new(),
            done: 0,
            at: 0,
            beside: 0,
            inside: None,
            excerpt: false,
        }
    }

    /// The stream is a part of another: it may begin inside of a secret.
    pub(crate) fn of_excerpt(self) -> Self {
        Self { excerpt: true, ..self }
    }

    /// Begins a stream as if `before` had been given just before it.
    pub(crate) fn begin_after(&mut self, before: &[u8]) {
        self.window.clear();
        self.window.extend_from_slice(before);
        self.done = before.len();
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        for piece in bytes.chunks(PIECE) {
            self.window.extend_from_slice(piece);
            let hold = self.search(false, sink);
            self.give(hold, sink);
            self.forget();
        }
    }

    /// Whether something is held back.
    pub(crate) fn holds(&self) -> bool {
        self.done < self.window.len()
            || self.inside.as_ref().is_some_and(|inside| inside.hidden && !inside.told)
    }

    /// Gives what is held back, as if nothing more came; what is a secret already stays one, and what turns out to be one
    /// is hidden from here on.
    pub(crate) fn flush(&mut self, sink: &mut impl Sink) {
        let mut resume = None;
        self.enter(true, true, sink);
        loop {
            self.search(false, sink);
            if self.inside.is_some() {
                self.tell(sink);
                break;
            }
            // It stopped where it cannot tell yet, or at the end.
            let anchor = self.at;
            match self.detectors.next(
                View { bytes: &self.window, ended: true, paused: true },
                anchor,
                self.beside,
            ) {
                Next::Secret { secret, names_key } => {
                    resume = None;
                    self.begin(secret, names_key, sink);
                }
                Next::Wait { .. } => {
                    resume = Some(anchor);
                    break;
                }
            }
        }
        self.at = resume.unwrap_or(self.at);
        self.give(self.window.len(), sink);
        self.forget();
    }

    /// Ends a stream that was cut off: what might have become a secret is hidden as if it were one.
    pub(crate) fn finish_cut_off(&mut self, sink: &mut impl Sink) {
        self.enter(true, false, sink);
        let hold = self.search(false, sink);
        let length = self.window.len();
        if self.inside.is_none() && hold < length {
            self.begin(Secret { start: hold.max(self.done), end: length, tail: Tail::Ended }, false, sink);
        }
        self.finish(sink);
    }

    /// Ends the stream. The next one may begin.
    pub(crate) fn finish(&mut self, sink: &mut impl Sink) {
        self.search(true, sink);
        self.give(self.window.len(), sink);
        self.window.clear();
        (self.done, self.at, self.beside) = (0, 0, 0);
    }

    /// Ends a text beside which the next one stands: the secret key to an id in this one may be in that.
    pub(crate) fn finish_beside(&mut self, sink: &mut impl Sink) {
        self.search(true, sink);
        let beside = self.beside.saturating_sub(self.window.len());
        self.finish(sink);
        self.beside = beside;
    }

    /// Whether something in the next text would be a secret for what was in the last one.
    pub(crate) fn goes_beside(&self) -> bool {
        self.beside > 0
    }

    /// Hides every secret that is sure to be one. Returns from where on bytes are to be held back.
    fn search(&mut self, ended: bool, sink: &mut impl Sink) -> usize {
        if !self.enter(ended, false, sink) {
            return self.done;
        }
        loop {
            if self.inside.is_some() && !self.hide(ended, sink) {
                return self.done;
            }
            match self.detectors.next(
                View { bytes: &self.window, ended, paused: false },
                self.at,
                self.beside,
            ) {
                Next::Secret { secret, names_key } => {
                    self.begin(secret, names_key, sink);
                }
                Next::Wait { resume, hold } => {
                    self.at = resume;
                    return hold;
                }
            }
        }
    }

    /// Looks whether the stream begins inside of a key; whether that can be told yet.
    fn enter(&mut self, ended: bool, paused: bool, sink: &mut impl Sink) -> bool {
        if !self.excerpt || self.window.is_empty() {
            return true;
        }
        match pem::verify_excerpt(View { bytes: &self.window, ended, paused }) {
            Err(_) => return false,
            Ok(None) => {}
            Ok(Some(secret)) => self.begin(secret, false, sink),
        }
        self.excerpt = false;
        true
    }

    /// Hides the first part of a secret.
    fn begin(&mut self, secret: Secret, names_key: bool, sink: &mut impl Sink) {
        let Secret { start, end, tail } = secret;
        self.give(start, sink);
        self.placeholder.update(&self.window[start..end]);
        let hidden = self.done < end;
        if hidden {
            sink.hide(&self.window[self.done..end]);
            self.done = end;
        }
        self.at = end;
        if names_key && self.detectors.aws {
            self.beside = end + aws::REACH;
        }
        self.inside = Some(Inside { tail, hidden, told: false });
    }

    /// Hides more of the secret at hand; whether its end came.
    fn hide(&mut self, ended: bool, sink: &mut impl Sink) -> bool {
        let Some(inside) = &mut self.inside else { return true };
        let (end, over) = inside.tail.advance(View { bytes: &self.window, ended, paused: false }, self.at);
        let over = over || ended;
        if end > self.at {
            if !inside.told {
                self.placeholder.update(&self.window[self.at..end]);
            }
            if end > self.done {
                inside.hidden = true;
                sink.hide(&self.window[self.done..end]);
                if inside.told {
                    // There is one placeholder for a secret, and it was given.
                    sink.stand_in(b"");
                }
                self.done = end;
            }
            self.at = end;
        }
        if over {
            self.tell(sink);
            self.inside = None;
        }
        over
    }

    /// Gives the placeholder of the secret at hand, once.
    fn tell(&mut self, sink: &mut impl Sink) {
        let Some(inside) = &mut self.inside else { return };
        if inside.told {
            return;
        }
        self.written.clear();
        self.placeholder.write(&mut self.written);
        if inside.hidden {
            inside.told = true;
            sink.stand_in(&self.written);
        }
    }

    fn give(&mut self, until: usize, sink: &mut impl Sink) {
        if self.done < until {
            sink.give(&self.window[self.done..until]);
            self.done = until;
        }
    }

    /// Drops what nobody looks at any more.
    fn forget(&mut self) {
        // A key's first letters stand before the gram that it is known by, and what is before them counts.
        let keep = self.done.min(self.at).saturating_sub(2 * LOOKBACK);
        if keep > 0 {
            self.window.drain(..keep);
            self.done -= keep;
            self.at -= keep;
            self.beside = self.beside.saturating_sub(keep);
        }
    }
}

impl Sink for Vec<u8> {
    fn give(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn hide(&mut self, _: &[u8]) {}

    fn stand_in(&mut self, placeholder: &[u8]) {
        self.extend_from_slice(placeholder);
    }
}
