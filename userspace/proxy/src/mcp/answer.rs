//! What becomes of an MCP server's answer: messages one by one, lists without what the person may not call, everything
//! masked; and plain HTTP as what it says it is.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use portcullis_access::{Facts, McpItem, Operation, Query};
use portcullis_mask::{BodyMasker, MaskError};
use portcullis_mcp::{
    About, AnswerBody, AnswerFault, BodyKind, Era, Message, MessageMasker, Outbound, Owner, Passed, Visible,
};

use super::{Call, item, owner};
use crate::Proxy;
use crate::caller::Person;
use crate::refusal::Refusal;

const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";

/// The messages of one answer.
pub(crate) struct Messages {
    body: AnswerBody,
    told: Vec<Passed>,
    left_out: u64,
    proxy: Arc<Proxy>,
    /// Who may bring back what the answer asks to be brought back, which answers do since 2026-07-28.
    owner: Option<Owner>,
}

impl Messages {
    /// Takes bytes as they come and appends what the client may see to `out`; the last of them end the answer.
    pub(crate) fn push(&mut self, data: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), AnswerFault> {
        self.body.push(data, out, &mut self.told)?;
        if last {
            self.body.finish(out, &mut self.told)?;
        }
        for passed in self.told.drain(..) {
            self.left_out += passed.left_out;
            if let (Some(state), Some(owner)) = (passed.request_state, self.owner) {
                self.proxy.mcp.issued.remember(&state, owner, Instant::now());
            }
        }
        Ok(())
    }

    /// How many entries of lists were left out so far.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// What an answer of an MCP server goes through.
pub(crate) enum Way {
    Messages(Box<Messages>),
    Text(BodyMasker),
    /// Pictures, sounds and fonts, of which nothing is read.
    AsItIs,
}

/// What an answer to `call` goes through, or to plain HTTP where there is none.
///
/// # Errors
/// When it is of a type that is not read here: it is withheld.
pub(crate) fn way(
    proxy: &Arc<Proxy>,
    person: &Arc<Person>,
    call: Option<&Call>,
    masked: bool,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Way, Refusal> {
    let of = |name| headers.get(name).map_or("", |value: &HeaderValue| value.to_str().unwrap_or("not ASCII"));
    let (content_type, coding) = (of(header::CONTENT_TYPE), of(header::CONTENT_ENCODING));
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let withheld = || Refusal::UnmaskableType { content_type: content_type.to_owned() };
    let of_call = call.is_some();
    let call = call.filter(|call| status.is_success() && (call.message.is_some() || essence == EVENTS));
    let Some(call) = call else {
        if !masked || BodyMasker::is_picture(content_type) {
            return Ok(Way::AsItIs);
        }
        // What a call is answered with an error is still a message.
        let rules =
            if of_call { proxy.profile.borrow().for_mcp() } else { proxy.profile.borrow().for_data() };
        return BodyMasker::for_web(content_type, coding, rules, &proxy.mask_key).map(Way::Text).map_err(
            |error| match error {
                MaskError::Type(_) => withheld(),
                other => other.into(),
            },
        );
    };
    if !matches!(coding, "" | "identity") {
        return Err(Refusal::from(MaskError::Coding(coding.to_owned())));
    }
    let kind = match essence.as_str() {
        // Some servers do not say.
        JSON | "" => BodyKind::Json,
        EVENTS => BodyKind::Events,
        _ => return Err(withheld()),
    };
    let keeper = Arc::new(MessageMasker::new(&proxy.profile.borrow(), &proxy.mask_key, &call.server.blobs));
    let masker = if masked { Arc::clone(&keeper) } else { Arc::new(MessageMasker::unmasked()) };
    let pins = proxy.mcp.pins(&call.server.name).map_err(super::McpFault::from)?;
    let visible = visible(proxy, person, call);
    let outbound = Outbound::new(call.message.as_ref(), call.era, visible, pins, masker, keeper);
    let owner = (call.era == Era::Modern).then(|| {
        let fingerprint = call.message.as_ref().map(Message::fingerprint);
        owner(person, &call.server, fingerprint.as_ref().map_or(&[], |of| of))
    });
    let body = AnswerBody::new(kind, outbound);
    let messages = Messages { body, told: Vec::new(), left_out: 0, proxy: Arc::clone(proxy), owner };
    Ok(Way::Messages(Box::new(messages)))
}

/// Whether a thing in a list is shown: whether it may be called, read or got, with some arguments at least.
fn visible(proxy: &Arc<Proxy>, person: &Arc<Person>, call: &Call) -> Visible {
    let snapshot = Arc::clone(&proxy.snapshots.borrow());
    let (person, server, now) = (Arc::clone(person), Arc::clone(&call.server), proxy.clock.now());
    let facts = Facts { process: Some(Arc::clone(&person.connection.process)), ..Facts::default() };
    Arc::new(move |about: About<'_>| {
        let (subject, target) = (&person.subject, server.name.as_str());
        match about {
            About::Nothing => true,
            About::ResourcesUnder(prefix) => snapshot.may_read_some(subject, target, prefix, &facts, now),
            about => {
                let (item, name) = item(about);
                let (method, name) = (method(item).to_owned(), name.to_owned());
                let operation = Operation::Mcp { method, item, name };
                snapshot.may_call(&Query { subject, target, operation: &operation, facts: &facts }, now)
            }
        }
    })
}

/// The method that uses a thing of a list.
fn method(item: McpItem) -> &'static str {
    match item {
        McpItem::Tool => "tools/call",
        McpItem::Prompt => "prompts/get",
        McpItem::Resource | McpItem::None => "resources/read",
    }
}
