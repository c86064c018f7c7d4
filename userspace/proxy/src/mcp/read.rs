//! Reads a request to an MCP server: a message at its endpoint, or plain HTTP anywhere else. What two readers could take
//! for two different things is refused (Law 6).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use portcullis_access::{Decision, Facts, McpItem, Operation, Query, decide};
use portcullis_identity::Share;
use portcullis_kube::RequestInfo;
use portcullis_mcp::{Era, Fault, Kind, Message, bringing_back, check_headers, origin_allowed, placeholders};
use portcullis_tls::Name;

use super::{Asked, Call, Changed, McpFault, McpServer, ask, item, owner, wants_answer};
use crate::Proxy;
use crate::caller::Person;
use crate::classify::{Body, Classified, Shape, target_of};
use crate::refusal::{Refusal, Refused, Wording};
use crate::sent::SentBody;

/// The longest message of a client, in bytes.
const LIMIT: usize = 4 * 1024 * 1024;
/// Messages up to here are read without asking for a place among those of the uid.
const SMALL: usize = 64 * 1024;
/// How long a client may take to send one.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where the pages are that may call a server at the end of a port-forward.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const SESSION: &str = "mcp-session-id";
const LAST_EVENT: &str = "last-event-id";

/// The methods under which roles know what is no message: the stream of a session, its end, and what a client answers
/// to a server's request.
const STREAM: &str = "session/stream";
const END: &str = "session/end";
const RESPONSE: &str = "response";
/// Listens for news, of resources among others (2026-07-28), and subscribes to one.
const LISTEN: &str = "subscriptions/listen";
const SUBSCRIBE: &str = "resources/subscribe";

/// Reads a request that is for an MCP server, and whose line `info` is.
pub(crate) async fn read(
    proxy: &Proxy,
    person: Arc<Person>,
    asked: Asked,
    info: RequestInfo,
    request: Request<SentBody>,
) -> Result<Classified, Refused> {
    let Asked { server, path, behind } = asked;
    let target = target_of(&request);
    let (mut head, body) = request.into_parts();
    if !behind {
        for_this_server(&person, &server, &mut head)?;
    }
    if let Some(protocol) = head.headers.get(header::UPGRADE) {
        let protocol = String::from_utf8_lossy(protocol.as_bytes()).into_owned();
        return Err(Refusal::Upgrade { protocol }.into());
    }
    let mut facts = Facts { process: Some(Arc::clone(&person.connection.process)), ..Facts::default() };
    let endpoint = is_endpoint(&info.path, &path)?;
    let (operation, shape, body) = match head.method {
        _ if !endpoint => {
            let operation = Operation::NonResource { verb: info.verb.clone(), path: info.path.clone() };
            (operation, Shape::Web, Body::Streaming(body))
        }
        Method::POST => {
            json_only(&head.headers)?;
            let (bytes, place) = whole(proxy, &person, body).await?;
            let message = Message::read(&bytes).map_err(misread)?;
            let worded = |fault: McpFault| Refused {
                wording: Some(Wording::Rpc(wants_answer(&message).cloned())),
                ..Refused::from(Refusal::from(fault))
            };
            let call = call(proxy, &person, &server, &mut head.headers, &message).map_err(worded)?;
            let (bytes, message) = match &call.returned {
                None => (bytes, message),
                Some(returned) => {
                    // What is the gate's own stays here: from now on it is the call that was held.
                    head.headers.remove(header::CONTENT_LENGTH);
                    let held = bringing_back(&bytes, &returned.kept).map_err(misread)?;
                    let message = Message::read(&held).map_err(misread)?;
                    (held.into(), message)
                }
            };
            if let Some(id) = message.cancels() {
                proxy.mcp.withdraw(&person, &call, &id);
            }
            facts.arguments = message.arguments().cloned().map(Arc::new);
            let operation = operation(proxy, &person, &server, &facts, &message);
            let shape = Shape::Call(Box::new(Call { message: Some(message), ..call }));
            (operation, shape, Body::Whole { bytes, restored: None, _place: place })
        }
        Method::GET | Method::DELETE
            if Era::declared(&head.headers).map_err(McpFault::from)? == Era::Legacy =>
        {
            let session = in_session(proxy, &person, &server, &head.headers)?;
            let ends = head.method == Method::DELETE;
            let method = if ends { END } else { STREAM };
            let (message, changed, returned) = Default::default();
            let call = Call { server, message, era: Era::Legacy, session, ends, changed, returned };
            (of_method(method), Shape::Call(Box::new(call)), Body::Streaming(body))
        }
        _ => {
            let (method, path) = (head.method.to_string(), info.path);
            return Err(Refusal::from(McpFault::Method { method, path }).into());
        }
    };
    Ok(Classified { person, head, body, info, target, operation, facts, shape, upgrade: None })
}

/// The refusal of what is no message, in answer to the request that it was meant to be, if that can be told.
fn misread(fault: Fault) -> Refused {
    let wording = Some(Wording::Rpc(fault.id().cloned()));
    Refused { wording, ..Refused::from(Refusal::from(McpFault::from(fault))) }
}

/// Whether `path` is the endpoint. One that is so only without regard to case is not guessed about.
pub(super) fn is_endpoint(path: &str, endpoint: &str) -> Result<bool, McpFault> {
    let (asked, own) = (path.trim_end_matches('/'), endpoint.trim_end_matches('/'));
    match asked.eq_ignore_ascii_case(own) {
        true if asked != own => Err(McpFault::Path(path.to_owned())),
        same => Ok(same),
    }
}

/// The head of a request that names this server and comes from nobody else's web page; the host is kept for the way up.
fn for_this_server(person: &Person, server: &McpServer, head: &mut Parts) -> Result<(), Refusal> {
    let connection = &person.connection;
    if connection.forwarded.is_some() {
        // What clients call their end of a port-forward is their own affair.
        return of_own_page(&head.headers, server, LOCAL);
    }
    let target = &connection.route.target;
    let authority = head.uri.authority().map(|authority| authority.as_str().to_owned());
    let host = match (head.headers.get(header::HOST), authority) {
        (Some(host), _) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
        (None, Some(authority)) => authority,
        (None, None) => String::new(),
    };
    let named = |name: Name| target.names.contains(&name);
    if !host_of(&host).parse().is_ok_and(named) {
        return Err(McpFault::Host(host).into());
    }
    let value = HeaderValue::from_str(&host).map_err(|_| McpFault::Header("Host"))?;
    head.headers.insert(header::HOST, value);
    of_own_page(&head.headers, server, target.names.iter())
}

/// Refuses what a web page asks that is neither at one of these hosts nor one of those that the server lets in.
fn of_own_page(
    headers: &HeaderMap,
    server: &McpServer,
    own: impl IntoIterator<Item: ToString>,
) -> Result<(), Refusal> {
    let Some(origin) = one(headers, "origin")? else { return Ok(()) };
    let own: Vec<String> = own.into_iter().map(|host| host.to_string()).collect();
    if origin_allowed(&origin, &own, &server.origins) {
        return Ok(());
    }
    Err(McpFault::Origin(origin).into())
}

/// The host of `host[:port]`.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    }
}

/// The value of a header that is there once.
fn one(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, McpFault> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value.to_owned())),
        _ => Err(McpFault::Header(name)),
    }
}

fn json_only(headers: &HeaderMap) -> Result<(), McpFault> {
    let content_type = one(headers, "content-type")?.unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let coding = one(headers, "content-encoding")?.unwrap_or_default();
    match essence.eq_ignore_ascii_case("application/json") && matches!(&*coding, "" | "identity") {
        true => Ok(()),
        false => Err(McpFault::Type(format!("{content_type} {coding}").trim().to_owned())),
    }
}

async fn whole(
    proxy: &Proxy,
    person: &Person,
    mut body: SentBody,
) -> Result<(Bytes, Option<Share>), Refusal> {
    let uid = person.connection.attestation.uid;
    let reading = async {
        let (mut whole, mut place) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::BodyUnreadable(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = whole.len() + data.len();
            if length > LIMIT {
                return Err(McpFault::TooLarge(LIMIT).into());
            }
            if length > SMALL && place.is_none() {
                place = Some(proxy.limits.held_write(uid).ok_or(Refusal::TooManyWrites)?);
            }
            whole.extend_from_slice(&data);
        }
        Ok((whole.freeze(), place))
    };
    let late = || Refusal::BodyUnreadable(format!("it did not come in {TIMEOUT:?}"));
    tokio::time::timeout(TIMEOUT, reading).await.map_err(|_| late())?
}

/// What a message is beside its operation, once everything about it was found to be in order.
fn call(
    proxy: &Proxy,
    person: &Person,
    server: &Arc<McpServer>,
    headers: &mut HeaderMap,
    message: &Message,
) -> Result<Call, McpFault> {
    let pins = proxy.mcp.pins(&server.name)?;
    let pinned = match item(message.about()) {
        (McpItem::Tool, tool) => pins.tool(tool).map(|pinned| (tool, pinned)),
        _ => None,
    };
    let current = pinned.as_ref().map(|(_, pinned)| pinned.changed.as_ref().unwrap_or(&pinned.definition));
    let era = check_headers(message, headers, current)?;
    // Which arguments they repeat, its definition would say.
    if current.is_none() && headers.keys().any(|name| name.as_str().starts_with("mcp-param-")) {
        return Err(McpFault::Unlisted);
    }
    let session = match era {
        Era::Legacy if message.method() != "initialize" => in_session(proxy, person, server, headers)?,
        // There are none yet, or none in this era, and a server of both eras could take one for a request of the other.
        Era::Legacy | Era::Modern => {
            headers.remove(SESSION);
            headers.remove(LAST_EVENT);
            None
        }
    };
    let returned = match era {
        Era::Modern => ask::returned(proxy, person, server, message)?,
        Era::Legacy => None,
    };
    if let Some(state) = message.request_state().filter(|_| returned.is_none()) {
        let whose = owner(person, server, &message.fingerprint());
        if !proxy.mcp.issued.is_owner(state, whose, Instant::now()) {
            return Err(McpFault::RequestState);
        }
    }
    let brought_back = message.params().iter().find_map(|(name, value)| {
        placeholders(value).map(|place| format!("{name}{}", place.trim_start_matches('$')))
    });
    if let Some(place) = brought_back {
        return Err(McpFault::Placeholder(place));
    }
    let changed = pinned.and_then(|(tool, pinned)| {
        let now = pinned.changed?;
        Some(Changed { tool: tool.to_owned(), pinned: pinned.definition, now })
    });
    let (server, message, ends) = (Arc::clone(server), None, false);
    Ok(Call { server, message, era, session, ends, changed, returned })
}

/// A session id that comes back is that of the person to whom it was given. A server may do without sessions.
fn in_session(
    proxy: &Proxy,
    person: &Person,
    server: &McpServer,
    headers: &HeaderMap,
) -> Result<Option<String>, McpFault> {
    match one(headers, SESSION)? {
        Some(session) => {
            let whose = owner(person, server, b"session");
            let theirs = proxy.mcp.issued.used_by(&session, whose, Instant::now());
            theirs.then_some(Some(session)).ok_or(McpFault::Session)
        }
        None if headers.contains_key(LAST_EVENT) => Err(McpFault::Resumed),
        None => Ok(None),
    }
}

/// Remembers whose the session is that an answer begins, and forgets the one that a request has ended.
pub(crate) fn note_session(proxy: &Proxy, person: &Person, call: &Call, answer: &HeaderMap) {
    if call.ends {
        call.session.iter().for_each(|session| proxy.mcp.issued.forget(session));
    } else if call.message.as_ref().is_some_and(|message| message.method() == "initialize")
        && let Ok(Some(session)) = one(answer, SESSION)
    {
        proxy.mcp.issued.remember(&session, owner(person, &call.server, b"session"), Instant::now());
    }
}

fn operation(
    proxy: &Proxy,
    person: &Person,
    server: &McpServer,
    facts: &Facts,
    message: &Message,
) -> Operation {
    if let Kind::Response(_) = message.kind() {
        return of_method(RESPONSE);
    }
    if message.method() == LISTEN {
        return listening(proxy, person, server, facts, message);
    }
    let (item, name) = item(message.about());
    Operation::Mcp { method: message.method().to_owned(), item, name: name.to_owned() }
}

/// Who listens for news of resources subscribes to each of them: what is decided is the first that is not simply allowed,
/// or else the first, whose grant then is that of the stream.
fn listening(
    proxy: &Proxy,
    person: &Person,
    server: &McpServer,
    facts: &Facts,
    message: &Message,
) -> Operation {
    let mut each = message.subscribes_to().map(|uri| Operation::Mcp {
        method: SUBSCRIBE.to_owned(),
        item: McpItem::Resource,
        name: uri.to_owned(),
    });
    let (snapshot, now) = (Arc::clone(&proxy.snapshots.borrow()), proxy.clock.now());
    let is_allowed = |operation: &Operation| {
        let query = Query { subject: &person.subject, target: &server.name, operation, facts };
        matches!(decide(&snapshot, &query, now), Decision::Allow(_))
    };
    let first = each.next();
    match first {
        Some(first) if is_allowed(&first) => each.find(|other| !is_allowed(other)).unwrap_or(first),
        Some(first) => first,
        None => of_method(LISTEN),
    }
}

fn of_method(method: &str) -> Operation {
    Operation::Mcp { method: method.to_owned(), item: McpItem::None, name: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_one_path() {
        for (path, is) in
            [("/mcp", true), ("/mcp/", true), ("/mcp/x", false), ("/health", false), ("/", false)]
        {
            assert_eq!(is_endpoint(path, "/mcp").unwrap(), is, "{path}");
        }
        assert!(is_endpoint("/", "/").unwrap());
        assert!(is_endpoint("/MCP", "/mcp").is_err());
    }

    #[test]
    fn hosts_are_read_without_their_ports() {
        for (authority, host) in [
            ("a.test", "a.test"),
            ("a.test:8080", "a.test"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
        ] {
            assert_eq!(host_of(authority), host);
        }
    }
}
