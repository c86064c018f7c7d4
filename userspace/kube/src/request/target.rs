//! A request target taken apart as Go's `net/url` does it: the path decoded whole, query pairs that cannot be decoded
//! left out in silence.

use std::borrow::Cow;

use super::ClassifyError;

/// A target in origin form.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// Percent-decoded.
    pub(super) path: String,
    pub(super) query: Query<'a>,
}

/// The undecoded query, without its `?`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a>(pub(super) &'a str);

impl<'a> Target<'a> {
    pub(super) fn parse(target: &'a str) -> Result<Self, ClassifyError> {
        if let Some(byte) = target.bytes().find(u8::is_ascii_control) {
            return Err(ClassifyError::ControlByte(byte));
        }
        let (path, query) = split(target);
        if !path.starts_with('/') {
            return Err(ClassifyError::NotAPath);
        }
        let path = decode(path).ok_or(ClassifyError::BadEscape)?;
        let path = String::from_utf8(path.into_owned()).map_err(|_| ClassifyError::NotUtf8)?;
        Ok(Self { path, query: Query(query) })
    }
}

/// Every value of a query key in a request target, in order, decoded as the API server does.
#[must_use]
pub fn query_values(target: &str, key: &str) -> Vec<String> {
    Query(split(target).1).all(key).map(Cow::into_owned).collect()
}

/// Whether a query key of a request target is set, as the API server reads a boolean: by its first value, of which only
/// `0` and `false` mean no.
#[must_use]
pub fn query_flag(target: &str, key: &str) -> bool {
    Query(split(target).1).flag(key)
}

impl<'a> Query<'a> {
    /// The first value of a key as a boolean.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.first(key).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// The first value of a key: the one that the API server goes by.
    pub(super) fn first(&self, key: &str) -> Option<Cow<'a, str>> {
        self.all(key).next()
    }

    /// Every value of a key, in order.
    pub(super) fn all<'k>(&self, key: &'k str) -> impl Iterator<Item = Cow<'a, str>> + use<'a, 'k> {
        self.pairs().filter_map(move |(k, v)| (k == key).then_some(v))
    }

    /// The pairs that can be decoded. Bytes that are not UTF-8 become U+FFFD, which no key or name contains.
    fn pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        self.raw_pairs().filter(|pair| !pair.contains(';')).filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode_form(key)?, decode_form(value)?))
        })
    }

    /// The pairs as they are spelled.
    pub(super) fn raw_pairs(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.split('&').filter(|pair| !pair.is_empty())
    }
}

/// Path and query, undecoded.
pub(super) fn split(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

/// Percent-decodes; `None` for a malformed escape.
pub(super) fn decode(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    Some(Cow::Owned(decoded))
}

/// Percent-decodes a key or value of a query, where `+` stands for a space.
pub(super) fn decode_form(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['+', '%']) {
        return Some(Cow::Borrowed(text));
    }
    decode(&text.replace('+', " ")).map(|bytes| Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|n| n as u8)
}
