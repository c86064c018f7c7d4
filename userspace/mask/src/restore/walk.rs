//! Goes through what was sent, beside what stands live at the same places, and notes what is to be put back.

use std::collections::HashSet;
use std::ops::Range;

use super::opened::Opened;
use super::passage;
use super::place::{Found, Names, Pair, Path, Place, quoted};
use super::tree::{Kind, Value};
use super::{Lists, RestoreError, Why, Write};
use crate::guard;
use crate::placeholder::Shape;

/// JSON inside a string inside JSON … is looked into this deep, as deep as it is masked.
const EMBEDDED_DEPTH: u8 = 3;

/// One string of the body and what takes its place, or a field that is put back in.
pub(super) struct Edit {
    pub(super) span: Range<usize>,
    /// What leads to the value: nothing, or the key of a field that is put in.
    pub(super) lead: Vec<u8>,
    /// The value.
    pub(super) bytes: Vec<u8>,
    /// What was edited in the document in the string, if that is what it holds.
    pub(super) inside: Option<Vec<Edit>>,
    /// The field that is put in.
    pub(super) field: Option<String>,
}

impl Edit {
    pub(super) fn of(span: Range<usize>, bytes: Vec<u8>) -> Self {
        Self { span, lead: Vec::new(), bytes, inside: None, field: None }
    }

    /// A field put in at the end of `object`.
    fn put(object: &Value, first: bool, key: &str, bytes: &[u8]) -> Self {
        let at = object.span.end - 1;
        let comma: &[u8] = if first { b"" } else { b"," };
        let lead = [comma, &quoted(key), b":"].concat();
        Self { lead, field: Some(key.to_owned()), ..Self::of(at..at, bytes.to_vec()) }
    }

    /// Whether it is made in the text of `value`.
    pub(super) fn is_in(&self, value: &Value) -> bool {
        match self.field {
            // Right at the end of one value another may end that it is not in.
            Some(_) => value.span.start < self.span.start && self.span.end < value.span.end,
            None => value.span.start <= self.span.start && self.span.end <= value.span.end,
        }
    }
}

/// A walk through one document.
pub(super) struct Walk<'a> {
    /// The object that the document is of.
    object: Pair<'a>,
    write: Write,
    /// Whether what it is at takes the place of what is live, and what it leaves out is gone.
    whole: bool,
    depth: u8,
    /// In the order of the text.
    pub(super) edits: Vec<Edit>,
    pub(super) paths: Vec<String>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(object: Pair<'a>, write: Write) -> Self {
        let whole = matches!(write, Write::Update | Write::JsonPatch);
        Self { object, write, whole, depth: 0, edits: Vec::new(), paths: Vec::new() }
    }

    /// Goes through `sent`, which stands at one of `places` or nowhere in the live object.
    pub(super) fn value(
        &mut self,
        sent: &Value,
        places: &[Place<'_>],
        path: Path<'_>,
    ) -> Result<(), RestoreError> {
        match &sent.kind {
            Kind::Object(members) => {
                self.members(members, places, path)?;
                self.dropped(sent, members, places, path)
            }
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

    /// Puts fields back in that the client could not know to keep.
    fn dropped(
        &mut self,
        sent: &Value,
        members: &[(String, Value)],
        places: &[Place<'_>],
        path: Path<'_>,
    ) -> Result<(), RestoreError> {
        let dropped = places.first().map(|place| place.dropped()).unwrap_or_default();
        let left_out = |key: &str| !members.iter().any(|(name, _)| name == key);
        let mut first = members.is_empty();
        for (key, live) in dropped.into_iter().filter(|(key, _)| left_out(key)) {
            let path = Path::Key(&path, key);
            if self.whole {
                self.edits.push(Edit::put(sent, first, key, live));
                self.paths.push(path.to_string());
                first = false;
            } else if self.write == Write::Apply && self.is_applied(key) {
                return Err(RestoreError::at(path, Why::LeftOut));
            }
        }
        Ok(())
    }

    /// Whether somebody has applied a field of that name: who applies without it then takes it away.
    fn is_applied(&self, key: &str) -> bool {
        let metadata = self.object.live.root.member("metadata");
        let Some(Kind::Array(entries)) =
            metadata.and_then(|metadata| metadata.member("managedFields")).map(|entries| &entries.kind)
        else {
            return false;
        };
        let field = quoted(&format!("f:{key}"));
        entries.iter().any(|entry| {
            let raw = self.object.live.raw(entry);
            entry.member("operation").and_then(Value::text) == Some("Apply")
                && raw.windows(field.len()).any(|window| window == field)
        })
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
        let whole = std::mem::replace(&mut self.whole, self.write != Write::Apply);
        for (at, element) in elements.iter().enumerate() {
            let same = lists.iter().filter_map(|(place, live)| {
                let at = names.same_in(live, at, self.lists())?;
                place.element(at)
            });
            let same: Vec<Place<'_>> = same.collect();
            let path = Path::Index(&path, at);
            let drops = || lists.iter().any(|(place, _)| place.drops_in_elements());
            if same.is_empty() && element.is_object() && !names.are_known(at) && drops() {
                return Err(RestoreError::at(path, Why::LeftOut));
            }
            self.value(element, &same, path)?;
        }
        self.whole = whole;
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
                    self.edits.push(Edit::of(sent.span.clone(), bytes));
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
        let passages = places.iter().filter_map(|place| place.texts());
        if let Some(restored) =
            passages.filter_map(|(live, shown)| passage::restored(text, shown, live)).next()
        {
            self.edits.push(Edit::of(sent.span.clone(), quoted(&restored)));
            self.paths.push(path.to_string());
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

    fn lists(&self) -> Lists {
        match self.write {
            Write::StrategicPatch | Write::Apply => Lists::Merged,
            Write::Update | Write::MergePatch | Write::JsonPatch => Lists::Replaced,
        }
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
        let (whole, depth) = (!documents.is_empty(), self.depth + 1);
        let mut walk = Walk { whole, depth, ..Walk::new(self.object, Write::Update) };
        walk.value(&document.root, &inner, Path::Inside(&path))?;
        if walk.edits.is_empty() {
            return Ok(false);
        }
        no_duplicates(&document.root, Path::Inside(&path))?;
        let bytes = opened.with(&walk.edits).map_err(|why| RestoreError::at(path, why))?;
        self.edits.push(Edit { inside: Some(walk.edits), ..Edit::of(sent.span.clone(), bytes) });
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
    let inside = |edit: &&Edit| within.start <= edit.span.start && edit.span.end <= within.end;
    for Edit { span, lead, bytes, .. } in edits.iter().filter(inside) {
        out.extend_from_slice(&text[from..span.start]);
        out.extend_from_slice(lead);
        out.extend_from_slice(bytes);
        from = span.end;
    }
    out.extend_from_slice(&text[from..within.end]);
    out
}
