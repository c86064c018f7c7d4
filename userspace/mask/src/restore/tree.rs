//! A JSON document as a tree that knows where in the text each of its values stands.

use std::ops::Range;

use super::Why;
use crate::json::reader::{Container, Reader, Scalar, Visitor};

/// Objects and arrays are read this deep. The API's own types need about twenty.
const DEPTH: usize = 100;
/// Values in one document. An object of 3 MiB has a tenth of that.
const VALUES: usize = 400_000;

/// A document and its text.
pub(super) struct Document<'t> {
    text: &'t [u8],
    pub(super) root: Value,
}

/// A value and where in the text it stands.
pub(super) struct Value {
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// In the order of the text, duplicates included.
    Object(Vec<(String, Value)>),
    Array(Vec<Value>),
    /// Free of escapes.
    String(String),
    /// A number, a boolean or null.
    Other,
}

impl<'t> Document<'t> {
    /// Reads exactly one document.
    pub(super) fn read(text: &'t [u8]) -> Result<Self, Why> {
        let (mut reader, mut builder) = (Reader::new(), Builder { end: text.len(), ..Builder::default() });
        let read = reader.read(text, &mut builder).and_then(|()| reader.finish(&mut builder));
        read.map_err(|error| Why::NotJson(error.to_string()))?;
        match builder.root {
            _ if builder.too_much => Err(Why::TooMuch),
            Some(root) if reader.documents() == 1 => Ok(Self { text, root }),
            _ => Err(Why::NotJson("it is not one document".to_owned())),
        }
    }

    pub(super) fn text(&self) -> &'t [u8] {
        self.text
    }

    /// A value's text.
    pub(super) fn raw(&self, value: &Value) -> &'t [u8] {
        &self.text[value.span.clone()]
    }
}

impl Value {
    pub(super) fn member(&self, key: &str) -> Option<&Self> {
        let Kind::Object(members) = &self.kind else { return None };
        members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The first element of a list.
    pub(super) fn first(&self) -> Option<&Self> {
        let Kind::Array(elements) = &self.kind else { return None };
        elements.first()
    }

    pub(super) fn text(&self) -> Option<&str> {
        let Kind::String(text) = &self.kind else { return None };
        Some(text)
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self.kind, Kind::Object(_))
    }
}

/// Puts the tree together from the leaves.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Value>,
    /// Of the key or string at hand.
    text: Vec<u8>,
    start: usize,
    scalar: Option<Scalar>,
    /// Of the text.
    end: usize,
    values: usize,
    /// Over a limit: nothing is kept any more.
    too_much: bool,
}

/// An object or array whose end is still to come.
struct Open {
    start: usize,
    kind: Kind,
    key: String,
}

impl Builder {
    fn put(&mut self, value: Value) {
        self.values += 1;
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open { kind: Kind::Array(elements), .. }) => elements.push(value),
            Some(Open { kind: Kind::Object(members), key, .. }) => members.push((std::mem::take(key), value)),
            Some(_) => {}
        }
        if self.values > VALUES {
            self.give_up();
        }
    }

    /// What was read is dropped here, while it is flat: dropping a deep tree takes as deep a stack.
    fn give_up(&mut self) {
        self.too_much = true;
        self.open.clear();
        self.text.clear();
    }

    /// The reader has checked that it is UTF-8.
    fn take_text(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.text).into_owned();
        self.text.clear();
        text
    }
}

impl Visitor for Builder {
    fn key_begins(&mut self) -> bool {
        !self.too_much
    }

    fn key_ends(&mut self) {
        let key = self.take_text();
        if let Some(open) = self.open.last_mut() {
            open.key = key;
        }
    }

    fn scalar_begins(&mut self, scalar: Scalar, at: usize) -> bool {
        (self.start, self.scalar) = (at, Some(scalar));
        !self.too_much
    }

    fn scalar_ends(&mut self, at: usize) {
        let scalar = self.scalar.take();
        if self.too_much {
            return;
        }
        let kind = match scalar {
            Some(Scalar::String) => Kind::String(self.take_text()),
            _ => Kind::Other,
        };
        // A number at the very end ends when the text is known to be over.
        let end = if at > self.start { at } else { self.end };
        self.put(Value { span: self.start..end, kind });
    }

    fn opens(&mut self, container: Container, at: usize) -> bool {
        if self.too_much {
            return false;
        }
        let kind = match container {
            Container::Object => Kind::Object(Vec::new()),
            Container::Array => Kind::Array(Vec::new()),
        };
        self.open.push(Open { start: at, kind, key: String::new() });
        if self.open.len() > DEPTH {
            self.give_up();
        }
        !self.too_much
    }

    fn closes(&mut self, at: usize) {
        if let Some(Open { start, kind, .. }) = self.open.pop() {
            self.put(Value { span: start..at, kind });
        }
    }

    fn text(&mut self, piece: &[u8]) {
        self.text.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_knows_its_text() {
        let text = br#" {"a": [1, "x\u0041", {"b":null}],"":true } "#;
        let document = Document::read(text).unwrap();
        assert_eq!(document.raw(&document.root), text.trim_ascii());
        let Some(Kind::Array(elements)) = document.root.member("a").map(|value| &value.kind) else {
            panic!()
        };
        let raw: Vec<&[u8]> = elements.iter().map(|element| document.raw(element)).collect();
        assert_eq!(raw, [&b"1"[..], br#""x\u0041""#, br#"{"b":null}"#]);
        assert_eq!(elements[1].text(), Some("xA"));
        let number = Document::read(b" 12").unwrap();
        assert_eq!(number.raw(&number.root), b"12");
        assert_eq!(document.root.member("").map(|value| document.raw(value)), Some(&b"true"[..]));
    }

    #[test]
    fn what_is_no_document_or_too_much_is_refused() {
        for text in ["", "{}{}", "{", "data: x"] {
            assert!(matches!(Document::read(text.as_bytes()), Err(Why::NotJson(_))), "{text}");
        }
        let nested = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(Document::read(nested(DEPTH).as_bytes()).is_ok());
        assert!(matches!(Document::read(nested(DEPTH + 1).as_bytes()), Err(Why::TooMuch)));
        assert!(matches!(Document::read(nested(9_000).as_bytes()), Err(Why::TooMuch)));
        let many = ["[", &"0,".repeat(VALUES), "0]"].concat();
        assert!(matches!(Document::read(many.as_bytes()), Err(Why::TooMuch)));
    }
}
