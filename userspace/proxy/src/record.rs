//! What one request leaves in its session's recording.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use portcullis_access::{Operation, RecordLevel};
use portcullis_mcp::{BlobPolicy, Id, MessageMasker};
use portcullis_record::{Channel, Event, Item, McpCall, RecordError, SessionHandle};
use serde_json::Value;

use crate::Proxy;
use crate::classify::{Classified, Shape};

/// The longest arguments of a call that are kept, in bytes of JSON.
const LONGEST_ARGUMENTS: usize = 64 * 1024;

/// The open record of one request. Nothing is forwarded without one; dropping it unfinished closes it as abandoned.
pub(crate) struct RequestRecord {
    session: SessionHandle,
    number: u32,
    level: RecordLevel,
    started: Instant,
    status: Option<u16>,
    /// The answer's beginning, until it is written with the first bytes.
    begun: Option<Event>,
    received: Arc<AtomicU64>,
    sent: u64,
    left_out: u64,
    open: bool,
}

impl RequestRecord {
    /// Opens the record with the event of the decision, which is on its way to disk when this returns.
    pub(crate) fn open(
        session: SessionHandle,
        number: u32,
        level: RecordLevel,
        decided: &Event,
    ) -> Result<Self, RecordError> {
        session.event(decided)?;
        Ok(Self {
            session,
            number,
            level,
            started: Instant::now(),
            status: None,
            begun: None,
            received: Arc::default(),
            sent: 0,
            left_out: 0,
            open: true,
        })
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Where the request body's bytes are counted.
    pub(crate) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    pub(crate) fn event(&self, event: &Event) -> Result<(), RecordError> {
        self.session.event(event)
    }

    /// The answer has begun. Written together with what follows; [`tell_begun`](Self::tell_begun) where that may
    /// take its time.
    pub(crate) fn begun(&mut self, status: u16, content_type: Option<String>, masked: bool) {
        self.status = Some(status);
        self.begun = Some(Event::ResponseStarted { request: self.number, status, content_type, masked });
    }

    /// Writes that the answer has begun, if that is still to be told.
    pub(crate) fn tell_begun(&mut self) -> Result<(), RecordError> {
        self.begun.take().map_or(Ok(()), |begun| self.session.event(&begun))
    }

    /// Bytes that go to the client, after masking; the `last` ones close the record.
    pub(crate) fn sent(&mut self, bytes: &[u8], last: bool) -> Result<(), RecordError> {
        self.sent += bytes.len() as u64;
        let ended = if last { self.close(None) } else { None };
        let body = Item::Data { request: self.number, channel: Channel::Body, bytes };
        let body = (self.level == RecordLevel::Full).then_some(body);
        self.append(body, ended.as_ref())
    }

    /// So many objects were left out of the answer so far.
    pub(crate) fn left_out(&mut self, objects: u64) {
        self.left_out = objects;
    }

    /// Counts bytes that went to the client in an upgraded stream, whose content is recorded by channel.
    pub(crate) fn passed(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Bytes of a stream, kept when the grant asks for a full recording.
    pub(crate) fn data(&self, channel: Channel, bytes: &[u8]) -> Result<(), RecordError> {
        match self.level {
            RecordLevel::Full => self.session.data(self.number, channel, bytes),
            RecordLevel::Metadata => Ok(()),
        }
    }

    /// Closes the record; `error` says what cut the request short.
    pub(crate) fn end(&mut self, error: Option<String>) -> Result<(), RecordError> {
        let ended = self.close(error);
        self.append(None, ended.as_ref())
    }

    /// What closes the record, the first time.
    fn close(&mut self, error: Option<String>) -> Option<Event> {
        std::mem::take(&mut self.open).then(|| Event::RequestEnded {
            request: self.number,
            status: self.status,
            bytes_in: self.received.load(Ordering::Relaxed),
            bytes_out: self.sent,
            duration_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            left_out: self.left_out,
            error,
        })
    }

    /// Writes what there is of: the answer's beginning, a piece of it, the end of the request.
    fn append(&mut self, body: Option<Item<'_>>, ended: Option<&Event>) -> Result<(), RecordError> {
        let begun = self.begun.take();
        let items = [begun.as_ref().map(Item::Event), body, ended.map(Item::Event)];
        let items: Vec<Item<'_>> = items.into_iter().flatten().collect();
        self.session.append(&items)
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if let Err(error) = self.end(Some("the client went away".to_owned())) {
            tracing::error!(%error, request = self.number, "the end of a request could not be recorded");
        }
    }
}

/// A call as it is kept, of a request that is one.
pub(crate) fn called(classified: &Classified) -> Option<Box<McpCall>> {
    let Classified { person, operation, facts, shape, .. } = classified;
    let Shape::Call(call) = shape else { return None };
    let (method, item, name) = match operation {
        Operation::Mcp { method, item, name } => (method.clone(), item.as_str().to_owned(), name.clone()),
        other => (other.verb().to_owned(), String::new(), String::new()),
    };
    let id = call.id().map(|id| match id {
        Id::Number(number) => Value::Number(number.clone()),
        Id::Text(text) => Value::String(text.clone()),
    });
    let arguments = facts.arguments.as_deref().map(|arguments| shown(&person.connection.proxy, arguments));
    Some(Box::new(McpCall { method, item, name, id, arguments }))
}

/// A client's arguments as others may see them: what looks like a secret is masked. Where they cannot be shown, a text in
/// their place says so.
pub(crate) fn shown(proxy: &Proxy, arguments: &Value) -> Value {
    let masker = MessageMasker::new(&proxy.profile.borrow(), &proxy.mask_key, &BlobPolicy::default());
    masked(&masker, arguments).unwrap_or_else(|why| Value::String(format!("(not shown: {why})")))
}

fn masked(masker: &MessageMasker, arguments: &Value) -> Result<Value, String> {
    let text = arguments.to_string();
    if text.len() > LONGEST_ARGUMENTS {
        return Err(format!("{} bytes", text.len()));
    }
    let mut masked = Vec::with_capacity(text.len());
    masker.mask(text.as_bytes(), &mut masked).map_err(|error| error.to_string())?;
    if masked == text.as_bytes() {
        return Ok(arguments.clone());
    }
    serde_json::from_slice(&masked).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_masked_or_said_not_to_be_shown() {
        let key = portcullis_mask::MaskKey::from_bytes([7; 32]);
        let profile = portcullis_mask::Profile::default();
        let masker = MessageMasker::new(&profile, &key, &BlobPolicy::default());
        let plain = json!({"path": "/srv/app", "limit": 3});
        assert_eq!(masked(&masker, &plain).unwrap(), plain);
        let shown = masked(&masker, &json!({"path": "/srv", "password": "Tr0ub4dor&3xyz"})).unwrap();
        assert_eq!(shown["path"], "/srv");
        assert!(shown["password"].as_str().unwrap().starts_with("portcullis-masked:"), "{shown}");
        let long = json!({"text": "x".repeat(LONGEST_ARGUMENTS)});
        assert!(masked(&masker, &long).unwrap_err().ends_with(" bytes"));
    }
}
