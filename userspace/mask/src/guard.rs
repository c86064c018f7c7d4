//! The write-back guard: finds placeholders of ours in the body of a write.
//!
//! Whoever reads a masked object and writes it back would replace the secret by its mask. The start of a placeholder is
//! searched for, so that damaged ones are found too: as it is, and as base64 wherever in a longer text it stands (three
//! alignments); in JSON, YAML, protobuf and CBOR alike, through the escapes of JSON and YAML and through line breaks.

use std::fmt;
use std::sync::LazyLock;

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::json::reader::{Container, Reader, Scalar, Visitor};
use crate::placeholder::PREFIX;

/// Keys longer than this are cut in a [`FoundPlaceholder::path`].
const KEY_LIMIT: usize = 256;

/// Searches the body of a write, over chunks cut anywhere, in constant memory.
pub struct PlaceholderGuard {
    /// The bytes as they are, and what they say once escapes are undone.
    raw: Search,
    unescaped: Search,
    escapes: Escapes,
    /// Knows where in the body we are, as long as the body is JSON.
    json: Option<(Reader, Fields)>,
    offset: u64,
}

/// Where a placeholder was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPlaceholder {
    /// The offset in the body of the byte by which it was known for a placeholder.
    pub offset: u64,
    /// The field it is in, when the body is JSON: `data.password`, `items[2].data[tls.crt]`.
    pub path: Option<String>,
}

impl PlaceholderGuard {
    /// A guard for one body.
    pub fn new() -> Self {
        Self {
            raw: Search::new(),
            unescaped: Search::new(),
            escapes: Escapes::default(),
            json: Some((Reader::new(), Fields::new())),
            offset: 0,
        }
    }

    /// Searches a whole body.
    pub fn find(body: &[u8]) -> Option<FoundPlaceholder> {
        Self::new().push(body)
    }

    /// Takes the next bytes of the body; returns the first placeholder that is complete in them.
    pub fn push(&mut self, chunk: &[u8]) -> Option<FoundPlaceholder> {
        let mut path = None;
        if let Some((reader, fields)) = &mut self.json {
            let is_json = reader.read(chunk, fields).is_ok();
            path = fields.found.take().filter(|path| !path.is_empty());
            if !is_json {
                self.json = None;
            }
        }
        for (at, &byte) in chunk.iter().enumerate() {
            let mut found = self.raw.step(byte);
            self.escapes.step(byte, &mut |byte| found |= self.unescaped.step(byte));
            if found {
                return Some(FoundPlaceholder { offset: self.offset + at as u64, path });
            }
        }
        self.offset += chunk.len() as u64;
        None
    }
}

impl Default for PlaceholderGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for FoundPlaceholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{path}, byte {}", self.offset),
            None => write!(f, "byte {}", self.offset),
        }
    }
}

/// Whether a text, free of escapes, has a placeholder's start in it.
pub(crate) fn carries(text: &str) -> bool {
    let mut search = Search::new();
    text.bytes().any(|byte| search.step(byte))
}

/// Goes on in a path to what stands under `key`.
pub(crate) fn append_key(path: &mut String, key: &str) {
    let name = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if !name {
        path.push_str(&format!("[{key}]"));
    } else if path.is_empty() {
        path.push_str(key);
    } else {
        path.push_str(&format!(".{key}"));
    }
}

/// A search for the start of a placeholder in a stream of bytes. White space is passed over: base64 may be broken into
/// lines, and a placeholder has none.
struct Search(StateID);

/// The forms of a placeholder's start: plain, and the characters that it is sure to have in base64 when 0, 1 or 2 bytes
/// before it share its first quantum.
static FORMS: LazyLock<DFA> = LazyLock::new(|| {
    let base64 = [0, 1, 2].map(|before| {
        let text = STANDARD_NO_PAD.encode([&[0; 2][..before], PREFIX].concat());
        // Characters that hold bits of neighbours say nothing: those of what is before, and the last one.
        let sure = (before * 8).div_ceil(6)..(before + PREFIX.len()) * 8 / 6;
        text.as_bytes()[sure].to_vec()
    });
    DFA::new([PREFIX.to_vec()].into_iter().chain(base64)).expect("four short patterns make a small automaton")
});

impl Search {
    fn new() -> Self {
        Self(FORMS.start_state(Anchored::No).expect("the automaton was built for unanchored searches"))
    }

    /// Takes a byte; tells whether a placeholder's start ended with it.
    fn step(&mut self, byte: u8) -> bool {
        if byte.is_ascii_whitespace() {
            return false;
        }
        self.0 = FORMS.next_state(Anchored::No, self.0, byte);
        FORMS.is_match(self.0)
    }
}

/// Undoes the escapes of JSON strings and of YAML's double-quoted ones, in whatever it is given: `\u0070`, `\x70`,
/// `\U00000070`; those of white space and controls say nothing that is searched for; any other character after
/// a backslash stands for itself.
#[derive(Default)]
struct Escapes {
    backslash: bool,
    /// Hex digits still to come, and what came.
    digits: u8,
    value: u32,
}

impl Escapes {
    fn step(&mut self, byte: u8, give: &mut impl FnMut(u8)) {
        if self.digits > 0 {
            match char::from(byte).to_digit(16) {
                Some(digit) => {
                    self.value = self.value << 4 | digit;
                    self.digits -= 1;
                    if self.digits == 0 {
                        // No form has anything beyond ASCII; any such byte breaks a match, as it should.
                        give(u8::try_from(self.value).unwrap_or(0xff));
                    }
                    return;
                }
                // No escape after all.
                None => self.digits = 0,
            }
        }
        if !self.backslash {
            self.backslash = byte == b'\\';
            if !self.backslash {
                give(byte);
            }
            return;
        }
        self.backslash = false;
        self.value = 0;
        match byte {
            b'x' => self.digits = 2,
            b'u' => self.digits = 4,
            b'U' => self.digits = 8,
            b'n' | b'r' | b't' | b'f' => {}
            byte => give(byte),
        }
    }
}

/// Follows the fields of a JSON body and searches the text of its keys and strings.
struct Fields {
    search: Search,
    path: String,
    /// For each open object or array: where in `path` it ends, and which element comes next in an array.
    open: Vec<(usize, Option<u64>)>,
    key: Option<Vec<u8>>,
    found: Option<String>,
}

impl Fields {
    fn new() -> Self {
        Self { search: Search::new(), path: String::new(), open: Vec::new(), key: None, found: None }
    }

    /// Leaves the last key of the object at hand.
    fn leave(&mut self) {
        self.path.truncate(self.open.last().map_or(0, |(end, _)| *end));
    }

    /// In an array, no key says which element a value is.
    fn value_begins(&mut self) {
        if let Some((end, Some(index))) = self.open.last_mut() {
            self.path.truncate(*end);
            self.path.push_str(&format!("[{index}]"));
            *index += 1;
        }
    }
}

impl Visitor for Fields {
    fn key_begins(&mut self) -> bool {
        self.leave();
        self.search = Search::new();
        self.key = Some(Vec::new());
        true
    }

    fn key_ends(&mut self) {
        let Some(key) = self.key.take() else { return };
        append_key(&mut self.path, &String::from_utf8_lossy(&key));
    }

    fn scalar_begins(&mut self, _: Scalar, _: usize) -> bool {
        self.value_begins();
        self.search = Search::new();
        true
    }

    fn scalar_ends(&mut self, _: usize) {}

    fn opens(&mut self, container: Container, _: usize) -> bool {
        self.value_begins();
        self.open.push((self.path.len(), (container == Container::Array).then_some(0)));
        true
    }

    fn closes(&mut self, _: usize) {
        if let Some((end, _)) = self.open.pop() {
            self.path.truncate(end);
        }
    }

    fn text(&mut self, piece: &[u8]) {
        if let Some(key) = &mut self.key {
            key.extend(piece.iter().take(KEY_LIMIT - key.len()));
        }
        // Every byte is to be seen, whether found before or not.
        let found = piece.iter().fold(false, |found, &byte| found | self.search.step(byte));
        if found && self.found.is_none() {
            self.found = Some(self.path.clone());
        }
    }
}
