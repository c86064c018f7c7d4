//! Whether an answer repeats what was restored. An API server that refuses a write may quote its body: the whole of a
//! patch ("Invalid value"), the start of what it cannot read. The client sent masks and must not read values.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::tree::{Document, Kind, Value};
use super::walk::Edit;

/// That many characters of a value in a row are a quotation.
const WINDOW: usize = 4;

/// The values that were put back in a body.
#[derive(Default)]
pub struct RestoredValues(Vec<Zeroizing<Vec<u8>>>);

impl RestoredValues {
    /// The texts that `edits` put in.
    pub(super) fn of(edits: &[Edit]) -> Self {
        fn texts(edits: &[Edit]) -> Vec<Zeroizing<Vec<u8>>> {
            let of = |edit: &Edit| match &edit.inside {
                Some(edits) => texts(edits),
                None => vec![Zeroizing::new(said(&edit.bytes))],
            };
            edits.iter().flat_map(of).collect()
        }
        Self(texts(edits))
    }

    /// Whether `answer` quotes one of them, or a part of one that is longer than three characters: as it was sent,
    /// decoded, or in hex; with or without the escapes of JSON and Go.
    #[must_use]
    pub fn are_quoted_in(&self, answer: &[u8]) -> bool {
        let said = bare(&said(answer));
        let windows: HashSet<&[u8]> = said.windows(WINDOW).collect();
        self.0.iter().flat_map(|value| forms(value)).any(|form| {
            let form = Zeroizing::new(bare(&form));
            match form.len() {
                0 => false,
                1..WINDOW => said.windows(form.len()).any(|window| window == &form[..]),
                _ => form.windows(WINDOW).any(|window| windows.contains(window)),
            }
        })
    }
}

/// What a JSON document says in its keys and strings, or the text itself if it is none.
fn said(text: &[u8]) -> Vec<u8> {
    fn collect(value: &Value, out: &mut Vec<u8>) {
        match &value.kind {
            Kind::Object(members) => members.iter().for_each(|(key, value)| {
                out.extend_from_slice(key.as_bytes());
                out.push(b'\n');
                collect(value, out);
            }),
            Kind::Array(elements) => elements.iter().for_each(|element| collect(element, out)),
            Kind::String(text) => out.extend_from_slice(text.as_bytes()),
            Kind::Other => {}
        }
        out.push(b'\n');
    }
    match Document::read(text) {
        Ok(Document { root: Value { kind: Kind::Other, .. }, .. }) | Err(_) => text.to_vec(),
        Ok(document) => {
            let mut out = Vec::new();
            collect(&document.root, &mut out);
            out
        }
    }
}

/// How a value may be quoted.
fn forms(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let decoded = STANDARD.decode(value.trim_ascii()).unwrap_or_default();
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![Zeroizing::new(value.to_vec()), Zeroizing::new(decoded), Zeroizing::new(hex.into_bytes())]
}

/// Without what escapes differ in.
fn bare(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| *byte != b'\\' && *byte >= b' ').collect()
}
