//! Paths of fields, as policies and roles write them: `data.*`, `data[tls.key]`,
//! `spec.containers[*].env[name=*PASSWORD*].value`, `**.password`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::names::Names;

/// Where in an object something stands. Steps are separated by dots; each names a field, by a glob in which `*` stands for
/// any characters and case does not count. A name with dots in it stands in brackets. Arrays are passed through: `[*]` may
/// be written and changes nothing. `[name=glob]` asks that a field beside the next one says so; where it is not known in
/// time what it says (it comes later, or not at all), what is to be masked is masked and what is to be kept is not kept.
/// `**` stands for any number of fields, none of them `metadata`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldPath {
    text: String,
    steps: Arc<[Step]>,
}

/// A part of a path.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Into a field of one of these names.
    Field(Arc<Names>),
    /// On, if the field of this name says one of these.
    Where(Box<str>, Arc<Names>),
    /// Any number of fields deep.
    Deep,
}

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?}: {fault}")]
pub struct PathError {
    path: String,
    fault: &'static str,
}

impl FieldPath {
    /// A path of steps that need not be written as text.
    pub(crate) fn of(steps: Vec<Step>) -> Self {
        Self { text: format!("{steps:?}"), steps: steps.into() }
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl FromStr for FieldPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let steps = parse(text).map_err(|fault| PathError { path: text.to_owned(), fault })?;
        Ok(Self { text: text.to_owned(), steps: steps.into() })
    }
}

fn parse(text: &str) -> Result<Vec<Step>, &'static str> {
    let (mut steps, mut rest) = (Vec::new(), text);
    loop {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        match name {
            "" if steps.is_empty() && after.starts_with('[') => {}
            "" => return Err("a name is missing"),
            "**" => steps.push(Step::Deep),
            name => steps.push(Step::Field(Arc::new(Names::of(name)))),
        }
        rest = after;
        while let Some(inside) = rest.strip_prefix('[') {
            let (inside, after) = inside.split_once(']').ok_or("a bracket is not closed")?;
            bracket(inside, &mut steps)?;
            rest = after;
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => break,
            None => return Err("a dot or the end must follow a bracket"),
        }
    }
    match steps.last() {
        Some(Step::Field(_)) => Ok(steps),
        _ => Err("it must end in the name of a field"),
    }
}

fn bracket(inside: &str, steps: &mut Vec<Step>) -> Result<(), &'static str> {
    if inside == "*" {
        return Ok(());
    }
    if inside.is_empty() {
        return Err("brackets are empty");
    }
    if inside.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("elements are not told apart by number; write [*], or [name=…]");
    }
    steps.push(match inside.split_once('=') {
        Some(("", _)) => return Err("a name is missing before ="),
        Some((key, glob)) => Step::Where(key.into(), Arc::new(Names::of(glob))),
        None => Step::Field(Arc::new(Names::of(inside))),
    });
    Ok(())
}

impl TryFrom<String> for FieldPath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.text
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FieldPath({})", self.text)
    }
}

impl PartialEq for FieldPath {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for FieldPath {}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> String {
        let of = |step: &Step| match step {
            Step::Deep => "deep".to_owned(),
            Step::Where(key, _) => format!("where {key}"),
            Step::Field(names) => {
                names.only().map_or("glob".to_owned(), |name| String::from_utf8_lossy(name).into_owned())
            }
        };
        text.parse::<FieldPath>().unwrap().steps().iter().map(of).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn paths_are_read() {
        for (text, expected) in [
            ("data", "data"),
            ("data.*", "data glob"),
            ("data[tls.key]", "data tls.key"),
            ("[a.b/c].d", "a.b/c d"),
            ("metadata.annotations[example.test/*]", "metadata annotations glob"),
            ("spec.containers[*].env[name=*PASSWORD*].value", "spec containers env where name value"),
            ("**.env[*][name=A].value", "deep env where name value"),
            ("a[*]", "a"),
        ] {
            assert_eq!(steps(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, fault) in [
            ("", "a name is missing"),
            ("a..b", "a name is missing"),
            ("a.", "a name is missing"),
            (".a", "a name is missing"),
            ("a[b", "not closed"),
            ("a]b", "must follow"),
            ("a[]", "empty"),
            ("a[0]", "by number"),
            ("a[=b].c", "before ="),
            ("a[name=b]", "must end in the name"),
            ("a.**", "must end in the name"),
            ("a[b]c", "a dot or the end"),
        ] {
            let error = text.parse::<FieldPath>().unwrap_err().to_string();
            assert!(error.contains(fault), "{text:?}: {error}");
        }
    }
}
