//! Puts the real values back where a write brings their masks: what stands in the body as it stood in the object that the
//! client was shown takes the live value of that very place. Whatever else carries a mask is an error that names the field.
//!
//! The live object is masked anew, by the same rules and key; a string that was sent is restored where it equals what the
//! mask makes of the live value at its place. The result is masked once more: a value goes only where it is masked again.
//! The body stays as it is, byte for byte, but for the restored strings and the version of the object, which is put in so
//! that an object that changes meanwhile makes a conflict and not an old secret.

mod echo;
mod opened;
mod passage;
mod patch;
mod place;
mod tree;
mod verify;
mod version;
mod walk;

use std::sync::Arc;

use crate::{JsonMasker, MaskError, MaskKey, PlaceholderGuard, Rules};
pub use echo::RestoredValues;
use place::{Pair, Path};
use tree::Document;
use verify::Verify;
use walk::{Edit, Walk, no_duplicates, splice};

/// What a write does with its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// PUT: the whole object.
    Update,
    /// A JSON merge patch (RFC 7386).
    MergePatch,
    /// A strategic merge patch, as client-side apply and `kubectl edit` send it.
    StrategicPatch,
    /// A JSON patch (RFC 6902).
    JsonPatch,
    /// Server-side apply.
    Apply,
}

/// A body with the real values in place of their masks.
pub struct Restored {
    /// What is to be sent.
    pub body: Vec<u8>,
    /// The fields that were restored.
    pub paths: Vec<String>,
    /// The texts that were put in.
    pub values: RestoredValues,
}

/// Why a body cannot be restored. Carries nothing of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A field that cannot be restored.
    #[error("{}{why}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
    Field {
        /// Where it is: `data.password`, `items[2].data[tls.crt]`; empty for the whole body.
        path: String,
        /// What is wrong with it.
        why: Why,
    },
    /// The write is meant for another version of the object: it would be a conflict.
    #[error(
        "the object has been modified since it was read: it is at version {live}, the write is for {sent}"
    )]
    Stale {
        /// The version that the write is for.
        sent: String,
        /// That of the live object.
        live: String,
    },
    /// The live object is not what an API server gives.
    #[error("the live object cannot be read: {0}")]
    Live(String),
}

/// What keeps a masked value from being restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The live object has nothing at its place.
    #[error("the object has no such field to restore it from")]
    NothingThere,
    /// The mask is not that of the value at its place.
    #[error("it is not the mask of the value that is there now")]
    AnotherValue,
    /// The value at its place is one that is not masked.
    #[error("what is there now is not masked")]
    NotMasked,
    /// A value put there could be read.
    #[error("a value restored there would not be masked any more")]
    WouldShow,
    /// The mask is incomplete or was changed.
    #[error("the mask is damaged")]
    Damaged,
    /// There is more than a mask.
    #[error("the mask is part of a longer text, which does not stand there now")]
    WithinText,
    /// A key has a mask in it.
    #[error("a mask in a key stands for nothing")]
    InKey,
    /// A mask is where no value of the object is.
    #[error("a mask there stands for no field of the object")]
    NoField,
    /// The key is there twice, and readers differ in which one counts.
    #[error("the key is there twice")]
    Duplicate,
    /// A JSON patch puts a new element into a list.
    #[error("a new element of a list has no value to restore")]
    NewElement,
    /// A JSON patch may have moved the element.
    #[error("another operation of the patch is about the same list")]
    Moved,
    /// Another kind of object than the live one.
    #[error("it is {sent:?}, that of the object is {live:?}")]
    OtherKind {
        /// In the body.
        sent: String,
        /// In the live object.
        live: String,
    },
    /// The version of the object cannot be said there.
    #[error("an object or text is needed there to say which version of the object is written")]
    NoRoomForVersion,
    /// The body is not JSON.
    #[error("masked values can be restored in JSON only: {0}")]
    NotJson(String),
    /// A field that is not shown would go.
    #[error("what stands there is not shown here, and the write would take it away")]
    LeftOut,
    /// The body is too deep, has too many values, or expands to too much.
    #[error("it is nested too deep or has too much in it to restore masked values there")]
    TooMuch,
}

/// What becomes of a list of the live object where the body has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lists {
    /// The list of the body takes its place.
    Replaced,
    /// Elements are found by a key, or replaced if there is none for such a list.
    Merged,
}

/// Restores the masks in `body`, the body of a `write` to the object `live` (as the API server gives it, in JSON). `None`
/// if it has none.
///
/// # Errors
/// When a mask does not stand where it stood, or where its value could be read; when the body cannot be read; and when the
/// body is for another version of the object.
pub fn restore(
    write: Write,
    body: &[u8],
    live: &[u8],
    rules: &Arc<Rules>,
    key: &MaskKey,
) -> Result<Option<Restored>, RestoreError> {
    let sent = Document::read(body).map_err(|why| RestoreError::at(Path::Root, why))?;
    let of_live = |error: &dyn std::fmt::Display| RestoreError::Live(error.to_string());
    let shown = mask(live, rules, key).map_err(|error| of_live(&error))?;
    let shown = Document::read(&shown).map_err(|why| of_live(&why))?;
    let live = Document::read(live).map_err(|why| of_live(&why))?;
    let object = Pair { live: &live, shown: &shown };

    let verify = Verify { rules, key };
    let walked = match write {
        Write::JsonPatch => patch::walk(&sent, object, &verify),
        _ => whole(write, &sent, object, &verify),
    };
    if walked.as_ref().is_ok_and(|walk| walk.edits.is_empty()) {
        return nowhere_else(body, &[]).map(|()| None);
    }
    let pin = version::pin(write, &sent, &live);
    if let Err(stale @ RestoreError::Stale { .. }) = pin {
        // The better answer: whoever reads the object anew has its masks anew.
        return Err(stale);
    }
    no_duplicates(&sent.root, Path::Root)?;
    let Walk { mut edits, paths, .. } = walked?;
    nowhere_else(body, &edits)?;
    let values = RestoredValues::of(&edits);
    edits.extend(pin?);
    edits.sort_by_key(|edit| edit.span.start);
    Ok(Some(Restored { body: splice(body, 0..body.len(), &edits), paths, values }))
}

fn whole<'a>(
    write: Write,
    sent: &Document<'_>,
    object: Pair<'a>,
    verify: &Verify<'_>,
) -> Result<Walk<'a>, RestoreError> {
    version::same_kind(write, &sent.root, &object.live.root)?;
    let mut walk = Walk::new(object, write);
    walk.value(&sent.root, &[object.root()], Path::Root)?;
    verify.restored(sent, &sent.root, &[], &walk.edits, Path::Root)?;
    Ok(walk)
}

/// Refuses a body that has a mask anywhere but where it is restored.
fn nowhere_else(body: &[u8], edits: &[Edit]) -> Result<(), RestoreError> {
    let blank = |edit: &Edit| Edit::of(edit.span.clone(), b"\"\"".to_vec());
    let blanked: Vec<Edit> = edits.iter().filter(|edit| edit.field.is_none()).map(blank).collect();
    match PlaceholderGuard::find(&splice(body, 0..body.len(), &blanked)) {
        None => Ok(()),
        Some(found) => {
            let path = found.path.unwrap_or_default();
            Err(RestoreError::Field { path, why: Why::NoField })
        }
    }
}

fn mask(text: &[u8], rules: &Arc<Rules>, key: &MaskKey) -> Result<Vec<u8>, MaskError> {
    let mut masker = JsonMasker::new(Arc::clone(rules), key);
    let mut masked = Vec::with_capacity(text.len());
    masker.push(text, &mut masked)?;
    masker.finish(&mut masked)?;
    Ok(masked)
}

impl RestoreError {
    fn at(path: Path<'_>, why: Why) -> Self {
        Self::Field { path: path.to_string(), why }
    }
}
