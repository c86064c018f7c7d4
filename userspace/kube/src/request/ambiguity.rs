//! Spellings that are refused before any decision, because two readers of the same bytes could take them for two
//! different requests: the API server, a load balancer or cache before it, an aggregated server behind it, and we.
//!
//! What is refused, and why just that:
//! - Methods other than the six that the API server knows. It reads the rest as an empty verb.
//! - Targets that are not a plain path: a proxy takes host and path of an absolute form, the API server the path.
//! - Control bytes, spaces, non-ASCII, `#`, backslashes and the like: no client sends them unescaped, and readers differ
//!   in whether they stop, escape or fold there.
//! - Empty, `.` and `..` segments, also percent-encoded: the API server takes them literally, most others resolve them.
//! - Escapes that hide what needs no hiding (letters, digits, `-._~`) or what would separate (`/ \ ? # ; %`): the API
//!   server decodes them once and serves `/%73ecrets/x`; a filter that does not decode sees something else. Escapes of
//!   anything else are how clients must spell a name (`my%20role`) or harmlessly do (`system%3Anode`, from Python).
//! - Raw `;`: parameters of a segment to some readers.
//! - `/API`, `/Apis`: a plain path to the API server, a resource to a reader that folds case.
//! - In the query: a `;` and malformed escapes (the API server drops the whole pair, others split or keep it), and two
//!   different values of `watch` or `fieldSelector` (it goes by the first, others by the last).
//!
//! A single trailing slash is not refused: the API server ignores it, and so do we.
//!
//! What follows `*/proxy` is another server's path, which may well need `//`, `;` or `%2F`. There only dot segments in
//! any spelling, backslashes, control bytes and malformed escapes are refused, as these could climb out of the proxy or
//! break the line.

use std::fmt;

use super::target::{decode, decode_form, split};
use super::{Query, classify};

/// Why a request line is refused before any decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ambiguity {
    /// A method other than GET, HEAD, POST, PUT, PATCH and DELETE, spelled just so.
    Method,
    /// Not a path: absolute form, authority form or `*`.
    NotAPath,
    /// A byte that a request target cannot hold unescaped.
    Byte(u8),
    /// `//`.
    EmptySegment,
    /// `.` or `..`, raw or encoded.
    DotSegment,
    /// `%` without two hexadecimal digits behind it.
    BadEscape,
    /// An escape that hides a separator, a control byte or a character that needs none.
    Escape(u8),
    /// Escapes that do not decode to UTF-8.
    NotUtf8,
    /// `api` or `apis` in other than lower case.
    PrefixCase,
    /// `;` between query pairs.
    QuerySemicolon,
    /// Two different values of a query key that decides what the request is.
    QueryConflict(&'static str),
}

/// Whether this request line is refused for its spelling, and why. Checked before any decision.
#[must_use]
pub fn ambiguity(method: &str, target: &str) -> Option<Ambiguity> {
    if !matches!(method, "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE") {
        return Some(Ambiguity::Method);
    }
    if !target.starts_with('/') {
        return Some(Ambiguity::NotAPath);
    }
    if let Some(byte) = target.bytes().find(|b| !b.is_ascii_graphic() || matches!(b, b'#' | b'\\')) {
        return Some(Ambiguity::Byte(byte));
    }
    let (path, query) = split(target);
    in_path(method, path).or_else(|| in_query(Query(query)))
}

fn in_path(method: &str, path: &str) -> Option<Ambiguity> {
    let Some(decoded) = decode(path) else { return Some(Ambiguity::BadEscape) };
    if std::str::from_utf8(&decoded).is_err() {
        return Some(Ambiguity::NotUtf8);
    }
    let segments: Vec<&str> = path[1..].split('/').collect();
    let tail = proxy_tail(method, path).unwrap_or(segments.len());
    for (n, segment) in segments.iter().enumerate() {
        let last = n + 1 == segments.len();
        let found = if n < tail { in_segment(segment, last) } else { in_tail(segment) };
        if found.is_some() {
            return found;
        }
    }
    let prefix = segments[0];
    let folded = ["api", "apis"].iter().any(|p| prefix.eq_ignore_ascii_case(p) && prefix != *p);
    folded.then_some(Ambiguity::PrefixCase)
}

/// The number of segments before the path that a `*/proxy` passes on.
///
/// Counted in decoded segments. An encoded slash before the tail would shift the count, but is itself refused: it lies
/// before the tail by either count.
fn proxy_tail(method: &str, path: &str) -> Option<usize> {
    // Spelled otherwise it is refused on the way.
    if !path.contains("/proxy") {
        return None;
    }
    let info = classify(method, path).ok().filter(|info| info.is_proxy())?;
    let behind = if info.verb == "proxy" { 2 } else { 3 };
    Some(info.path[1..].trim_end_matches('/').split('/').count() - info.parts.len() + behind)
}

fn in_segment(segment: &str, last: bool) -> Option<Ambiguity> {
    if segment.is_empty() && !last {
        return Some(Ambiguity::EmptySegment);
    }
    if let Some(byte) = segment.bytes().find(|b| b"\"<>^`{|};".contains(b)) {
        return Some(Ambiguity::Byte(byte));
    }
    let decoded = decode(segment)?;
    if matches!(&decoded[..], b"." | b"..") {
        return Some(Ambiguity::DotSegment);
    }
    escapes(segment)
        .find(|b| needs_no_escape(*b) || separates(*b) || b.is_ascii_control())
        .map(Ambiguity::Escape)
}

fn in_tail(segment: &str) -> Option<Ambiguity> {
    let decoded = decode(segment)?;
    if let Some(byte) = decoded.iter().find(|b| b.is_ascii_control() || **b == b'\\') {
        return Some(Ambiguity::Escape(*byte));
    }
    // The proxied server may decode %2F, and once more what %25 hides.
    let dotted = |text: &[u8]| text.split(|b| *b == b'/').any(|part| matches!(part, b"." | b".."));
    let twice = std::str::from_utf8(&decoded).ok().and_then(decode);
    (dotted(&decoded) || twice.is_some_and(|t| dotted(&t))).then_some(Ambiguity::DotSegment)
}

fn in_query(query: Query<'_>) -> Option<Ambiguity> {
    for pair in query.raw_pairs() {
        if pair.contains(';') {
            return Some(Ambiguity::QuerySemicolon);
        }
        if decode_form(pair).is_none() {
            return Some(Ambiguity::BadEscape);
        }
    }
    ["watch", "fieldSelector"]
        .into_iter()
        .find(|key| {
            let mut values = query.all(key);
            let first = values.next();
            values.any(|value| Some(value) != first)
        })
        .map(Ambiguity::QueryConflict)
}

/// The bytes that a segment spells as escapes; it has been found to be well-formed.
fn escapes(segment: &str) -> impl Iterator<Item = u8> {
    let codes = segment.split('%').skip(1).filter_map(|rest| rest.get(..2));
    codes.filter_map(|code| u8::from_str_radix(code, 16).ok())
}

/// Unreserved characters (RFC 3986, section 2.3).
fn needs_no_escape(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn separates(byte: u8) -> bool {
    b"/\\?#;%".contains(&byte)
}

impl fmt::Display for Ambiguity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => write!(f, "the method is not one of GET, HEAD, POST, PUT, PATCH and DELETE"),
            Self::NotAPath => write!(f, "the request target does not start with '/'"),
            Self::Byte(b) => write!(f, "the request target holds an unescaped {}", Shown(*b)),
            Self::EmptySegment => write!(f, "the path has an empty segment (\"//\")"),
            Self::DotSegment => write!(f, "the path has a dot segment (\".\" or \"..\")"),
            Self::BadEscape => write!(f, "the request target has a malformed percent-escape"),
            Self::Escape(b) => write!(f, "the path hides {} in a percent-escape", Shown(*b)),
            Self::NotUtf8 => write!(f, "the path is not UTF-8"),
            Self::PrefixCase => write!(f, "the API prefix is not in lower case"),
            Self::QuerySemicolon => write!(f, "the query has a ';' that is not escaped"),
            Self::QueryConflict(key) => write!(f, "the query gives two different values of {key:?}"),
        }
    }
}

/// A byte in a message: as a character where it is one.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_ascii_graphic() {
            write!(f, "'{}'", self.0 as char)
        } else {
            write!(f, "byte {:#04x}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused() {
        use Ambiguity::*;
        for (target, why) in [
            ("https://host/api/v1/pods", NotAPath),
            ("*", NotAPath),
            ("", NotAPath),
            ("/api/v1/pods HTTP/1.1", Byte(b' ')),
            ("/api/v1/p\u{e9}", Byte(0xc3)),
            ("/api/v1/pods\0", Byte(0)),
            ("/api/v1\\pods", Byte(b'\\')),
            ("/api/v1/pods?watch=true#x", Byte(b'#')),
            ("/api/v1/namespaces/a;x=1/pods", Byte(b';')),
            ("/api/v1//pods", EmptySegment),
            ("//api/v1/pods", EmptySegment),
            ("/api/v1/pods//", EmptySegment),
            ("/api/v1/namespaces/a/pods/../secrets/x", DotSegment),
            ("/api/v1/./pods", DotSegment),
            ("/api/v1/pods/..", DotSegment),
            ("/api/v1/%2e%2E/pods", DotSegment),
            ("/api/v1/.%2e/pods", DotSegment),
            ("/api/v1/%73ecrets/x", Escape(b's')),
            ("/api/v1/namespaces/a/secrets%2Fx", Escape(b'/')),
            ("/api/v1/namespaces/a/secrets%5cx", Escape(b'\\')),
            ("/api/v1/secrets/x%00", Escape(0)),
            ("/api/v1/secrets/x%253f", Escape(b'%')),
            ("/api/v1/secrets/x%3Fwatch=1", Escape(b'?')),
            ("/api/v1/secrets/%zz", BadEscape),
            ("/api/v1/secrets/%", BadEscape),
            ("/api/v1/secrets/%C0%AE", NotUtf8),
            ("/API/v1/secrets", PrefixCase),
            ("/Apis/apps/v1/deployments", PrefixCase),
            ("/api/v1/pods?watch=true;limit=1", QuerySemicolon),
            ("/api/v1/pods?fieldSelector=bad%%", BadEscape),
            ("/api/v1/pods?watch=true&watch=false", QueryConflict("watch")),
            ("/api/v1/pods?watch&w%61tch=true", QueryConflict("watch")),
            ("/api/v1/pods?fieldSelector=a&fieldSelector=b", QueryConflict("fieldSelector")),
        ] {
            assert_eq!(ambiguity("GET", target), Some(why), "{target}");
        }
        for method in ["get", "OPTIONS", "CONNECT", "TRACE", "QUERY", "PURGE", ""] {
            assert_eq!(ambiguity(method, "/api/v1/pods"), Some(Method), "{method}");
        }
    }

    #[test]
    fn accepted() {
        for target in [
            "/",
            "/api/v1/namespaces/demo/secrets/",
            "/api/v1/namespaces/a/services/https:web:443/proxy",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/my%20role",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/r%C3%A9seau",
            "/apis/custom.metrics.k8s.io/v1beta1/namespaces/a/pods/*/http_requests",
            "/api/v1/pods?watch=true&watch=true&command=a&command=b%3B%00",
            "/api/v1/namespaces/a/pods?labelSelector=a+in+%28b%2Cc%29&limit=500",
            "/api/v1/configmaps/a...b",
        ] {
            assert_eq!(ambiguity("GET", target), None, "{target}");
        }
    }

    #[test]
    fn behind_a_proxy() {
        let tail =
            |tail| ambiguity("GET", &format!("/api/v1/namespaces/a/services/https:web:443/proxy{tail}"));
        for legitimate in
            ["/", "//x", "/a%2Fb", "/a;b=1", "/%73", "/a%25b", "/containerLogs/a/b", "/x..y", "/..."]
        {
            assert_eq!(tail(legitimate), None, "{legitimate}");
        }
        for climbing in
            ["/../../secrets", "/%2e%2e/x", "/a%2F..%2Fb", "/%252e%252e/x", "/a%252f..%252fb", "/."]
        {
            assert_eq!(tail(climbing), Some(Ambiguity::DotSegment), "{climbing}");
        }
        assert_eq!(tail("/a%5c..%5cb"), Some(Ambiguity::Escape(b'\\')));
        assert_eq!(tail("/a%0d%0a"), Some(Ambiguity::Escape(b'\r')));
        // The way to the proxy gets no such licence.
        for target in ["/api/v1/namespaces/a//services/w/proxy/x", "/api/v1/nodes/n%2Fproxy/proxy/a%2Fb"] {
            assert!(ambiguity("GET", target).is_some(), "{target}");
        }
        let legacy = |tail| ambiguity("GET", &format!("/api/v1/proxy/namespaces/a/pods/p{tail}"));
        assert_eq!(legacy("//x"), None);
        assert_eq!(legacy("/../x"), Some(Ambiguity::DotSegment));
    }
}
