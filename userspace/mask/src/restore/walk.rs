//! Goes through what was sent, beside what stands live at the same places, and notes what is to be put back.

use std::collections::HashSet;
use std::ops::Range;

use super::opened::Opened;
use super::place::{Found, Names, Pair, Path, Place};
use super::tree::{Kind, Value};
use super::{Lists, RestoreError, Why};
use crate::guard;
use crate::placeholder::Shape;

/// JSON inside a string inside JSON … is looked into this deep, as deep as it is masked.
const EMBEDDED_DEPTH: u8 = 3;

/// One string of the body and what takes its place.
pub(super) struct Edit {
    pub(super) span: Range<usize>,
    pub(super) bytes: Vec<u8>,
    /// What was edited in the document in the string, if that is what it holds.
    pub(super) inside: Option<Vec<Edit>>,
}

/// A walk through one document.
pub(super) struct Walk<'a> {
    /// The object that the document is of.
    object: Pair<'a>,
    lists: Lists,
    depth: u8,
    /// In the order of the text.
    pub(super) edits: Vec<Edit>,
    pub(super) paths: Vec<String>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(object: Pair<'a>, lists: Lists) -> Self {
        Self { object, lists, depth: 0, edits: Vec::new(), paths: Vec::new() }
    }

    /// Goes through `sent`, which stands at one of `places` or nowhere in the live object.
    pub(super) fn value(
        &mut self,
        sent: &Value,
        places: &[Place<'_>],
        path: Path<'_>,
    ) -> Result<(), RestoreError> {
        match &sent.kind {
            Kind::Object(members) => self.members(members, places, path),
            Kind::Array(elements) => self.elements(elements, places, path),
            Kind::String(text) => self.text(sent, text, places, path),
            Kind::Other => Ok(()),
        }
    }

    fn members(
        &mut self,
        members: &[(String, Value)],
        places: &[Place<'_>],
        path: Path<'_>,
    ) -> Result<(), RestoreError> {
        for (key, value) in members {
            let path = Path::Key(&path, key);
            if guard::carries(key) {
                return Err(RestoreError::at(path, Why::InKey));
            }
            self.value(value, &members_of(places, key, path), path)?;
        }
        Ok(())
    }

    fn elements(
        &mut self,
        elements: &[Value],
        places: &[Place<'_>],
        path: Path<'_>,
    ) -> Result<(), RestoreError> {
        let names = Names::of(elements);
        let lists: Vec<(Place<'_>, Names<'_>)> =
            places.iter().filter_map(|place| Some((*place, Names::of(place.elements()?)))).collect();
        for (at, element) in elements.iter().enumerate() {
            let same = lists.iter().filter_map(|(place, live)| {
                let at = names.same_in(live, at, self.lists)?;
                place.element(at)
            });
            let same: Vec<Place<'_>> = same.collect();
            self.value(element, &same, Path::Index(&path, at))?;
        }
        Ok(())
    }

    fn text(
        &mut self,
        sent: &Value,
        text: &str,
        places: &[Place<'_>],
        path: Path<'_>,
    ) -> Result<(), RestoreError> {
        let (mut another, mut open) = (false, false);
        for place in places {
            match place.compare(text) {
                Found::Live(bytes) => {
                    self.edits.push(Edit { span: sent.span.clone(), bytes, inside: None });
                    self.paths.push(path.to_string());
                    return Ok(());
                }
                Found::Another => another = true,
                Found::Open => open = true,
            }
        }
        let opened = Opened::of(text).map_err(|why| RestoreError::at(path, why))?;
        let carries = guard::carries(text) || opened.as_ref().is_some_and(Opened::packs_placeholder);
        if !carries {
            return Ok(());
        }
        if let Some(opened) = opened.filter(|_| self.depth < EMBEDDED_DEPTH)
            && self.document(sent, &opened, places, path)?
        {
            return Ok(());
        }
        let why = match Shape::of(text) {
            Shape::Damaged => Why::Damaged,
            Shape::Within => Why::WithinText,
            Shape::Whole if another => Why::AnotherValue,
            Shape::Whole if open => Why::NotMasked,
            Shape::Whole => Why::NothingThere,
        };
        Err(RestoreError::at(path, why))
    }

    /// Restores inside the document that a string holds: from the document that is in its place and, for JSON in an
    /// annotation, from the object itself, of which such JSON is a copy. `false` if there is nothing to restore.
    fn document(
        &mut self,
        sent: &Value,
        opened: &Opened<'_>,
        places: &[Place<'_>],
        path: Path<'_>,
    ) -> Result<bool, RestoreError> {
        let open = |text| Opened::of(text).ok().flatten();
        let texts = places.iter().filter_map(|place| place.texts());
        let texts: Vec<_> = texts.filter_map(|(live, shown)| Some((open(live)?, open(shown)?))).collect();
        let documents: Vec<_> =
            texts.iter().filter_map(|(live, shown)| Some((live.read().ok()?, shown.read().ok()?))).collect();
        let mut inner: Vec<Place<'_>> =
            documents.iter().map(|(live, shown)| Pair { live, shown }.root()).collect();
        if path.is_annotation() && matches!(opened, Opened::Json(_)) {
            inner.push(self.object.root());
        }
        if inner.is_empty() {
            return Ok(false);
        }
        let document = opened.read().map_err(|why| RestoreError::at(path, why))?;
        let mut walk = Walk { depth: self.depth + 1, ..Walk::new(self.object, Lists::Replaced) };
        walk.value(&document.root, &inner, Path::Inside(&path))?;
        if walk.edits.is_empty() {
            return Ok(false);
        }
        no_duplicates(&document.root, Path::Inside(&path))?;
        let bytes = opened.with(&walk.edits).map_err(|why| RestoreError::at(path, why))?;
        self.edits.push(Edit { span: sent.span.clone(), bytes, inside: Some(walk.edits) });
        self.paths.append(&mut walk.paths);
        Ok(true)
    }
}

/// Where a member of what stands at `places` stands.
pub(super) fn members_of<'p>(places: &[Place<'p>], key: &str, path: Path<'_>) -> Vec<Place<'p>> {
    let mut found: Vec<Place<'p>> = places.iter().filter_map(|place| place.member(key)).collect();
    if let Path::Key(parent, "stringData") = path
        && parent.is_root()
    {
        found.extend(places.iter().filter_map(|place| place.string_data()));
    }
    found
}

/// Refuses what has a key twice: readers differ in which of the two counts.
pub(super) fn no_duplicates(value: &Value, path: Path<'_>) -> Result<(), RestoreError> {
    match &value.kind {
        Kind::Object(members) => {
            let mut seen = HashSet::new();
            members.iter().try_for_each(|(key, value)| {
                let path = Path::Key(&path, key);
                if !seen.insert(key) {
                    return Err(RestoreError::at(path, Why::Duplicate));
                }
                no_duplicates(value, path)
            })
        }
        Kind::Array(elements) => {
            let mut elements = elements.iter().enumerate();
            elements.try_for_each(|(at, element)| no_duplicates(element, Path::Index(&path, at)))
        }
        Kind::String(_) | Kind::Other => Ok(()),
    }
}

/// A stretch of `text` with its edits made.
pub(super) fn splice(text: &[u8], within: Range<usize>, edits: &[Edit]) -> Vec<u8> {
    let (mut out, mut from) = (Vec::with_capacity(within.len()), within.start);
    for Edit { span, bytes, .. } in
        edits.iter().filter(|edit| within.start <= edit.span.start && edit.span.end <= within.end)
    {
        out.extend_from_slice(&text[from..span.start]);
        out.extend_from_slice(bytes);
        from = span.end;
    }
    out.extend_from_slice(&text[from..within.end]);
    out
}
