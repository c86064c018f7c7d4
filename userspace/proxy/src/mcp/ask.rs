//! A call that has to wait, and whose client takes elicitations by URL (2026-07-28), is answered at once with one: the
//! person looks at a page of the gate's own, and the client comes back for the rest with a state of the gate's own. Nobody
//! has to stay connected meanwhile.
//!
//! The state is the gate's alone. What the call had brought to its server is kept in it, and put back when it goes on.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Response, header};
use portcullis_access::{Hold, HoldId, ReviewTerms};
use portcullis_mcp::{Action, Era, Message, Owner, UrlElicitation};
use serde_json::{Map, Value};

use super::wait::reads_events;
use super::{Call, McpFault, McpServer, owner};
use crate::Proxy;
use crate::body::ResponseBody;
use crate::caller::Person;
use crate::classify::{Classified, Shape};

/// The key of the question among those of its answer, and what states of the gate begin with.
const KEY: &str = "portcullis";
/// The longest that is kept for a call of what it brought to its server, in bytes of JSON.
const LONGEST_KEPT: usize = 64 * 1024;

/// A client that comes back for a call that was held.
pub(crate) struct Returned {
    pub(crate) hold: HoldId,
    /// What its person did; nothing if it does not say.
    action: Option<Action>,
    /// What the call had brought to its server.
    pub(crate) kept: Map<String, Value>,
}

impl Returned {
    /// Whether the person does not want it any more.
    pub(crate) fn declines(&self) -> bool {
        matches!(self.action, Some(Action::Decline | Action::Cancel))
    }
}

/// Whether the client of a call that has to wait is asked to come back for it. One that has come back, and reads events,
/// waits on a stream: that is one request for it, and not one for each look.
pub(crate) fn asks(proxy: &Proxy, classified: &Classified) -> bool {
    let Shape::Call(call) = &classified.shape else { return false };
    let (Some(message), Era::Modern, Some(_)) = (&call.message, call.era, &proxy.hold_page) else {
        return false;
    };
    let waits = |returned: &Returned| {
        returned.action == Some(Action::Accept) && reads_events(&classified.head.headers)
    };
    let fits = || Value::from(message.brought_back()).to_string().len() <= LONGEST_KEPT;
    message.elicits_by_url() && !call.returned.as_ref().is_some_and(waits) && fits()
}

/// The answer that asks the client of a call to come back for it; nothing where [`asks`] is false.
pub(crate) fn answer(proxy: &Proxy, classified: &Classified, hold: &Hold) -> Option<Response<ResponseBody>> {
    let Shape::Call(call) = &classified.shape else { return None };
    let (message, page) = (call.message.as_ref()?, proxy.hold_page.as_ref()?);
    let question = UrlElicitation {
        key: KEY,
        message: &format!(
            "portcullis: {} of target {} is held as {} until {}. The page says where it stands. Accept to wait for it, \
             decline to withdraw it.",
            hold.operation,
            hold.target,
            hold.id,
            agreed(&hold.terms),
        ),
        url: &page(hold),
        state: &state(proxy, &classified.person, call, message, &hold.id),
    };
    let mut response = Response::new(ResponseBody::whole(question.answer(call.id()?).into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// What is waited for, in words.
fn agreed(ReviewTerms { required, groups, .. }: &ReviewTerms) -> String {
    let groups = groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match required {
        0 | 1 => format!("a member of {groups} agrees to it"),
        some => format!("{some} members of {groups} agree to it"),
    }
}

/// What the client of a call brings back: drawn by lot, remembered by its digest, and whose it is.
fn state(proxy: &Proxy, person: &Person, call: &Call, message: &Message, hold: &HoldId) -> String {
    let drawn: [u8; 24] = rand::random();
    let kept = URL_SAFE_NO_PAD.encode(Value::from(message.brought_back()).to_string());
    let state = format!("{KEY}.{}.{hold}.{kept}", URL_SAFE_NO_PAD.encode(drawn));
    proxy.mcp.issued.remember(&state, asked_of(person, &call.server, message), Instant::now());
    state
}

/// Whose a state of the gate's own is. No server can issue one: what it issues is somebody else's.
fn asked_of(person: &Person, server: &McpServer, message: &Message) -> Owner {
    owner(person, server, &[&b"held "[..], &message.fingerprint()].concat())
}

/// What a message comes back for, where its state is one that was given to this person for this request here.
///
/// # Errors
/// [`McpFault::Message`] where it does not say what its person did in words that are known.
pub(crate) fn returned(
    proxy: &Proxy,
    person: &Person,
    server: &McpServer,
    message: &Message,
) -> Result<Option<Returned>, McpFault> {
    let Some(state) = message.request_state() else { return Ok(None) };
    if !proxy.mcp.issued.is_owner(state, asked_of(person, server, message), Instant::now()) {
        return Ok(None);
    }
    let Some((hold, kept)) = read(state) else { return Ok(None) };
    Ok(Some(Returned { hold, action: message.action(KEY)?, kept }))
}

/// The hold that a state names, and what it keeps.
fn read(state: &str) -> Option<(HoldId, Map<String, Value>)> {
    let (kept_before, kept) = state.rsplit_once('.')?;
    let (_, hold) = kept_before.rsplit_once('.')?;
    Some((hold.parse().ok()?, serde_json::from_slice(&URL_SAFE_NO_PAD.decode(kept).ok()?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_to_agree_is_said_in_words() {
        let wait = std::time::Duration::from_secs(300);
        let terms =
            |required| ReviewTerms { required, groups: ["leads".to_owned(), "sre".to_owned()].into(), wait };
        assert_eq!(agreed(&terms(1)), "a member of leads, sre agrees to it");
        assert_eq!(agreed(&terms(2)), "2 members of leads, sre agree to it");
    }

    #[test]
    fn a_state_names_its_hold_and_keeps_what_the_call_had_brought() {
        let kept = r#"{"requestState":"a.b","inputResponses":{"q":{}}}"#;
        let encoded = URL_SAFE_NO_PAD.encode(kept);
        let (hold, found) = read(&format!("portcullis.x.h-7f3a9c.{encoded}")).unwrap();
        assert_eq!(hold.to_string(), "h-7f3a9c");
        assert_eq!(Value::from(found), serde_json::from_str::<Value>(kept).unwrap());
        for bad in
            ["", "portcullis", "a.b", "a.h-7f3a9c.!", "a.h-7f3a9c.e30x", "a.g-7f3a9c.e30", "h-7f3a9c.e30"]
        {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
