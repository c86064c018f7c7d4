//! The last look at what was restored: masked again, it must be what was sent. So a value goes nowhere where it could be
//! read, whatever the body says around it.

use std::collections::HashMap;
use std::sync::Arc;

use super::opened::Opened;
use super::place::{Path, quoted};
use super::tree::{Document, Kind, Value};
use super::walk::{Edit, splice};
use super::{RestoreError, Why, mask};
use crate::{MaskKey, Rules};

/// Masks again, as answers are masked.
pub(super) struct Verify<'a> {
    pub(super) rules: &'a Arc<Rules>,
    pub(super) key: &'a MaskKey,
}

impl Verify<'_> {
    /// Checks the `edits` in `value`, a part of `sent`. `around` leads to it in the object: keys, and `None` for an
    /// element of a list.
    pub(super) fn restored(
        &self,
        sent: &Document<'_>,
        value: &Value,
        around: &[Option<&str>],
        edits: &[Edit],
        path: Path<'_>,
    ) -> Result<(), RestoreError> {
        let mut text = Vec::new();
        for step in around {
            match step {
                Some(key) => text.extend([&b"{"[..], &quoted(key), b":"].concat()),
                None => text.push(b'['),
            }
        }
        text.extend(splice(sent.text(), value.span.clone(), edits));
        text.extend(around.iter().rev().map(|step| if step.is_some() { b'}' } else { b']' }));
        let shown = mask(&text, self.rules, self.key);
        let shown = shown.map_err(|error| RestoreError::at(path, Why::NotJson(error.to_string())))?;
        let shown = Document::read(&shown).map_err(|why| RestoreError::at(path, why))?;
        let inner = around.iter().try_fold(&shown.root, |value, step| match step {
            Some(key) => value.member(key),
            None => value.first(),
        });
        same(value, inner, edits, path)
    }
}

/// Compares what was sent at the places of `edits` with what is shown there.
fn same(sent: &Value, shown: Option<&Value>, edits: &[Edit], path: Path<'_>) -> Result<(), RestoreError> {
    let Some(first) = edits.iter().find(|edit| edit.is_in(sent)) else { return Ok(()) };
    let shown = shown.ok_or_else(|| RestoreError::at(path, Why::WouldShow))?;
    match (&sent.kind, &shown.kind) {
        (Kind::Object(members), Kind::Object(shown)) => {
            let shown: HashMap<&str, &Value> =
                shown.iter().map(|(key, value)| (key.as_str(), value)).collect();
            let at_end = edits.iter().filter(|edit| edit.is_in(sent) && edit.span.end == sent.span.end - 1);
            let mut put = at_end.filter_map(|edit| edit.field.as_deref());
            if let Some(key) = put.find(|key| shown.contains_key(key)) {
                return Err(RestoreError::at(Path::Key(&path, key), Why::WouldShow));
            }
            members.iter().try_for_each(|(key, value)| {
                same(value, shown.get(key.as_str()).copied(), edits, Path::Key(&path, key))
            })
        }
        (Kind::Array(elements), Kind::Array(shown)) if elements.len() == shown.len() => {
            let mut both = elements.iter().zip(shown).enumerate();
            both.try_for_each(|(at, (sent, shown))| same(sent, Some(shown), edits, Path::Index(&path, at)))
        }
        (Kind::String(sent), Kind::String(shown)) => match &first.inside {
            None if sent == shown => Ok(()),
            Some(edits) => {
                let at = |why| RestoreError::at(path, why);
                let (sent, shown) = (Opened::of(sent).map_err(at)?, Opened::of(shown).map_err(at)?);
                let (Some(sent), Some(shown)) = (sent, shown) else { return Err(at(Why::WouldShow)) };
                let (sent, shown) = (sent.read().map_err(at)?, shown.read().map_err(at)?);
                same(&sent.root, Some(&shown.root), edits, Path::Inside(&path))
            }
            None => Err(RestoreError::at(path, Why::WouldShow)),
        },
        _ => Err(RestoreError::at(path, Why::WouldShow)),
    }
}
