//! A strict JSON reader (RFC 8259) that takes its input in chunks cut anywhere and tells a [`Visitor`] what stands where.
//!
//! Documents may follow one another, with or without white space between them, as in a watch. Duplicate keys are told as
//! often as they come. Memory: a byte for each open array or object.

mod number;
mod unwanted;

use std::ops::Range;

use super::scan;
use super::text::{Progress, Text};
use crate::{JsonFault, MaskError};
use number::Number;
use unwanted::Unwanted;

/// Go's `encoding/json` takes this many levels (`maxNestingDepth`).
const MAX_DEPTH: usize = 10_000;

/// Whoever wants to know what is read. Positions are in the chunk at hand; that of an end is one past the last byte, so
/// an end may be at 0 for what ended with the chunk before.
pub trait Visitor {
    /// The quote that opens the key which begins is at `at`; for whoever gives keys in another spelling.
    fn key_opens(&mut self, _at: usize) {}
    /// The key that ends has its last byte before `at`.
    fn key_closes(&mut self, _at: usize) {}
    /// A key stands at `name` of the chunk, free of escapes.
    #[inline]
    fn key(&mut self, chunk: &[u8], name: Range<usize>) {
        self.key_opens(name.start - 1);
        if self.key_begins() && !name.is_empty() {
            self.text(&chunk[name.clone()]);
        }
        self.key_closes(name.end + 1);
        self.key_ends();
    }
    /// A key begins. Returns whether its text is wanted.
    fn key_begins(&mut self) -> bool;
    /// The key ended; its value comes next.
    fn key_ends(&mut self);
    /// A string, number or literal begins. Returns whether its text is wanted, if it is a string.
    fn scalar_begins(&mut self, scalar: Scalar, at: usize) -> bool;
    /// That value ended.
    fn scalar_ends(&mut self, at: usize);
    /// An object or array begins. Returns whether what is in it is wanted; of one that is not, only its end is told.
    fn opens(&mut self, container: Container, at: usize) -> bool;
    /// The innermost object or array ended.
    fn closes(&mut self, at: usize);
    /// A piece of the key or string that was wanted, free of escapes.
    fn text(&mut self, piece: &[u8]);
}

/// A value without parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// `null`.
    Null,
    /// A string.
    String,
    /// A number or a boolean.
    Other,
}

/// A value with parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// `{…}`.
    Object,
    /// `[…]`.
    Array,
}

/// A strict reader of JSON, between two chunks.
pub struct Reader {
    expecting: Expecting,
    open: Vec<Container>,
    /// The object or array at hand, if nothing in it is wanted.
    unwanted: Unwanted,
    text: Text,
    number: Number,
    /// What is still to come of `true`, `false` or `null`.
    literal: &'static [u8],
    /// Bytes of the chunks before this one.
    consumed: u64,
    documents: u64,
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expecting {
    Document,
    Value,
    ElementOrEnd,
    CommaOrEndOfArray,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEndOfObject,
    /// Anything in an object or array of which nothing is wanted.
    EndOfUnwanted,
    /// More of a key, string, number or literal.
    KeyText,
    StringText,
    Number,
    Literal,
}

type Fault = (usize, JsonFault);

impl Reader {
    /// Before the first document.
    pub fn new() -> Self {
        Self {
            expecting: Expecting::Document,
            open: Vec::new(),
            unwanted: Unwanted::default(),
            text: Text::default(),
            number: Number::Minus,
            literal: b"",
            consumed: 0,
            documents: 0,
        }
    }

    /// Reads a chunk to its end.
    ///
    /// # Errors
    /// [`MaskError::Json`] where the input stops being JSON. Nothing can be read after that.
    pub fn read(&mut self, chunk: &[u8], visitor: &mut impl Visitor) -> Result<(), MaskError> {
        self.tokens(chunk, visitor)
            .map_err(|(at, fault)| MaskError::Json { offset: self.consumed + at as u64, fault })?;
        self.consumed += chunk.len() as u64;
        Ok(())
    }

    /// Ends the input.
    ///
    /// # Errors
    /// [`MaskError::Json`] when it ends inside a document.
    pub fn finish(&mut self, visitor: &mut impl Visitor) -> Result<(), MaskError> {
        if self.expecting == Expecting::Number && self.number.is_complete() && self.open.is_empty() {
            self.expecting = self.scalar_ended(0, visitor);
        }
        match self.expecting {
            Expecting::Document => Ok(()),
            _ => Err(MaskError::Json { offset: self.consumed, fault: JsonFault::Truncated }),
        }
    }

    /// Documents read to their end.
    pub(crate) fn documents(&self) -> u64 {
        self.documents
    }

    fn tokens(&mut self, chunk: &[u8], visitor: &mut impl Visitor) -> Result<(), Fault> {
        // What is expected stays in a register: this loop is all the speed there is.
        let (mut at, mut expecting) = (0, self.expecting);
        while let Some(&byte) = chunk.get(at) {
            (at, expecting) = match expecting {
                Expecting::EndOfUnwanted => self.pass_over(chunk, at, visitor)?,
                _ => self.token(chunk, at, byte, expecting, visitor)?,
            };
        }
        self.expecting = expecting;
        Ok(())
    }

    /// Takes what begins with `byte`, the one at `at`.
    #[inline(always)]
    fn token(
        &mut self,
        chunk: &[u8],
        at: usize,
        byte: u8,
        expecting: Expecting,
        visitor: &mut impl Visitor,
    ) -> Result<(usize, Expecting), Fault> {
        Ok(match expecting {
            Expecting::Key | Expecting::KeyOrEnd if byte == b'"' => self.key(chunk, at, visitor)?,
            Expecting::Document | Expecting::Value | Expecting::ElementOrEnd if byte == b'"' => {
                self.string(chunk, at, visitor)
            }
            Expecting::KeyText | Expecting::StringText => {
                match self.text.read(chunk, at, &mut |piece| visitor.text(piece))? {
                    Progress::More => (chunk.len(), expecting),
                    Progress::Ended(end) if expecting == Expecting::KeyText => {
                        visitor.key_closes(end);
                        visitor.key_ends();
                        (end, Expecting::Colon)
                    }
                    Progress::Ended(end) => (end, self.scalar_ended(end, visitor)),
                }
            }
            Expecting::Number => self.number(chunk, at, visitor)?,
            Expecting::Literal => self.literal(chunk, at, visitor)?,
            _ if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') => {
                (at + scan::whitespace(&chunk[at..]), expecting)
            }
            _ => {
                let next = self.structure(expecting, byte, at, visitor).map_err(|fault| (at, fault))?;
                past_comma(chunk, at + 1, next)
            }
        })
    }

    /// Takes the key whose quote is at `at`, and what follows at once, as API servers write it: each turn of the loop
    /// costs.
    #[inline]
    fn key(
        &mut self,
        chunk: &[u8],
        at: usize,
        visitor: &mut impl Visitor,
    ) -> Result<(usize, Expecting), Fault> {
        let Some(quote) = scan::quote(&chunk[at + 1..]).map(|length| at + 1 + length) else {
            visitor.key_opens(at);
            self.text.begin(visitor.key_begins());
            return Ok((at + 1, Expecting::KeyText));
        };
        visitor.key(chunk, at + 1..quote);
        let end = quote + 1;
        let (value, byte) = match chunk[end..] {
            [b':', b' ', byte, ..] => (end + 2, byte),
            [b':', byte, ..] => (end + 1, byte),
            _ => return Ok((end, Expecting::Colon)),
        };
        match byte {
            b'"' => Ok(self.string(chunk, value, visitor)),
            b' ' | b'\n' | b'\r' | b'\t' => Ok((value, Expecting::Value)),
            _ => {
                let expecting = self.value(byte, value, visitor).map_err(|fault| (value, fault))?;
                Ok((value + 1, expecting))
            }
        }
    }

    /// Takes the string whose quote is at `at`, and the comma behind it.
    #[inline]
    fn string(&mut self, chunk: &[u8], at: usize, visitor: &mut impl Visitor) -> (usize, Expecting) {
        let wanted = visitor.scalar_begins(Scalar::String, at);
        let Some(quote) = scan::quote(&chunk[at + 1..]).map(|length| at + 1 + length) else {
            self.text.begin(wanted);
            return (at + 1, Expecting::StringText);
        };
        if wanted && at + 1 < quote {
            visitor.text(&chunk[at + 1..quote]);
        }
        let end = quote + 1;
        past_comma(chunk, end, self.scalar_ended(end, visitor))
    }

    /// Takes the first byte of a value that is no string, or one that stands between keys and values.
    #[inline]
    fn structure(
        &mut self,
        expecting: Expecting,
        byte: u8,
        at: usize,
        visitor: &mut impl Visitor,
    ) -> Result<Expecting, JsonFault> {
        Ok(match expecting {
            Expecting::CommaOrEndOfObject | Expecting::KeyOrEnd if byte == b'}' => self.close(at, visitor),
            Expecting::CommaOrEndOfArray | Expecting::ElementOrEnd if byte == b']' => self.close(at, visitor),
            Expecting::CommaOrEndOfObject if byte == b',' => Expecting::Key,
            Expecting::CommaOrEndOfArray if byte == b',' => Expecting::Value,
            Expecting::CommaOrEndOfObject | Expecting::CommaOrEndOfArray => {
                return Err(JsonFault::ExpectedComma);
            }
            Expecting::Colon if byte == b':' => Expecting::Value,
            Expecting::Colon => return Err(JsonFault::ExpectedColon),
            Expecting::Key | Expecting::KeyOrEnd => return Err(JsonFault::ExpectedKey),
            _ => return self.value(byte, at, visitor),
        })
    }

    /// Takes the first byte of a value that is no string.
    #[inline]
    fn value(&mut self, byte: u8, at: usize, visitor: &mut impl Visitor) -> Result<Expecting, JsonFault> {
        let (scalar, expecting) = match byte {
            b'{' => return self.open(Container::Object, at, visitor),
            b'[' => return self.open(Container::Array, at, visitor),
            b'-' => (Scalar::Other, self.begin_number(Number::Minus)),
            b'0' => (Scalar::Other, self.begin_number(Number::Zero)),
            b'1'..=b'9' => (Scalar::Other, self.begin_number(Number::Integer)),
            b't' => (Scalar::Other, self.begin_literal(b"rue")),
            b'f' => (Scalar::Other, self.begin_literal(b"alse")),
            b'n' => (Scalar::Null, self.begin_literal(b"ull")),
            _ => return Err(JsonFault::ExpectedValue),
        };
        visitor.scalar_begins(scalar, at);
        Ok(expecting)
    }

    #[inline]
    fn open(
        &mut self,
        container: Container,
        at: usize,
        visitor: &mut impl Visitor,
    ) -> Result<Expecting, JsonFault> {
        if self.open.len() == MAX_DEPTH {
            return Err(JsonFault::TooDeep);
        }
        self.open.push(container);
        let first = match container {
            Container::Object => Expecting::KeyOrEnd,
            Container::Array => Expecting::ElementOrEnd,
        };
        if visitor.opens(container, at) {
            return Ok(first);
        }
        self.unwanted = Unwanted::begin(first);
        Ok(Expecting::EndOfUnwanted)
    }

    #[inline]
    fn close(&mut self, at: usize, visitor: &mut impl Visitor) -> Expecting {
        self.open.pop();
        visitor.closes(at + 1);
        self.value_ended()
    }

    #[inline]
    fn scalar_ended(&mut self, at: usize, visitor: &mut impl Visitor) -> Expecting {
        visitor.scalar_ends(at);
        self.value_ended()
    }

    #[inline]
    fn value_ended(&mut self) -> Expecting {
        match self.open.last() {
            Some(Container::Object) => Expecting::CommaOrEndOfObject,
            Some(Container::Array) => Expecting::CommaOrEndOfArray,
            None => {
                self.documents += 1;
                Expecting::Document
            }
        }
    }

    fn begin_literal(&mut self, rest: &'static [u8]) -> Expecting {
        self.literal = rest;
        Expecting::Literal
    }

    fn literal(
        &mut self,
        chunk: &[u8],
        at: usize,
        visitor: &mut impl Visitor,
    ) -> Result<(usize, Expecting), Fault> {
        let here = &chunk[at..chunk.len().min(at + self.literal.len())];
        if let Some(wrong) = here.iter().zip(self.literal).position(|(is, should)| is != should) {
            return Err((at + wrong, JsonFault::BadLiteral));
        }
        let end = at + here.len();
        self.literal = &self.literal[here.len()..];
        if self.literal.is_empty() {
            Ok((end, self.scalar_ended(end, visitor)))
        } else {
            Ok((end, Expecting::Literal))
        }
    }
}

/// Takes the comma that nearly always follows a value, which ended at `end`.
#[inline]
fn past_comma(chunk: &[u8], end: usize, expecting: Expecting) -> (usize, Expecting) {
    match (expecting, chunk.get(end)) {
        (Expecting::CommaOrEndOfObject, Some(b',')) => (end + 1, Expecting::Key),
        (Expecting::CommaOrEndOfArray, Some(b',')) => (end + 1, Expecting::Value),
        _ => (end, expecting),
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
