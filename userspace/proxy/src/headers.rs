//! What may cross the gate in a request's head.
//!
//! The client's own credentials and everything that speaks about identity stop here (RFC 9110 §7.6.1 for the
//! hop-by-hop fields; the Kubernetes authenticating-proxy and impersonation headers); what goes upstream is what
//! the gate itself puts there.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use portcullis_identity::Subject;
use zeroize::Zeroizing;

use crate::refusal::Refusal;

/// Headers that a client may never send upstream: credentials, identity claims of a front proxy, the audit id
/// (the API server would use it word for word), the fields that belong to one hop, and what would be agreed on over our heads.
const NEVER: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "audit-id",
    "forwarded",
    "x-real-ip",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "transfer-encoding",
    "upgrade",
    "expect",
    "te",
    "http2-settings",
    // Compressed frames could not be read.
    "sec-websocket-extensions",
];
const NEVER_PREFIXES: &[&str] = &["x-forwarded-", "x-remote-", "impersonate-"];

/// A WebSocket subprotocol that carries a bearer token (kubernetes/kubernetes, apiserver `websocket` authenticator).
const BEARER_SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
const SEC_WEBSOCKET_PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// True when the client asks the API server to act as somebody else.
pub(crate) fn impersonates(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("impersonate-"))
}

/// Fields of which only one is meant, and of two each reader takes its own.
const ONCE: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::UPGRADE,
];

/// A field that is there twice and means something only once (Law 6).
pub(crate) fn repeated(headers: &HeaderMap) -> Option<HeaderName> {
    ONCE.into_iter().find(|name| headers.get_all(name).iter().nth(1).is_some())
}

/// The bearer token of the `Authorization` header (RFC 6750 §2.1) or of the WebSocket subprotocol.
///
/// # Errors
/// When more than one is presented, since each reader would believe another; and when one cannot be read, since that is no
/// reason to go on as if there were none.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<Zeroizing<String>>, Refusal> {
    let from_authorization = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, token) = match value.to_str() {
            Ok(text) => text.split_once(' ')?,
            Err(_) => return Some(Err(Refusal::UnreadableToken)),
        };
        scheme.eq_ignore_ascii_case("bearer").then(|| Ok(Zeroizing::new(token.trim().to_owned())))
    });
    let from_protocol =
        protocols(headers).filter_map(|protocol| protocol.strip_prefix(BEARER_SUBPROTOCOL)).map(|encoded| {
            let token = URL_SAFE_NO_PAD.decode(encoded).ok().and_then(|token| String::from_utf8(token).ok());
            token.map(Zeroizing::new).ok_or(Refusal::UnreadableToken)
        });
    let mut tokens = from_authorization.chain(from_protocol);
    match (tokens.next().transpose()?, tokens.next()) {
        (_, Some(_)) => Err(Refusal::Repeated(header::AUTHORIZATION)),
        (token, None) => Ok(token.filter(|token| !token.is_empty())),
    }
}

/// The subprotocols that a WebSocket client offers.
fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Removes what must not go upstream. Fields named by `Connection` are hop-by-hop too.
pub(crate) fn strip_request(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        // `Connection: content-length` would make the two sides disagree on where the body ends.
        if name != header::CONTENT_LENGTH && name != header::HOST {
            headers.remove(name);
        }
    }
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| never_passes(name)).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
    strip_bearer_subprotocols(headers);
}

/// As [`strip_request`], but for what the client presents: in a connection that is forwarded it is for the server itself.
pub(crate) fn strip_forwarded(headers: &mut HeaderMap) {
    let presents =
        |(name, _): &(&HeaderName, &HeaderValue)| [header::AUTHORIZATION, header::COOKIE].contains(name);
    let presented: Vec<_> =
        headers.iter().filter(presents).map(|(name, value)| (name.clone(), value.clone())).collect();
    strip_request(headers);
    headers.extend(presented);
}

fn never_passes(name: &HeaderName) -> bool {
    let name = name.as_str();
    NEVER.contains(&name) || NEVER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn strip_bearer_subprotocols(headers: &mut HeaderMap) {
    if !protocols(headers).any(|protocol| protocol.starts_with(BEARER_SUBPROTOCOL)) {
        return;
    }
    let kept: Vec<String> = protocols(headers)
        .filter(|protocol| !protocol.is_empty() && !protocol.starts_with(BEARER_SUBPROTOCOL))
        .map(str::to_owned)
        .collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Ok(value) = HeaderValue::from_str(&kept.join(", "))
        && !kept.is_empty()
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
}

/// Hop-by-hop fields of a response that is not an upgrade.
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        headers.remove(name);
    }
}

/// Puts the upgrade fields back that `strip_request` took, for requests whose upgrade is allowed.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Names the request in the API server's own audit log.
pub(crate) fn set_audit_id(headers: &mut HeaderMap, id: &str) -> Result<(), Refusal> {
    headers.insert(AUDIT_ID, value(id)?);
    Ok(())
}

/// Asks the API server to act as the engineer, for clusters that keep RBAC per person.
/// `system:` names and groups are the cluster's own: a local group of that name must never become one.
pub(crate) fn set_impersonation(
    headers: &mut HeaderMap,
    subject: &Subject,
    grant: Option<&str>,
    session: &str,
) -> Result<(), Refusal> {
    let reserved =
        std::iter::once(&subject.name).chain(&subject.groups).find(|name| name.starts_with("system:"));
    if let Some(name) = reserved {
        return Err(Refusal::ReservedName { name: name.clone() });
    }
    headers.insert("impersonate-user", value(&subject.name)?);
    for group in &subject.groups {
        headers.append("impersonate-group", value(group)?);
    }
    if let Some(grant) = grant {
        headers.insert("impersonate-extra-portcullis.dev%2fgrant", value(grant)?);
    }
    headers.insert("impersonate-extra-portcullis.dev%2fsession", value(session)?);
    Ok(())
}

/// What is kept of the client's own `User-Agent`, in bytes. The API server's audit log cuts it off at 1,024 (apiserver
/// `maxUserAgentLength`), and its end is what counts here.
const USER_AGENT_KEPT: usize = 512;

/// Says at the end of `User-Agent`, which the API server's audit log has, for whom the gate asks: with an account that
/// all share, nothing else there would. Its beginning stays, since field managers are named after it.
pub(crate) fn set_on_behalf(
    headers: &mut HeaderMap,
    person: &str,
    grant: Option<&str>,
) -> Result<(), Refusal> {
    let own = headers.get(header::USER_AGENT).map_or(&b"unknown"[..], HeaderValue::as_bytes);
    let own = &own[..own.len().min(USER_AGENT_KEPT)];
    let grant = grant.map(|grant| format!("; {grant}")).unwrap_or_default();
    let named = format!(" portcullis ({}{grant})", escaped(person));
    let value = HeaderValue::from_bytes(&[own, named.as_bytes()].concat())
        .map_err(|_| Refusal::UnspeakableName { name: person.escape_debug().to_string() })?;
    headers.insert(header::USER_AGENT, value);
    Ok(())
}

/// A name within a comment of RFC 9110 §5.6.5: what could end the comment, or is not ASCII, as `%XX`.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@._-+:/#".contains(&byte);
    let each = name
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    each.collect()
}

pub(crate) fn value(text: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(text)
        .map_err(|_| Refusal::UnspeakableName { name: text.escape_debug().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn credentials_and_identity_claims_never_pass() {
        let mut map = headers(&[
            ("Authorization", "Bearer x"),
            ("Impersonate-User", "root"),
            ("Impersonate-Extra-scopes", "x"),
            ("Audit-ID", "mine"),
            ("X-Remote-User", "root"),
            ("X-Remote-Extra-foo", "root"),
            ("X-Forwarded-For", "1.1.1.1"),
            ("Connection", "x-secret, keep-alive, content-length"),
            ("X-Secret", "1"),
            ("Content-Length", "3"),
            ("Accept", "application/json"),
            ("Kubectl-Session", "abc"),
        ]);
        strip_request(&mut map);
        let mut left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "kubectl-session"]);
    }

    #[test]
    fn what_a_client_presents_passes_where_its_connection_is_forwarded() {
        let mut map = headers(&[
            ("Authorization", "Bearer theirs"),
            ("Cookie", "a=b"),
            ("X-Remote-User", "root"),
            ("Connection", "keep-alive"),
        ]);
        strip_forwarded(&mut map);
        assert_eq!(map, headers(&[("Authorization", "Bearer theirs"), ("Cookie", "a=b")]));
    }

    #[test]
    fn the_user_agent_ends_with_the_person() {
        let on_behalf = |agent: Option<&str>, name, grant| {
            let mut map = headers(&agent.map(|agent| ("User-Agent", agent)).into_iter().collect::<Vec<_>>());
            set_on_behalf(&mut map, name, grant).unwrap();
            map.get(header::USER_AGENT).unwrap().to_str().unwrap().to_owned()
        };
        let agent = "kubectl/v1.33.1 (linux/amd64) kubernetes/8adc0f0";
        assert_eq!(
            on_behalf(Some(agent), "alice", Some("g-41d0e2")),
            format!("{agent} portcullis (alice; g-41d0e2)")
        );
        assert_eq!(on_behalf(None, "al (x) ü", None), "unknown portcullis (al%20%28x%29%20%C3%BC)");
        let forged = format!("{} portcullis (bob)", "x".repeat(5000));
        let said = on_behalf(Some(&forged), "alice", None);
        assert!(said.len() < 1024 && said.ends_with("x portcullis (alice)"), "{said}");
    }

    #[test]
    fn what_means_something_once_is_there_once() {
        let twice = headers(&[("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]);
        assert_eq!(repeated(&twice), Some(header::CONTENT_ENCODING));
        let spdy = headers(&[
            ("X-Stream-Protocol-Version", "v4"),
            ("X-Stream-Protocol-Version", "v3"),
            ("Host", "a"),
        ]);
        assert_eq!(repeated(&spdy), None);
    }

    #[test]
    fn a_bearer_subprotocol_is_taken_out_and_the_others_stay() {
        let mut map = headers(&[
            ("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io.dG9r, v5.channel.k8s.io"),
            ("Sec-WebSocket-Protocol", "v4.channel.k8s.io"),
        ]);
        strip_request(&mut map);
        assert_eq!(map.get(SEC_WEBSOCKET_PROTOCOL).unwrap(), "v5.channel.k8s.io, v4.channel.k8s.io");
        let mut only = headers(&[("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io.dG9r")]);
        strip_request(&mut only);
        assert!(only.is_empty());
    }

    #[test]
    fn one_bearer_token_is_presented_or_none() {
        let token =
            |pairs: &[(&str, &str)]| bearer(&headers(pairs)).map(|token| token.map(|t| t.to_string()));
        assert_eq!(token(&[("Authorization", "bearer a.b.c")]).unwrap().as_deref(), Some("a.b.c"));
        assert_eq!(token(&[("Authorization", "Basic YTpi")]).unwrap(), None);
        let protocol =
            ("Sec-WebSocket-Protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.dG9r");
        assert_eq!(token(&[protocol]).unwrap().as_deref(), Some("tok"));
        assert!(token(&[protocol, ("Authorization", "Bearer x")]).is_err());
        assert!(token(&[("Authorization", "Bearer x"), ("Authorization", "Bearer y")]).is_err());
        for unreadable in [
            ("Authorization", "Bearer \u{fc}"),
            ("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io.!"),
            ("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io._w"),
        ] {
            assert!(matches!(token(&[unreadable]), Err(Refusal::UnreadableToken)), "{unreadable:?}");
        }
    }
}
