//! Names of fields by glob: `*PASSWORD*`, `tls.key`, `*`. Case is ignored, as lenient decoders (encoding/json of Go among
//! them) ignore it: `Data` in an applied manifest holds a secret as well.

use aho_corasick::AhoCorasick;

/// A set of names: those that match one of some globs, without those that match one of some others. `*` in a glob stands
/// for any run of characters; everything else for itself.
#[derive(Debug)]
pub(crate) struct Names {
    globs: Vec<Glob>,
    except: Vec<Glob>,
    /// Finds the globs of the form `*word*` all at once.
    words: Option<AhoCorasick>,
}

/// What stands between the `*` of a glob, in lower case.
#[derive(Debug, PartialEq, Eq)]
struct Glob(Vec<Box<[u8]>>);

impl Names {
    /// The names that match one of `globs` and none of `except`.
    pub(crate) fn new<S: AsRef<str>>(globs: &[S], except: &[S]) -> Self {
        let parsed = |globs: &[S]| globs.iter().map(|glob| Glob::new(glob.as_ref())).collect();
        let mut globs: Vec<Glob> = parsed(globs);
        let words: Vec<&[u8]> = globs.iter().filter_map(Glob::word).collect();
        // Should so many words be too much for the automaton, they stay with the globs.
        let words = AhoCorasick::builder().ascii_case_insensitive(true).build(words).ok();
        if words.is_some() {
            globs.retain(|glob| glob.word().is_none());
        }
        Self { globs, except: parsed(except), words: words.filter(|words| words.patterns_len() > 0) }
    }

    /// The names that match one glob.
    pub(crate) fn of(glob: &str) -> Self {
        Self::new(&[glob], &[])
    }

    /// Whether `name` is one of them.
    pub(crate) fn contain(&self, name: &[u8]) -> bool {
        let found = self.words.as_ref().is_some_and(|words| words.is_match(name))
            || self.globs.iter().any(|glob| glob.matches(name));
        found && !self.except.iter().any(|glob| glob.matches(name))
    }

    /// Whether every name is one of them.
    pub(crate) fn are_all(&self) -> bool {
        self.except.is_empty() && self.globs.iter().any(|glob| glob.0.iter().all(|part| part.is_empty()))
    }

    /// The only name of them, in lower case, if it is only one.
    pub(crate) fn only(&self) -> Option<&[u8]> {
        match (&self.globs[..], &self.except[..], &self.words) {
            ([Glob(parts)], [], None) if parts.len() == 1 => Some(&parts[0]),
            _ => None,
        }
    }
}

impl Glob {
    fn new(text: &str) -> Self {
        Self(text.split('*').map(|part| part.to_ascii_lowercase().into_bytes().into_boxed_slice()).collect())
    }

    /// The word of `*word*`.
    fn word(&self) -> Option<&[u8]> {
        match &self.0[..] {
            [before, word, after] if before.is_empty() && after.is_empty() && !word.is_empty() => Some(word),
            _ => None,
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        let [first, rest @ ..] = &self.0[..] else { return false };
        let Some(mut left) = strip_prefix(name, first) else { return false };
        let Some((last, middle)) = rest.split_last() else { return left.is_empty() };
        for part in middle {
            // The leftmost place is the best: it leaves the most for what follows.
            let Some(at) = find(left, part) else { return false };
            left = &left[at + part.len()..];
        }
        left.len() >= last.len() && left[left.len() - last.len()..].eq_ignore_ascii_case(last)
    }
}

fn strip_prefix<'n>(name: &'n [u8], prefix: &[u8]) -> Option<&'n [u8]> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn find(name: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    name.windows(part.len()).position(|window| window.eq_ignore_ascii_case(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::bytes::RegexBuilder;

    use super::*;

    #[test]
    fn globs_and_what_they_leave_out() {
        let names = Names::new(&["*password*", "token", "*_key"], &["*_file", "password-name"]);
        for name in ["DB_PASSWORD", "password", "Token", "api_KEY", "_key"] {
            assert!(names.contain(name.as_bytes()), "{name}");
        }
        for name in ["", "PASSWORD_FILE", "password-name", "tokens", "key", "api_key_id"] {
            assert!(!names.contain(name.as_bytes()), "{name}");
        }
        assert!(Names::of("*").are_all() && Names::of("*").contain(b"") && !Names::of("**a").are_all());
        assert_eq!(Names::of("Tls.Key").only(), Some(&b"tls.key"[..]));
        assert_eq!(Names::of("tls.*").only(), None);
        assert_eq!(Names::of("*tls*").only(), None);
    }

    proptest! {
        #[test]
        fn agree_with_the_regular_expression(glob in "[abA*.]{0,6}", name in "[abAB.]{0,8}") {
            let pattern = glob.split('*').map(regex::escape).collect::<Vec<_>>().join(".*");
            let regex = RegexBuilder::new(&format!("^(?s:{pattern})$")).case_insensitive(true).build().unwrap();
            prop_assert_eq!(Names::of(&glob).contain(name.as_bytes()), regex.is_match(name.as_bytes()), "{} {}", glob, name);
        }
    }
}
