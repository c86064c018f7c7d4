//! Strings that hold a document: JSON as it is, or a Helm release.

use super::Why;
use super::place::quoted;
use super::tree::Document;
use super::walk::{Edit, splice};
use crate::PlaceholderGuard;
use crate::packed::Packed;

/// The document in a string.
pub(super) enum Opened<'t> {
    /// A JSON object.
    Json(&'t str),
    Packed(Packed),
}

impl<'t> Opened<'t> {
    /// Opens a string that holds a document.
    pub(super) fn of(text: &'t str) -> Result<Option<Self>, Why> {
        if text.trim_ascii_start().starts_with('{') {
            return Ok(Document::read(text.as_bytes()).is_ok().then_some(Self::Json(text)));
        }
        Ok(Packed::open(text.as_bytes()).map_err(|_| Why::TooMuch)?.map(Self::Packed))
    }

    /// Whether it has a placeholder that does not show in the string.
    pub(super) fn packs_placeholder(&self) -> bool {
        matches!(self, Self::Packed(packed) if PlaceholderGuard::find(&packed.document).is_some())
    }

    pub(super) fn read(&self) -> Result<Document<'_>, Why> {
        Document::read(self.document())
    }

    /// The string with `edits` made in its document, as JSON.
    pub(super) fn with(&self, edits: &[Edit]) -> Result<Vec<u8>, Why> {
        let document = self.document();
        let restored = splice(document, 0..document.len(), edits);
        match self {
            Self::Json(_) => Ok(quoted(&String::from_utf8_lossy(&restored))),
            Self::Packed(packed) => {
                packed.close(&restored).map(|text| quoted(&text)).map_err(|_| Why::TooMuch)
            }
        }
    }

    fn document(&self) -> &[u8] {
        match self {
            Self::Json(text) => text.as_bytes(),
            Self::Packed(packed) => &packed.document,
        }
    }
}
