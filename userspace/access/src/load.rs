//! Reads roles from YAML files. Every error names file, line and field.

use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_path_to_error::{Deserializer, Track};
use serde_saphyr::Spanned;

use crate::AccessError;
use crate::manifest::Manifest;
use crate::role::{Role, RoleSet, Source};

/// Reads every `*.yaml` and `*.yml` file of `dir`, not of its subdirectories, in the order of their names.
///
/// # Errors
/// [`AccessError::RolesUnreadable`], [`AccessError::Manifest`], [`AccessError::DuplicateRole`]. One bad file
/// fails all: half a policy is another policy.
pub fn load_roles(dir: &Path) -> Result<RoleSet, AccessError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| AccessError::RolesUnreadable { path, source }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable(dir))? {
        let path = entry.map_err(unreadable(dir))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && !hidden {
            files.push(path);
        }
    }
    files.sort();
    let mut roles = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(unreadable(&file))?;
        roles.extend(parse_roles(&file.display().to_string(), &text)?);
    }
    RoleSet::new(roles)
}

/// The roles of one file, any number of documents; `file` is its name in errors.
///
/// # Errors
/// [`AccessError::Manifest`].
pub fn parse_roles(file: &str, text: &str) -> Result<Vec<Role>, AccessError> {
    documents(text).map(|(lines_before, document)| parse(file, lines_before, document)).collect()
}

fn parse(file: &str, lines_before: u64, document: &str) -> Result<Role, AccessError> {
    let manifest: Manifest = read_yaml(file, lines_before, document)?;
    let blank = |line: &&str| line.trim().is_empty() || line.starts_with(['#', '-']);
    let first = lines_before + document.lines().take_while(blank).count() as u64 + 1;
    let rules = lines_of(file, lines_before, document, |rules: RuleLines| rules.spec.rules)?;
    let source = Source { file: file.to_owned(), line: first, rules };
    let places = source.rules.clone();
    manifest.into_role(source).map_err(|(rule, message)| AccessError::Manifest {
        file: file.to_owned(),
        line: places.get(rule).copied().unwrap_or(first),
        field: format!("spec.rules[{rule}].review"),
        message,
    })
}

/// The rules of a role, for nothing but where they stand.
#[derive(Deserialize)]
struct RuleLines {
    spec: SpecLines,
}

#[derive(Deserialize)]
struct SpecLines {
    rules: Places,
}

/// The items of a list, for nothing but where they stand.
pub(crate) type Places = Vec<Spanned<IgnoredAny>>;

/// The lines of the items of a list in a document that was read already. (Reading both at once would put the
/// wrapper that knows the place into the path of every field.)
pub(crate) fn lines_of<T: DeserializeOwned>(
    file: &str,
    lines_before: u64,
    document: &str,
    list: impl FnOnce(T) -> Places,
) -> Result<Vec<u64>, AccessError> {
    let places = list(read_yaml(file, lines_before, document)?);
    Ok(places.iter().map(|item| lines_before + item.referenced.line()).collect())
}

/// Reads one YAML document that stands after `lines_before` lines of `file`.
///
/// # Errors
/// [`AccessError::Manifest`], which names file, line and field.
pub fn read_yaml<T: DeserializeOwned>(
    file: &str,
    lines_before: u64,
    document: &str,
) -> Result<T, AccessError> {
    let mut track = Track::new();
    let options = serde_saphyr::options! { with_snippet: false };
    let parsed = serde_saphyr::with_deserializer_from_str_with_options(document, options, |yaml| {
        T::deserialize(Deserializer::new(yaml, &mut track))
    });
    parsed.map_err(|error| {
        let mut message = error.without_snippet().to_string();
        let mut line = lines_before + 1;
        if let Some(location) = error.location() {
            let suffix = format!(" at line {}, column {}", location.line(), location.column());
            message.truncate(message.strip_suffix(&suffix).unwrap_or(&message).len());
            line = lines_before + location.line();
        }
        let field = match track.path().to_string() {
            root if root == "." => "the document".to_owned(),
            field => field,
        };
        AccessError::Manifest { file: file.to_owned(), line, field, message }
    })
}

/// The documents of a YAML stream that hold more than comments, with the number of lines before each. A
/// line that starts with `---` and white space opens a document wherever it stands (YAML 1.2, 9.1.2:
/// c-forbidden), also inside a block scalar.
pub(crate) fn documents(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let mut starts = vec![(0, 0)];
    let (mut line, mut offset) = (0, 0);
    for piece in text.split_inclusive('\n') {
        if piece
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        {
            starts.push((line, offset));
        }
        line += 1;
        offset += piece.len();
    }
    let ends: Vec<usize> = starts.iter().skip(1).map(|(_, start)| *start).chain([text.len()]).collect();
    starts.into_iter().zip(ends).map(move |((line, start), end)| (line, &text[start..end])).filter(
        |(_, document)| {
            let says_something =
                |line: &str| !line.is_empty() && !line.starts_with('#') && line != "---" && line != "...";
            document.lines().map(str::trim).any(says_something)
        },
    )
}

#[cfg(test)]
mod tests;
