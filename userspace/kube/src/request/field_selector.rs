//! Field selectors as `k8s.io/apimachinery/pkg/fields` parses them, as far as one question goes: which value does the
//! selector demand of a field.

/// The terms of a selector, in the order in which the API server keeps them: sorted as spelled.
#[derive(Debug)]
pub(super) struct Terms(Vec<Term>);

#[derive(Debug)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

/// Parses a selector; `None` when the API server could not.
pub(super) fn parse(selector: &str) -> Option<Terms> {
    let mut terms = split(selector);
    terms.sort_unstable();
    terms.into_iter().filter(|term| !term.is_empty()).map(Term::parse).collect::<Option<_>>().map(Terms)
}

impl Terms {
    /// The value that `field` must have, if any term says so.
    pub(super) fn required(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }
}

impl Term {
    fn parse(term: &str) -> Option<Self> {
        let (field, value) = term.split_once('=')?;
        let (field, equal) = field.strip_suffix('!').map_or((field, true), |field| (field, false));
        // `==` says the same as `=`.
        let value = if equal { value.strip_prefix('=').unwrap_or(value) } else { value };
        Some(Self { field: field.to_owned(), value: unescape(value)?, equal })
    }
}

/// Splits at commas that no backslash stands before.
fn split(selector: &str) -> Vec<&str> {
    let mut escaped = false;
    selector
        .split(|c| {
            let separates = c == ',' && !escaped;
            escaped = c == '\\' && !escaped;
            separates
        })
        .collect()
}

/// Undoes `\\`, `\,` and `\=`; nothing else may be escaped, and these three may not go without.
fn unescape(value: &str) -> Option<String> {
    let mut unescaped = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        unescaped.push(match c {
            '\\' => chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?,
            ',' | '=' => return None,
            other => other,
        });
    }
    Some(unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms() {
        let required = |selector| parse(selector).map(|t| t.required("metadata.name").map(str::to_owned));
        assert_eq!(required(""), Some(None));
        assert_eq!(required("metadata.name=db"), Some(Some("db".into())));
        assert_eq!(required("a=b,,metadata.name==db,"), Some(Some("db".into())));
        assert_eq!(required("metadata.name=b,metadata.name=a"), Some(Some("a".into())), "sorted first");
        assert_eq!(required("metadata.name!=db"), Some(None));
        assert_eq!(required("metadata!.name=db"), Some(None));
        assert_eq!(required("metadata.name"), None);
        assert_eq!(required("metadata.name=a=b"), None);
        assert_eq!(required("metadata.name=a\\"), None);
        assert_eq!(required("metadata.name=a\\\\"), Some(Some("a\\".into())));
        assert_eq!(required("é=1,metadata.name=é"), Some(Some("é".into())));
    }
}
