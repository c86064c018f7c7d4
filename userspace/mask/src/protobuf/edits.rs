//! What is to be changed in a body, and the body with the changes made. All that is not changed is copied as it came.

use std::ops::Range;

use super::LIMIT;
use super::wire::{Field, put_varint};
use crate::MaskError;

/// What changes may take together, in bytes: some fifty thousand values. So many are in few lists, and these come in JSON.
const ROOM: usize = LIMIT;

/// Changes of one body, in the order of their places.
#[derive(Default)]
pub(super) struct Edits {
    list: Vec<Edit>,
    /// All that is put in.
    text: Vec<u8>,
    /// What is being put in, before its length is known.
    scratch: Vec<u8>,
}

/// Some bytes of the body, and what stands for them. Both are under 4 GiB, as the body is.
#[derive(Clone, Copy)]
struct Edit {
    at: u32,
    length: u32,
    text: u32,
    text_length: u32,
}

/// A change whose place is taken, to be made when what follows is known.
pub(super) struct Reserved(usize);

impl Edits {
    /// Replaces the bytes of a field by what `write` appends. Returns by how much the body grows.
    pub(super) fn replace(
        &mut self,
        field: &Field,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<isize, MaskError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        write(&mut scratch);
        let text = self.text.len();
        // A length that holds stays as it is spelled.
        let holds = scratch.len() == field.value.len();
        if !holds {
            put_varint(scratch.len() as u64, &mut self.text);
        }
        self.text.extend_from_slice(&scratch);
        self.scratch = scratch;
        let from = if holds { field.value.start } else { field.length };
        self.push(from..field.value.end, text)
    }

    /// Takes a field out.
    pub(super) fn remove(&mut self, field: &Field) -> Result<isize, MaskError> {
        self.push(field.whole(), self.text.len())
    }

    /// Takes the place of a length that may change.
    pub(super) fn reserve(&mut self) -> Reserved {
        self.list.push(Edit { at: 0, length: 0, text: 0, text_length: 0 });
        Reserved(self.list.len() - 1)
    }

    /// Makes the length of a message fit: it grew by `grown`. Returns by how much the body grows, the length itself
    /// included.
    pub(super) fn relength(
        &mut self,
        reserved: &Reserved,
        field: &Field,
        grown: isize,
    ) -> Result<isize, MaskError> {
        if self.list.len() == reserved.0 + 1 {
            self.list.pop();
            return Ok(0);
        }
        let span = if grown == 0 { field.length..field.length } else { field.length..field.value.start };
        let text = self.text.len();
        if grown != 0 {
            put_varint(field.value.len().saturating_add_signed(grown) as u64, &mut self.text);
        }
        let more = self.push(span, text)?;
        if let Some(edit) = self.list.pop() {
            self.list[reserved.0] = edit;
        }
        Ok(grown + more)
    }

    /// Appends the body with all changes made, and forgets them.
    pub(super) fn apply(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        out.reserve(body.len() + self.text.len());
        for edit in self.list.drain(..) {
            let (from, text) = (edit.at as usize, edit.text as usize);
            out.extend_from_slice(&body[at..from]);
            out.extend_from_slice(&self.text[text..text + edit.text_length as usize]);
            at = from + edit.length as usize;
        }
        out.extend_from_slice(&body[at..]);
        self.clear();
    }

    fn clear(&mut self) {
        // Not kept for a stream's next event, which may come tomorrow.
        *self = Self::default();
    }

    fn push(&mut self, span: Range<usize>, text: usize) -> Result<isize, MaskError> {
        let text_length = self.text.len() - text;
        let grown = text_length as isize - span.len() as isize;
        let (at, length) = (span.start as u32, span.len() as u32);
        self.list.push(Edit { at, length, text: text as u32, text_length: text_length as u32 });
        let taken = self.list.len() * size_of::<Edit>() + self.text.len();
        if taken > ROOM { Err(MaskError::TooLarge { limit: LIMIT }) } else { Ok(grown) }
    }
}
