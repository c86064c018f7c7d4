//! A JSON patch (RFC 6902): the values of its `add` and `replace` stand where their pointers lead in the live object.
//!
//! Pointers are followed in the object as it is before the patch. So where one leads through a list, no other operation
//! may be about that list: it could have moved the element.

use super::place::{Pair, Path, Place};
use super::tree::{Document, Kind, Value};
use super::verify::Verify;
use super::walk::{Walk, members_of};
use super::{RestoreError, Why, Write};

/// Steps in a pointer; more than any object is deep.
const STEPS: usize = 100;

/// An operation that says where.
struct Operation<'a> {
    name: &'a str,
    /// Its pointer as keys and indices, free of escapes.
    steps: Vec<String>,
    value: Option<&'a Value>,
}

/// Notes what is to be put back in the values of a patch.
pub(super) fn walk<'a>(
    sent: &Document<'_>,
    object: Pair<'a>,
    verify: &Verify<'_>,
) -> Result<Walk<'a>, RestoreError> {
    let at_root = |why| RestoreError::at(Path::Root, why);
    let Kind::Array(operations) = &sent.root.kind else {
        return Err(at_root(Why::NotJson("it is no JSON patch".to_owned())));
    };
    let operations = operations.iter().map(Operation::read).collect::<Option<Vec<_>>>();
    let operations = operations.ok_or_else(|| at_root(Why::NotJson("it is no JSON patch".to_owned())))?;
    let mut walk = Walk::new(object, Write::JsonPatch);
    for (number, operation) in operations.iter().enumerate() {
        let Some(value) = operation.value else { continue };
        let others =
            operations.iter().enumerate().filter(|(other, _)| *other != number).map(|(_, other)| other);
        let descent = Descent { operation, value, others: others.collect(), sent, verify };
        descent.go(&mut walk, 0, &[object.root()], &[], Path::Root)?;
    }
    Ok(walk)
}

impl<'a> Operation<'a> {
    fn read(operation: &'a Value) -> Option<Self> {
        let name = operation.member("op")?.text()?;
        let steps = steps(operation.member("path")?.text()?)?;
        Some(Self { name, steps, value: operation.member("value") })
    }
}

/// The way of one value to its place.
struct Descent<'a> {
    operation: &'a Operation<'a>,
    value: &'a Value,
    others: Vec<&'a Operation<'a>>,
    sent: &'a Document<'a>,
    verify: &'a Verify<'a>,
}

impl Descent<'_> {
    /// Goes on from the first `done` steps, which lead to `places`; `lists` says of each step whether it is an index.
    fn go(
        &self,
        walk: &mut Walk<'_>,
        done: usize,
        places: &[Place<'_>],
        lists: &[bool],
        path: Path<'_>,
    ) -> Result<(), RestoreError> {
        let Some(step) = self.operation.steps.get(done) else {
            return self.arrive(walk, places, lists, path);
        };
        let is_list = places.iter().any(|place| place.elements().is_some());
        let lists = [lists, &[is_list]].concat();
        if is_list {
            let index = index(step);
            let found: Vec<Place<'_>> = places.iter().filter_map(|place| place.element(index?)).collect();
            let path = index.map_or(Path::Key(&path, step), |at| Path::Index(&path, at));
            return self.go(walk, done + 1, &found, &lists, path);
        }
        let path = Path::Key(&path, step);
        self.go(walk, done + 1, &members_of(places, step, path), &lists, path)
    }

    fn arrive(
        &self,
        walk: &mut Walk<'_>,
        places: &[Place<'_>],
        lists: &[bool],
        path: Path<'_>,
    ) -> Result<(), RestoreError> {
        let before = walk.edits.len();
        let is_element = lists.last() == Some(&true);
        let adds_element = is_element && self.operation.name == "add";
        let writes = matches!(self.operation.name, "add" | "replace") && !adds_element;
        let same = |place: &&Place<'_>| writes && (!is_element || place.has_name_of(self.value));
        let places: Vec<Place<'_>> = places.iter().filter(same).copied().collect();
        walk.value(self.value, &places, path).map_err(|error| match error {
            RestoreError::Field { path, why: Why::NothingThere } if adds_element => {
                RestoreError::Field { path, why: Why::NewElement }
            }
            other => other,
        })?;
        if walk.edits.len() == before {
            return Ok(());
        }
        if let Some(list) = lists.iter().position(|is_list| *is_list)
            && self.others.iter().any(|other| other.is_about(&self.operation.steps[..list]))
        {
            return Err(RestoreError::at(path, Why::Moved));
        }
        let around: Vec<Option<&str>> = self
            .operation
            .steps
            .iter()
            .zip(lists)
            .map(|(step, is_list)| (!is_list).then_some(step.as_str()))
            .collect();
        self.verify.restored(self.sent, self.value, &around, &walk.edits[before..], path)
    }
}

impl Operation<'_> {
    /// Whether it could change what stands at `place`, or in it.
    fn is_about(&self, place: &[String]) -> bool {
        let common = self.steps.len().min(place.len());
        self.name != "test" && self.steps[..common] == place[..common]
    }
}

/// The steps of a JSON pointer (RFC 6901), if it is one.
fn steps(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let steps: Option<Vec<String>> = pointer.strip_prefix('/')?.split('/').map(unescaped).collect();
    steps.filter(|steps| steps.len() <= STEPS)
}

fn unescaped(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        text.push(match part.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        text.push_str(&part[1..]);
    }
    Some(text)
}

/// An index as RFC 6901 spells it. The API server takes negative ones as well, and `-` for the end.
fn index(step: &str) -> Option<usize> {
    let canonical = step == "0" || !step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit());
    step.parse().ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_as_rfc_6901_has_them() {
        let read = |pointer| steps(pointer);
        assert_eq!(read(""), Some(vec![]));
        assert_eq!(read("/"), Some(vec![String::new()]));
        assert_eq!(read("/data/a~1b~0c~01"), Some(vec!["data".to_owned(), "a/b~c~1".to_owned()]));
        for pointer in ["data", "/a~", "/a~2", &"/a".repeat(STEPS + 1)] {
            assert_eq!(read(pointer), None, "{pointer}");
        }
    }

    #[test]
    fn only_canonical_indices_are_known() {
        assert_eq!(["0", "7", "10"].map(index), [Some(0), Some(7), Some(10)]);
        for step in ["", "-", "-1", "+1", "01", "00", "1e0", " 1", "99999999999999999999999"] {
            assert_eq!(index(step), None, "{step:?}");
        }
    }
}
