//! Where a value that was sent stands in the live object, and what stands there: as it is, and as the client was shown it.

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Lists;
use super::tree::{Document, Kind, Value};
use crate::guard;
use crate::json::escape::escape;

/// The live object and its masked form, which have the same keys and lists, but for what was dropped.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) live: &'a Document<'a>,
    pub(super) shown: &'a Document<'a>,
}

/// One place in both.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pair: Pair<'a>,
    live: &'a Value,
    shown: &'a Value,
    /// The texts here are base64 of what stands in the body.
    encoded: bool,
}

/// What a place says about a text that was sent.
pub(super) enum Found {
    /// It is the mask of the value there, which is, as JSON:
    Live(Vec<u8>),
    /// The value there is masked, and this is not its mask.
    Another,
    /// The value there is not masked.
    Open,
}

impl<'a> Pair<'a> {
    pub(super) fn root(self) -> Place<'a> {
        Place { pair: self, live: &self.live.root, shown: &self.shown.root, encoded: false }
    }
}

impl<'a> Place<'a> {
    /// The place under `key`, spelled exactly so: the API server's decoders mind the case.
    pub(super) fn member(self, key: &str) -> Option<Self> {
        Some(Self { live: self.live.member(key)?, shown: self.shown.member(key)?, ..self })
    }

    /// The place of element `at` of a list.
    pub(super) fn element(self, at: usize) -> Option<Self> {
        let (Kind::Array(live), Kind::Array(shown)) = (&self.live.kind, &self.shown.kind) else {
            return None;
        };
        if live.len() != shown.len() {
            return None;
        }
        Some(Self { live: live.get(at)?, shown: shown.get(at)?, ..self })
    }

    /// What `stringData` would overwrite: a Secret's `data`, where the API server keeps it as base64.
    pub(super) fn string_data(self) -> Option<Self> {
        let is = |key, text| self.live.member(key).and_then(Value::text) == Some(text);
        let secret = is("kind", "Secret") && is("apiVersion", "v1");
        secret.then(|| self.member("data")).flatten().map(|data| Self { encoded: true, ..data })
    }

    /// What the object here has and the client was not shown: each field and its JSON.
    pub(super) fn dropped(self) -> Vec<(&'a str, &'a [u8])> {
        let (Kind::Object(live), Kind::Object(shown)) = (&self.live.kind, &self.shown.kind) else {
            return Vec::new();
        };
        // Members keep their order, so what is missing shows by going along.
        let mut shown = shown.iter().map(|(key, _)| key).peekable();
        let missing = live.iter().filter(|(key, _)| shown.next_if_eq(&key).is_none());
        missing.map(|(key, value)| (key.as_str(), self.pair.live.raw(value))).collect()
    }

    /// Whether a field was dropped anywhere in the elements of the list here.
    pub(super) fn drops_in_elements(self) -> bool {
        let (Kind::Array(live), Kind::Array(shown)) = (&self.live.kind, &self.shown.kind) else {
            return false;
        };
        fn members(value: &Value) -> usize {
            match &value.kind {
                Kind::Object(values) => values.iter().map(|(_, value)| 1 + members(value)).sum(),
                Kind::Array(values) => values.iter().map(members).sum(),
                Kind::String(_) | Kind::Other => 0,
            }
        }
        // Masks that are texts took the place of objects.
        let masked = |value: &Value| matches!(value.kind, Kind::String(_));
        live.iter().zip(shown).any(|(live, shown)| !masked(shown) && members(live) != members(shown))
    }

    /// Both texts, if the place holds one.
    pub(super) fn texts(self) -> Option<(&'a str, &'a str)> {
        Some((self.live.text()?, self.shown.text()?))
    }

    /// Its elements as the client was shown them, if it is a list.
    pub(super) fn elements(self) -> Option<&'a [Value]> {
        let Kind::Array(elements) = &self.shown.kind else { return None };
        Some(elements)
    }

    /// Whether an element of a list is called what the one here is called, if anything.
    pub(super) fn has_name_of(self, element: &Value) -> bool {
        name(self.shown) == name(element)
    }

    pub(super) fn compare(self, sent: &str) -> Found {
        let raw = self.pair.live.raw(self.live);
        // What the masker lets pass, it passes byte for byte; what it masks, it replaces by a text.
        let Some(shown) = self.shown.text().filter(|_| raw != self.pair.shown.raw(self.shown)) else {
            return Found::Open;
        };
        let live = match self.encoded {
            true => self.decoded(shown, sent),
            false => (shown == sent).then(|| raw.to_vec()),
        };
        live.map_or(Found::Another, Found::Live)
    }

    /// The live value as a JSON string of its own text.
    fn decoded(self, shown: &str, sent: &str) -> Option<Vec<u8>> {
        if STANDARD.decode(shown).ok()? != sent.as_bytes() {
            return None;
        }
        let live = String::from_utf8(STANDARD.decode(self.live.text()?).ok()?).ok()?;
        Some(quoted(&live))
    }
}

/// `text` as a JSON string, spelled as the API server spells it.
pub(super) fn quoted(text: &str) -> Vec<u8> {
    let mut out = vec![b'"'];
    escape(text.as_bytes(), &mut out);
    out.push(b'"');
    out
}

/// The elements of a list by their `name`, which is what Kubernetes knows the elements of most lists by.
pub(super) struct Names<'a> {
    elements: &'a [Value],
    /// Where a name is; nowhere if it is there twice.
    at: HashMap<&'a str, Option<usize>>,
}

impl<'a> Names<'a> {
    pub(super) fn of(elements: &'a [Value]) -> Self {
        let mut at = HashMap::new();
        for (index, name) in elements.iter().enumerate().filter_map(|(i, element)| Some((i, name(element)?)))
        {
            at.entry(name).and_modify(|at| *at = None).or_insert(Some(index));
        }
        Self { elements, at }
    }

    /// Whether element `at` has a name, and no other has the same.
    pub(super) fn are_known(&self, at: usize) -> bool {
        name(&self.elements[at]).is_some_and(|name| self.at.get(name).is_some_and(Option::is_some))
    }

    /// Which element of `live` is the same one as `self[at]`.
    pub(super) fn same_in(&self, live: &Names<'_>, at: usize, lists: Lists) -> Option<usize> {
        let element = &self.elements[at];
        let name = name(element);
        if let Some(name) = name
            && self.at.get(name).is_some_and(Option::is_some)
            && let Some(Some(found)) = live.at.get(name)
        {
            return Some(*found);
        }
        // In a list that is merged, the index says nothing about an element with parts.
        let by_index = match lists {
            Lists::Replaced => true,
            Lists::Merged => !matches!(element.kind, Kind::Object(_) | Kind::Array(_)),
        };
        let other = live.elements.get(at).filter(|_| by_index)?;
        (self::name(other) == name).then_some(at)
    }
}

fn name(element: &Value) -> Option<&str> {
    element.member("name").and_then(Value::text)
}

/// The way to a value in the body, kept on the stack.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
    /// The root of the document in a string.
    Inside(&'p Path<'p>),
}

impl Path<'_> {
    pub(super) fn is_root(self) -> bool {
        matches!(self, Self::Root | Self::Inside(_))
    }

    /// Whether this is an annotation of the object itself, which may hold a copy of the object.
    pub(super) fn is_annotation(self) -> bool {
        matches!(self, Self::Key(Self::Key(Self::Key(root, "metadata"), "annotations"), _) if root.is_root())
    }

    fn append(self, path: &mut String) {
        match self {
            Self::Root => {}
            Self::Key(parent, key) => {
                parent.append(path);
                guard::append_key(path, key);
            }
            Self::Index(parent, index) => {
                parent.append(path);
                path.push_str(&format!("[{index}]"));
            }
            Self::Inside(parent) => parent.append(path),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path = String::new();
        self.append(&mut path);
        f.write_str(&path)
    }
}
