//! What protobuf bodies go through: held until an object or an event is whole, then given masked.

use std::ops::Range;
use std::sync::Arc;

use super::LIMIT;
use super::edits::Edits;
use super::routes::Routes;
use super::schema::schema;
use super::walk::Walk;
use super::wire::fault;
use crate::placeholder::Placeholder;
use crate::rules::ROOT;
use crate::{MaskError, MaskKey, ProtobufFault, Rules};

/// What a watch's buffer may keep between events, in bytes: ten thousand idle ones should not cost much.
const KEPT: usize = 16 * 1024;

/// Masks protobuf: one object (`application/vnd.kubernetes.protobuf`) or the events of a watch
/// (`application/vnd.kubernetes.protobuf;stream=watch`), in chunks cut anywhere. Byte for byte the same outside of masked
/// values and of the lengths of what they are in. Holds one object or event at a time, up to [`LIMIT`].
pub struct ProtobufMasker {
    framing: Framing,
    buffer: Vec<u8>,
    routes: Routes,
    placeholder: Placeholder,
    edits: Edits,
    /// The body ended, or it was not what it should be.
    over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// The whole body.
    Object,
    /// Four bytes of length, most significant first, and an event; and so on.
    Events,
}

impl ProtobufMasker {
    /// A masker for a body that is one object.
    pub fn object(rules: Arc<Rules>, key: &MaskKey) -> Self {
        Self::new(Framing::Object, rules, key)
    }

    /// A masker for the body of a watch.
    pub fn watch(rules: Arc<Rules>, key: &MaskKey) -> Self {
        Self::new(Framing::Events, rules, key)
    }

    fn new(framing: Framing, rules: Arc<Rules>, key: &MaskKey) -> Self {
        Self {
            framing,
            buffer: Vec::new(),
            routes: Routes::new(rules),
            placeholder: Placeholder::new(key),
            edits: Edits::default(),
            over: false,
        }
    }

    /// Takes the next chunk and appends the events that are whole to `out`.
    ///
    /// # Errors
    /// [`MaskError::Protobuf`] when an event is not what it should be, [`MaskError::TooLarge`] when it, or an object, is
    /// larger than is held. Nothing of it, and nothing after it, is ever given: cut the stream.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.guarded(|masker| match masker.framing {
            Framing::Object if chunk.len() > LIMIT - masker.buffer.len() => {
                Err(MaskError::TooLarge { limit: LIMIT })
            }
            Framing::Object => {
                masker.buffer.extend_from_slice(chunk);
                Ok(())
            }
            Framing::Events => masker.events(chunk, out),
        })
    }

    /// Ends the body; an object is given now.
    ///
    /// # Errors
    /// As [`push`](Self::push), and when a watch ends inside an event.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.guarded(|masker| match masker.framing {
            // Of nothing, nothing is masked.
            _ if masker.buffer.is_empty() => Ok(()),
            Framing::Object => masker.mask(0, out, |walk, span| walk.envelope(span, ROOT)),
            Framing::Events => Err(fault(masker.buffer.len(), ProtobufFault::Truncated)),
        })?;
        self.over = true;
        Ok(())
    }

    /// How many bytes are held.
    pub(crate) fn held(&self) -> usize {
        self.buffer.len()
    }

    fn events(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        loop {
            let wanted = match self.buffer.first_chunk() {
                None => 4,
                Some(length) => match usize::try_from(u32::from_be_bytes(*length)) {
                    Ok(length) if length <= LIMIT => 4 + length,
                    _ => return Err(MaskError::TooLarge { limit: LIMIT }),
                },
            };
            let (taken, rest) = chunk.split_at(chunk.len().min(wanted - self.buffer.len()));
            self.buffer.extend_from_slice(taken);
            chunk = rest;
            if self.buffer.len() < wanted {
                return Ok(());
            }
            if wanted > 4 || self.buffer == [0; 4] {
                self.event(out)?;
            }
        }
    }

    /// Gives the event that is in the buffer.
    fn event(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        let Some(message) = schema().message("v1", "WatchEvent") else {
            return Err(fault(0, ProtobufFault::UnknownKind));
        };
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        if let Err(error) = self.mask(4, out, |walk, span| walk.message(span, message, &mut { ROOT })) {
            out.truncate(start);
            return Err(error);
        }
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Masks what is in the buffer behind `start` and empties it.
    fn mask(
        &mut self,
        start: usize,
        out: &mut Vec<u8>,
        walk: impl FnOnce(&mut Walk<'_>, Range<usize>) -> Result<isize, MaskError>,
    ) -> Result<(), MaskError> {
        let Self { buffer, routes, placeholder, edits, .. } = self;
        let body = &buffer[start..];
        walk(&mut Walk::new(body, routes, placeholder, edits), 0..body.len())?;
        edits.apply(body, out);
        buffer.clear();
        buffer.shrink_to(KEPT);
        Ok(())
    }

    fn guarded(&mut self, step: impl FnOnce(&mut Self) -> Result<(), MaskError>) -> Result<(), MaskError> {
        if self.over {
            return Err(MaskError::Over);
        }
        let outcome = step(self);
        if outcome.is_err() {
            self.over = true;
            self.buffer = Vec::new();
        }
        outcome
    }
}
