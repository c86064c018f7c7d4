//! What is embedded in JSON: the base64 blobs that MCP's contents carry, and `data:` URIs in strings. They are known by the
//! fields around them, wherever they stand, also in JSON that is in a string.
//!
//! Fields as in MCP's schema: `ImageContent` and `AudioContent` (`type`, `data`, `mimeType`), `BlobResourceContents` (`uri`,
//! `blob`, `mimeType`). Case does not count in their names, since some readers of JSON do not mind it.

use std::borrow::Cow;
use std::ops::Range;

use portcullis_mask::{JsonContainer, JsonReader, JsonScalar, JsonVisitor, MaskError};

use crate::data_uri::{decode, encode};
use crate::masker::Masking;

/// What goes back to the server as it came: paths in a message.
const KEPT: [&[&[u8]]; 8] = [
    &[b"id"],
    &[b"result", b"nextCursor"],
    &[b"result", b"requestState"],
    &[b"result", b"taskId"],
    &[b"params", b"progressToken"],
    &[b"params", b"requestId"],
    &[b"params", b"taskId"],
    &[b"params", b"_meta", b"progressToken"],
];

/// Content of another type than these carries bytes in `data` only if it has a `mimeType`.
const TYPES: [&[u8]; 3] = [b"image", b"audio", b"video"];

/// A document, which is inside of others `depth` times (0 for a message), with what is embedded in it masked.
///
/// # Errors
/// [`MaskError::Json`] for what is not JSON.
pub(crate) fn masked<'t>(json: &'t [u8], masking: &Masking, depth: u8) -> Result<Cow<'t, [u8]>, MaskError> {
    let mut walk = Walk {
        masking,
        depth,
        open: Vec::new(),
        key: Vec::new(),
        in_key: false,
        string: None,
        edits: Vec::new(),
    };
    let mut reader = JsonReader::new();
    reader.read(json, &mut walk)?;
    reader.finish(&mut walk)?;
    let mut edits = walk.edits;
    if edits.is_empty() {
        return Ok(Cow::Borrowed(json));
    }
    edits.sort_by_key(|(range, _)| range.start);
    let (mut edited, mut given) = (Vec::with_capacity(json.len()), 0);
    for (range, text) in edits {
        edited.extend_from_slice(&json[given..range.start]);
        edited.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
        given = range.end;
    }
    edited.extend_from_slice(&json[given..]);
    Ok(Cow::Owned(edited))
}

struct Walk<'m> {
    masking: &'m Masking,
    depth: u8,
    open: Vec<Open>,
    /// The last key of the object at hand.
    key: Vec<u8>,
    in_key: bool,
    /// The string at hand.
    string: Option<Text>,
    /// Strings, quotes included, and what they are to say.
    edits: Vec<(Range<usize>, String)>,
}

/// An open object or array.
struct Open {
    container: JsonContainer,
    /// Under which key it stands, or the array around it does.
    name: Vec<u8>,
    media: Member,
    kind: Member,
    has_uri: bool,
    /// Strings under `data` and `blob`.
    data: Vec<Text>,
    blobs: Vec<Text>,
}

/// A string where it stands.
#[derive(Default)]
struct Text {
    range: Range<usize>,
    says: Vec<u8>,
}

/// A member of an object of which there should be one.
#[derive(Default)]
enum Member {
    #[default]
    Missing,
    Says(Vec<u8>),
    /// It is there twice, and means one thing to one reader and another to the next.
    Doubtful,
}

impl Walk<'_> {
    /// The key under which the value at hand stands, or the array that it is an element of.
    fn name(&self) -> &[u8] {
        match self.open.last() {
            Some(Open { container: JsonContainer::Array, name, .. }) => name,
            _ => &self.key,
        }
    }

    /// Whether the string at hand is to be left as it is.
    fn is_kept(&self) -> bool {
        let path = self.open.iter().skip(1).map(|open| &open.name[..]).chain([self.name()]);
        self.depth == 0 && KEPT.iter().any(|kept| path.clone().eq(kept.iter().copied()))
    }

    /// Takes a string that is no blob.
    fn text(&mut self, text: &Text) {
        let masked = str::from_utf8(&text.says).ok().and_then(|says| self.masking.embedded(says, self.depth));
        self.edits.extend(masked.map(|masked| (text.range.clone(), masked)));
    }

    fn blob(&mut self, text: &Text, media: Option<&str>) {
        let masked = self.masking.blob(media, decode(&text.says), self.depth);
        self.edits.extend(masked.map(|masked| (text.range.clone(), encode(&masked))));
    }
}

impl Open {
    /// Whether its `data` is bytes in base64, and whether its `blob` is.
    fn carries(&self) -> [bool; 2] {
        let typed = !matches!(self.media, Member::Missing);
        let data = match &self.kind {
            Member::Missing => false,
            Member::Doubtful => true,
            Member::Says(kind) => typed || TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known)),
        };
        let contents =
            [&b"contents"[..], b"resource"].iter().any(|name| self.name.eq_ignore_ascii_case(name));
        [data, typed || contents || self.has_uri]
    }
}

impl Member {
    fn see(&mut self, says: Vec<u8>) {
        *self = match self {
            Self::Missing => Self::Says(says),
            Self::Says(_) | Self::Doubtful => Self::Doubtful,
        };
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Says(says) => str::from_utf8(says).ok(),
            Self::Missing | Self::Doubtful => None,
        }
    }
}

impl JsonVisitor for Walk<'_> {
    fn key_begins(&mut self) -> bool {
        self.key.clear();
        self.in_key = true;
        true
    }

    fn key_ends(&mut self) {
        self.in_key = false;
    }

    fn scalar_begins(&mut self, scalar: JsonScalar, at: usize) -> bool {
        let is_string = scalar == JsonScalar::String;
        self.string = is_string.then(|| Text { range: at..at, says: Vec::new() });
        is_string
    }

    fn scalar_ends(&mut self, at: usize) {
        let Some(mut text) = self.string.take() else { return };
        text.range.end = at;
        if let Some(open) = self.open.last_mut().filter(|open| open.container == JsonContainer::Object) {
            match &self.key {
                key if key.eq_ignore_ascii_case(b"data") => return open.data.push(text),
                key if key.eq_ignore_ascii_case(b"blob") => return open.blobs.push(text),
                key if key.eq_ignore_ascii_case(b"mimeType") => return open.media.see(text.says),
                key if key.eq_ignore_ascii_case(b"type") => return open.kind.see(text.says),
                key => open.has_uri |= key.eq_ignore_ascii_case(b"uri"),
            }
        }
        if !self.is_kept() {
            self.text(&text);
        }
    }

    fn opens(&mut self, container: JsonContainer, _: usize) -> bool {
        let (media, kind) = (Member::default(), Member::default());
        let name = self.name().to_vec();
        let (data, blobs) = (Vec::new(), Vec::new());
        self.open.push(Open { container, name, media, kind, has_uri: false, data, blobs });
        true
    }

    fn closes(&mut self, _: usize) {
        let Some(open) = self.open.pop() else { return };
        let [data, blob] = open.carries();
        for (texts, are_blobs) in [(&open.data, data), (&open.blobs, blob)] {
            for text in texts {
                if are_blobs {
                    self.blob(text, open.media.text());
                } else {
                    self.text(text);
                }
            }
        }
    }

    fn text(&mut self, piece: &[u8]) {
        match &mut self.string {
            Some(text) if !self.in_key => text.says.extend_from_slice(piece),
            _ => self.key.extend_from_slice(piece),
        }
    }
}
