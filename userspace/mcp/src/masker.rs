//! One message of a server, masked: first what is embedded in it, then all of it as the rules for messages say.

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_mask::{
    Detectors, JsonMasker, MaskError, MaskKey, PLACEHOLDER_PREFIX, Profile, Rules, TextMasker,
};

use crate::BlobPolicy;
use crate::blob::Fate;
use crate::data_uri::DataUri;
use crate::embedded;
use crate::fragment::Fragments;

/// What is inside of something inside of something … is looked at this deep.
const DEPTH: u8 = 4;

/// Masks the messages of a server: secrets become placeholders of the same JSON type, wherever they stand; what is embedded
/// (base64 blobs, `data:` URIs) is masked if it is text, and passes only as a [`BlobPolicy`] says if it is not. Equal messages
/// come out equal; what has nothing to mask comes out byte for byte.
#[derive(Debug)]
pub struct MessageMasker(Option<Masking>);

/// What a message is masked by.
#[derive(Debug)]
pub(crate) struct Masking {
    /// For messages, and for documents that are embedded in them.
    message: Arc<Rules>,
    data: Arc<Rules>,
    detectors: Arc<Detectors>,
    key: MaskKey,
    blobs: BlobPolicy,
}

impl MessageMasker {
    /// One that masks by `profile`, with placeholders made by `key`.
    #[must_use]
    pub fn new(profile: &Profile, key: &MaskKey, blobs: &BlobPolicy) -> Self {
        Self(Some(Masking {
            message: profile.for_mcp(),
            data: profile.for_data(),
            detectors: profile.detectors(),
            key: key.clone(),
            blobs: blobs.clone(),
        }))
    }

    /// One that passes everything.
    #[must_use]
    pub fn unmasked() -> Self {
        Self(None)
    }

    /// Appends `message`, one JSON-RPC message, to `out`, masked; nothing where it is an error.
    ///
    /// # Errors
    /// [`MaskError::Json`] for what is not JSON.
    pub fn mask(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        let Some(masking) = &self.0 else {
            out.extend_from_slice(message);
            return Ok(());
        };
        let start = out.len();
        let opened = embedded::masked(message, masking, 0)?;
        let masked = masking.json(&opened, &masking.message, out);
        if masked.is_err() {
            out.truncate(start);
        }
        masked
    }
}

impl Masking {
    /// What stands for a text in a message, which may be JSON, or have JSON or `data:` URIs in it; nothing if that is the text
    /// itself. Of what the rules for the message can reach themselves, nothing is masked here.
    pub(crate) fn embedded(&self, text: &str, depth: u8) -> Option<String> {
        if depth < DEPTH
            && text.trim_ascii_start().starts_with(['{', '[', '"'])
            && let Ok(masked) = embedded::masked(text.as_bytes(), self, depth + 1)
        {
            return match masked {
                Cow::Borrowed(_) => None,
                Cow::Owned(masked) => Some(String::from_utf8_lossy(&masked).into_owned()),
            };
        }
        let (mut masked, mut given, mut is_changed) = (String::new(), 0, false);
        for fragment in Fragments::of(if depth < DEPTH { text } else { "" }) {
            let document = &text[fragment.clone()];
            let between = &text[given..fragment.start];
            let uris = self.uris(between, depth);
            let json = self.document(document.as_bytes(), depth + 1);
            is_changed |= uris.is_some() || json != document.as_bytes();
            masked.push_str(uris.as_deref().unwrap_or(between));
            masked.push_str(&String::from_utf8_lossy(&json));
            given = fragment.end;
        }
        let rest = self.uris(&text[given..], depth);
        is_changed |= rest.is_some();
        masked.push_str(rest.as_deref().unwrap_or(&text[given..]));
        is_changed.then_some(masked)
    }

    /// The same for a text of which `data:` URIs are to be opened.
    fn uris(&self, text: &str, depth: u8) -> Option<String> {
        let (mut masked, mut given, mut from) = (String::new(), 0, 0);
        while let Some(uri) = DataUri::find(text, from) {
            from = uri.content.end;
            if let Some(content) = self.blob(Some(&uri.media), uri.decode(text), depth + 1) {
                masked.push_str(&text[given..uri.content.start]);
                masked.push_str(&uri.encode(&content));
                given = from;
            }
        }
        (given > 0).then(|| masked + &text[given..])
    }

    /// What stands for bytes of a media type, if not they themselves; `None` are bytes that could not be decoded.
    pub(crate) fn blob(&self, media: Option<&str>, bytes: Option<Vec<u8>>, depth: u8) -> Option<Vec<u8>> {
        let Some(bytes) = bytes else { return Some(withheld("it cannot be decoded")) };
        if bytes.is_empty() {
            return None;
        }
        if depth > DEPTH {
            return Some(withheld("it is too deep inside of something else"));
        }
        match self.blobs.fate(media, &bytes) {
            Fate::Withheld(reason) => Some(withheld(reason)),
            Fate::Passes if self.text(&bytes) != bytes => Some(withheld("there is a secret in it")),
            Fate::Passes => None,
            Fate::Text => Some(self.document(&bytes, depth)).filter(|masked| *masked != bytes),
        }
    }

    /// A document of text, which may be JSON, masked.
    fn document(&self, document: &[u8], depth: u8) -> Vec<u8> {
        let opened = str::from_utf8(document).ok().and_then(|text| self.embedded(text, depth));
        let document = opened.as_deref().map_or(document, str::as_bytes);
        let mut masked = Vec::with_capacity(document.len());
        match self.json(document, &self.data, &mut masked) {
            Ok(()) => masked,
            Err(_) => self.text(document),
        }
    }

    fn json(&self, json: &[u8], rules: &Arc<Rules>, out: &mut Vec<u8>) -> Result<(), MaskError> {
        let mut masker = JsonMasker::new(Arc::clone(rules), &self.key);
        masker.push(json, out)?;
        masker.finish(out)
    }

    fn text(&self, text: &[u8]) -> Vec<u8> {
        let mut masker = TextMasker::new(Arc::clone(&self.detectors), &self.key);
        let mut masked = Vec::with_capacity(text.len());
        masker.push(text, &mut masked);
        masker.finish(&mut masked);
        masked
    }
}

/// What stands for bytes that are withheld. As a placeholder it is known again, should it come back.
fn withheld(reason: &str) -> Vec<u8> {
    format!("{PLACEHOLDER_PREFIX}withheld: {reason}").into_bytes()
}
