//! The few patterns that roles and the configuration know: a name, `prefix*`, `*`.

use serde::Deserialize;
use smol_str::SmolStr;

/// A name or a prefix of names. `*` is the empty prefix.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Pattern {
    /// This name.
    Exact(SmolStr),
    /// Names that begin so.
    Prefix(SmolStr),
}

impl Pattern {
    /// Whether `text` is one of the names.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Exact(name) => name == text,
            Pattern::Prefix(prefix) => text.starts_with(prefix.as_str()),
        }
    }

    /// Whether it matches `text`, or something of what `text` means with `*` at its end.
    pub(crate) fn meets(&self, text: &str) -> bool {
        self.matches(text) || text.strip_suffix('*').is_some_and(|prefix| self.as_str().starts_with(prefix))
    }

    /// Whether some name is one of both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Pattern::Exact(name), other) | (other, Pattern::Exact(name)) => other.matches(name),
            (Pattern::Prefix(one), Pattern::Prefix(two)) => {
                one.starts_with(two.as_str()) || two.starts_with(one.as_str())
            }
        }
    }

    /// The name, or the prefix of names.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Pattern::Exact(text) | Pattern::Prefix(text) => text,
        }
    }

    /// Whether it matches everything.
    pub(crate) fn is_any(&self) -> bool {
        matches!(self, Pattern::Prefix(prefix) if prefix.is_empty())
    }

    /// How much it may match, for comparing roles: one name, some, all.
    pub(crate) fn breadth(&self) -> u64 {
        match self {
            Pattern::Exact(_) => 1,
            Pattern::Prefix(prefix) if prefix.is_empty() => 1000,
            Pattern::Prefix(_) => 50,
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text.as_str(), false),
        };
        if name.contains('*') {
            return Err(format!("{text:?}: `*` may stand only at the end"));
        }
        if name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '?' || c == '[') {
            return Err(format!("{text:?} is neither a name nor a name with `*` at its end"));
        }
        match (name.is_empty(), prefix) {
            (true, false) => Err("an empty name matches nothing".to_owned()),
            (_, true) => Ok(Pattern::Prefix(name.into())),
            (false, false) => Ok(Pattern::Exact(text.into())),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pattern::Exact(name) => f.write_str(name),
            Pattern::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_overlap_where_a_name_is_one_of_both() {
        let pattern = |text: &str| Pattern::try_from(text.to_owned()).unwrap();
        for (one, two, overlap) in [
            ("mcp-0", "mcp-0", true),
            ("mcp-0", "mcp-1", false),
            ("mcp-0", "mcp-*", true),
            ("web", "mcp-*", false),
            ("mcp-*", "mcp-a-*", true),
            ("mcp-a-*", "mcp-b-*", false),
            ("*", "mcp-b-*", true),
        ] {
            assert_eq!(pattern(one).overlaps(&pattern(two)), overlap, "{one} {two}");
            assert_eq!(pattern(two).overlaps(&pattern(one)), overlap, "{two} {one}");
        }
    }
}
