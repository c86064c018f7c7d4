//! A kubeconfig as a tree that knows where in the text each value stands. JSON is read the same way: it is YAML in flow
//! style.

use std::{ops::Range, path::Path};

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, StructureStyle};

use crate::TlsError;

/// What is wrong with a document, and on which line (from 1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) what: String,
}

impl Problem {
    pub(super) fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }

    pub(super) fn within(self, path: &Path) -> TlsError {
        TlsError::Kubeconfig { path: path.to_owned(), line: self.line, problem: self.what }
    }
}

/// One value, and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    /// Bytes of a scalar's text: with its quotes, or a block scalar's lines without the header. Empty for a value that
    /// is not written at all. Of a collection only the start means something.
    pub(super) span: Range<usize>,
    pub(super) line: usize,
    /// Has an anchor or a tag, or is an alias: changing it may change other places.
    pub(super) entangled: bool,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar { text: String, style: ScalarStyle },
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Node, Node)>, style: StructureStyle },
    Alias(usize),
}

impl Node {
    /// Reads the only document of a file; `None` when there is nothing in it.
    pub(super) fn parse(source: &str) -> Result<Option<Self>, Problem> {
        let mut reader = Reader(Parser::new_from_str(source));
        let mut root = None;
        while let Some((event, span)) = reader.next()? {
            match event {
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Problem::new(
                        span.start.line(),
                        "a second YAML document starts here; kubectl reads one",
                    ));
                }
                Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => root = Some(reader.node(event, span)?),
            }
        }
        Ok(root.filter(|root| !root.is_null()))
    }

    /// Whether both mean the same, however they are written.
    pub(super) fn means(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            // A quoted scalar is a string, a plain one may be a number, a truth value or nothing.
            (Value::Scalar { text: a, style: s }, Value::Scalar { text: b, style: t }) => {
                a == b && (*s == ScalarStyle::Plain) == (*t == ScalarStyle::Plain)
            }
            (Value::Sequence(a), Value::Sequence(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.means(b))
            }
            (Value::Mapping { entries: a, .. }, Value::Mapping { entries: b, .. }) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0.means(&b.0) && a.1.means(&b.1))
            }
            (Value::Alias(a), Value::Alias(b)) => a == b,
            _ => false,
        }
    }

    /// A scalar's text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether this is YAML's null, or nothing at all.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, style: ScalarStyle::Plain }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The first anchor, alias, tag or merge key at or below this node.
    pub(super) fn first_entangled(&self) -> Option<&Self> {
        if self.entangled {
            return Some(self);
        }
        match &self.value {
            Value::Sequence(items) => items.iter().find_map(Self::first_entangled),
            Value::Mapping { entries, .. } => entries.iter().find_map(|(key, value)| {
                let merge = key.text() == Some("<<");
                if merge { Some(key) } else { key.first_entangled().or_else(|| value.first_entangled()) }
            }),
            _ => None,
        }
    }

    /// A mapping's entry: key and value. A key that stands there twice is an error: readers differ on which counts.
    pub(super) fn entry(&self, key: &str) -> Result<Option<(&Self, &Self)>, Problem> {
        let Value::Mapping { entries, .. } = &self.value else {
            return Err(Problem::new(self.line, "a mapping should stand here: this is not a kubeconfig"));
        };
        let mut found = entries.iter().filter(|(found, _)| found.text() == Some(key));
        let first = found.next().map(|(key, value)| (key, value));
        match found.next() {
            Some((again, _)) => Err(Problem::new(again.line, format!("{key:?} stands here a second time"))),
            None => Ok(first),
        }
    }

    /// The value of a mapping's entry, to change it.
    pub(super) fn entry_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.value {
            Value::Mapping { entries, .. } => {
                entries.iter_mut().find(|(k, _)| k.text() == Some(key)).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

struct Reader<'a>(Parser<'a, StrInput<'a>>);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Problem> {
        loop {
            match self.0.next_event() {
                None => return Ok(None),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(Some(event)),
                Some(Err(error)) => return Err(Problem::new(error.marker().line(), error.info())),
            }
        }
    }

    fn inner(&mut self) -> Result<(Event<'a>, Span), Problem> {
        self.next()?.ok_or_else(|| Problem::new(1, "the file ends within a value"))
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Problem> {
        let line = span.start.line();
        let bytes =
            span.byte_range().ok_or_else(|| Problem::new(line, "a value without a place in the file"))?;
        let (value, entangled) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text = if bytes.is_empty() { String::new() } else { text.into_owned() };
                (Value::Scalar { text, style }, anchor != 0 || tag.is_some())
            }
            Event::Alias(id) => (Value::Alias(id), true),
            Event::SequenceStart(_, anchor, tag) => {
                let mut items = Vec::new();
                loop {
                    match self.inner()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span)?),
                    }
                }
                (Value::Sequence(items), anchor != 0 || tag.is_some())
            }
            Event::MappingStart(style, anchor, tag) => {
                let mut entries = Vec::new();
                loop {
                    let (event, span) = self.inner()?;
                    if event == Event::MappingEnd {
                        break;
                    }
                    let key = self.node(event, span)?;
                    let (event, span) = self.inner()?;
                    entries.push((key, self.node(event, span)?));
                }
                (Value::Mapping { entries, style }, anchor != 0 || tag.is_some())
            }
            _ => return Err(Problem::new(line, "a value should stand here")),
        };
        Ok(Node { value, span: bytes, line, entangled })
    }
}
