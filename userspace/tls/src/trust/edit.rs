//! Changes to one entry of a kubeconfig that leave every other byte as it was.
//!
//! The parsed tree says where to cut. The caller reads the result again and compares: a layout for which the cut does
//! not come out right is refused, not guessed at.

use std::ops::Range;

use serde_saphyr::granit_parser::{ScalarStyle, StructureStyle};

use super::document::{Node, Problem, Value};

/// One cut: these bytes give way to this text.
#[derive(Debug)]
pub(super) struct Edit {
    range: Range<usize>,
    text: String,
}

/// Sets `key` of a mapping to a base64 value, or takes the entry away. A new entry is put before the entry `anchor`.
pub(super) fn set(
    source: &str,
    mapping: &Node,
    key: &str,
    value: Option<&str>,
    anchor: &str,
) -> Result<Option<Edit>, Problem> {
    let Value::Mapping { style, .. } = &mapping.value else {
        return Err(Problem::new(mapping.line, "a mapping should stand here"));
    };
    match (mapping.entry(key)?, value) {
        (Some((key, old)), Some(value)) => Ok(Some(replace(source, key, old, value))),
        (None, Some(value)) => {
            let (anchor, _) = mapping
                .entry(anchor)?
                .ok_or_else(|| Problem::new(mapping.line, format!("{anchor:?} is missing")))?;
            insert(source, *style, key, value, anchor).map(Some)
        }
        (Some((key, old)), None) => Ok(Some(delete(source, *style, key, old))),
        (None, None) => Ok(None),
    }
}

/// Makes all cuts.
pub(super) fn apply(source: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.range.start));
    let mut result = source.to_owned();
    for edit in edits {
        result.replace_range(edit.range, &edit.text);
    }
    result
}

fn replace(source: &str, key: &Node, old: &Node, value: &str) -> Edit {
    let place = value_range(source, key, old);
    let written = &source[place.clone()];
    let text = match scalar_style(old) {
        ScalarStyle::Literal if !old.text().unwrap_or("").is_empty() => {
            let width = written.lines().next().map_or(0, |first| first.trim_end().len());
            let width = if written.contains('\n') { width.max(1) } else { value.len() };
            let separator = format!("{}{}", newline(source, place.start), indentation(source, place.start));
            let lines: Vec<_> = (0..value.len())
                .step_by(width)
                .map(|start| &value[start..value.len().min(start + width)])
                .collect();
            lines.join(&separator)
        }
        style => quoted(value, style),
    };
    let space = if written.is_empty() { " " } else { "" };
    Edit { range: place, text: format!("{space}{text}") }
}

fn insert(
    source: &str,
    style: StructureStyle,
    key: &str,
    value: &str,
    anchor: &Node,
) -> Result<Edit, Problem> {
    let at = anchor.span.start;
    let alone = indentation_only(source, at);
    let line_break = format!("{}{}", newline(source, at), indentation(source, at));
    let separator = match (style, alone) {
        (StructureStyle::Block, true) => line_break,
        (StructureStyle::Flow, true) => format!(",{line_break}"),
        (StructureStyle::Flow, false) => ", ".to_owned(),
        (StructureStyle::Block, false) => {
            return Err(Problem::new(
                anchor.line,
                "cannot put a line before this one: write it on its own line",
            ));
        }
    };
    let style = scalar_style(anchor);
    let text = format!("{}: {}{separator}", quoted(key, style), quoted(value, style));
    Ok(Edit { range: at..at, text })
}

fn delete(source: &str, style: StructureStyle, key: &Node, value: &Node) -> Edit {
    let mut range = key.span.start..value_range(source, key, value).end;
    let rest = &source[range.end..];
    if style == StructureStyle::Flow {
        let blank = |text: &str| text.len() - text.trim_start().len();
        let to_comma = blank(rest);
        if rest[to_comma..].starts_with(',') {
            range.end += to_comma + 1;
            range.end += blank(&source[range.end..]);
        } else {
            let before = source[..range.start].trim_end();
            range.start = before.strip_suffix(',').unwrap_or(before).len();
        }
        return Edit { range, text: String::new() };
    }
    let line_end = rest.find('\n').map_or(rest.len(), |end| end + 1);
    if indentation_only(source, range.start) && rest[..line_end].trim().is_empty() {
        range = line_start(source, range.start)..range.end + line_end;
    }
    Edit { range, text: String::new() }
}

/// The bytes of an entry's value. One that is not written starts and ends after the colon of its key.
fn value_range(source: &str, key: &Node, value: &Node) -> Range<usize> {
    if value.span.is_empty() {
        let colon = source[key.span.end..].find(':').map_or(key.span.end, |colon| key.span.end + colon + 1);
        return colon..colon;
    }
    // A block scalar reaches to the start of what follows it.
    let length = source[value.span.clone()].trim_end().len();
    value.span.start..value.span.start + length
}

fn quoted(text: &str, style: ScalarStyle) -> String {
    match style {
        ScalarStyle::DoubleQuoted => format!("\"{text}\""),
        ScalarStyle::SingleQuoted => format!("'{text}'"),
        _ => text.to_owned(),
    }
}

fn scalar_style(node: &Node) -> ScalarStyle {
    match &node.value {
        Value::Scalar { style, .. } => *style,
        _ => ScalarStyle::Plain,
    }
}

fn line_start(source: &str, at: usize) -> usize {
    source[..at].rfind('\n').map_or(0, |end| end + 1)
}

fn indentation(source: &str, at: usize) -> &str {
    &source[line_start(source, at)..at]
}

fn indentation_only(source: &str, at: usize) -> bool {
    indentation(source, at).trim().is_empty()
}

/// The line break that ends the line.
fn newline(source: &str, at: usize) -> &'static str {
    let line = source[at..].find('\n').map_or("", |end| &source[at..at + end]);
    if line.ends_with('\r') { "\r\n" } else { "\n" }
}
