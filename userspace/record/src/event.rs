//! The vocabulary of a recording. It may grow: a reader takes an event that it does not know as plain JSON.

use std::net::SocketAddr;

use jiff::Timestamp;
use portcullis_identity::{Attestation, Subject};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::SessionId;

/// One thing that happened in a session. `request` and `connection` are numbers within the session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[expect(
    clippy::large_enum_variant,
    reason = "an event lives on the stack until it is written, never in a collection"
)]
pub enum Event {
    /// The first event: who, from which process, to where. Written by the recorder.
    SessionStarted(Box<SessionStarted>),
    /// The last event. Written by the recorder.
    SessionEnded {
        /// Why no more can come.
        reason: EndReason,
    },
    /// The process opened a connection.
    ConnectionOpened {
        /// Its number.
        connection: u32,
        /// The client's end.
        peer: SocketAddr,
        /// Where it was bound for.
        original_dst: SocketAddr,
        /// The application protocol that was agreed on, such as `h2`.
        #[serde(skip_serializing_if = "Option::is_none")]
        alpn: Option<String>,
    },
    /// A connection ended.
    ConnectionClosed {
        /// Its number.
        connection: u32,
        /// Why, where it was not just closed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// It was decided whether a request may go on.
    RequestDecided {
        /// Its number.
        request: u32,
        /// The connection that it came on.
        connection: u32,
        /// The id under which the API server's own audit log has it.
        audit_id: String,
        /// The HTTP method.
        method: String,
        /// Path and query, through [`redact_query`](crate::redact_query).
        path: String,
        /// The Kubernetes verb, as in an API server's `RequestInfo`; so are the next five.
        verb: String,
        /// Empty for the core group.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        api_group: String,
        /// Empty for a request that is about no resource.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        resource: String,
        /// Empty if there is none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        subresource: String,
        /// Empty if there is none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        namespace: String,
        /// Empty if there is none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        name: String,
        /// The command of an exec, word by word, redacted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        command: Vec<String>,
        /// The message to an MCP server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<Box<McpCall>>,
        /// What was decided.
        decision: Action,
        /// The role that decided it.
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<String>,
        /// Which of its rules, counted from zero.
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<usize>,
        /// The grant that made it possible.
        #[serde(skip_serializing_if = "Option::is_none")]
        grant: Option<String>,
        /// Why it was denied.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The id under which the denial can be asked from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        denial: Option<String>,
    },
    /// Fields of the answer are shown although they are masked for others.
    Unmasked {
        /// The request's number.
        request: u32,
        /// Who sees them.
        subject: String,
        /// The role that says so.
        role: String,
        /// The fields.
        paths: Vec<String>,
    },
    /// A request is to wait for a person's word. Nothing of it has gone to the target; what a write would change may
    /// be asked of it from now on (a dry run).
    HoldBegun {
        /// The request's number.
        request: u32,
        /// The connection that it came on.
        connection: u32,
        /// The HTTP method.
        method: String,
        /// Path and query, through [`redact_query`](crate::redact_query).
        path: String,
        /// The message to an MCP server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<Box<McpCall>>,
        /// The role that holds it.
        role: String,
        /// Which of its rules, counted from zero.
        rule: usize,
    },
    /// It waits.
    Held {
        /// The request's number.
        request: u32,
        /// The id under which it is decided.
        hold: String,
        /// SHA-256 over verb, request target and body, in hexadecimal.
        digest: String,
        /// What it would change, masked.
        #[serde(skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
    },
    /// It waits on without its client, which was told where to look and comes back with a request of its own (MCP
    /// 2026-07-28, `input_required`).
    InputRequired {
        /// The request's number.
        request: u32,
        /// The id under which it is decided.
        hold: String,
    },
    /// It waits no longer.
    HoldEnded {
        /// The request's number.
        request: u32,
        /// The id under which it was decided.
        hold: String,
        /// `approved`, `denied`, `expired`, `cancelled`.
        outcome: String,
        /// Who decided it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        by: Vec<String>,
        /// What they said.
        #[serde(skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
    },
    /// Masked values that came back in the body of a request were replaced by the live ones.
    Restored {
        /// The request's number.
        request: u32,
        /// How many.
        count: usize,
        /// The fields, or the first of them.
        paths: Vec<String>,
    },
    /// The answer to a request began.
    ResponseStarted {
        /// The request's number.
        request: u32,
        /// The HTTP status.
        status: u16,
        /// Its `Content-Type`.
        #[serde(skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
        /// Whether secrets in it were masked.
        masked: bool,
    },
    /// A request is over.
    RequestEnded {
        /// Its number.
        request: u32,
        /// The HTTP status, if an answer began.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Bytes from the client.
        bytes_in: u64,
        /// Bytes to the client.
        bytes_out: u64,
        /// Microseconds from its decision to its end.
        duration_us: u64,
        /// Objects and events that the role's filter left out of the answer.
        #[serde(default, skip_serializing_if = "is_zero")]
        left_out: u64,
        /// What cut it short.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A request became a stream.
    StreamOpened {
        /// Its number.
        request: u32,
        /// What kind of stream.
        kind: StreamKind,
        /// The subprotocol that was agreed on, such as `v5.channel.k8s.io`.
        protocol: String,
        /// The command of an exec, redacted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        command: Vec<String>,
        /// The container, where the request names it.
        #[serde(skip_serializing_if = "Option::is_none")]
        container: Option<String>,
        /// Whether it has a terminal.
        tty: bool,
    },
    /// The client's terminal has this size from now on.
    Resize {
        /// The stream's request.
        request: u32,
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// The command ended.
    Exit {
        /// The stream's request.
        request: u32,
        /// Its exit code, where the far end told it.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// What the far end said of it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// A stream ended.
    StreamClosed {
        /// Its request.
        request: u32,
    },
    /// We ended a stream that would have gone on: the grant expired or was revoked.
    Cut {
        /// Its request.
        request: u32,
        /// Why.
        reason: String,
    },
    /// A request was refused for another reason than its decision: ambiguous, no credential, not maskable.
    Refused {
        /// Its number, where it got one.
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<u32>,
        /// Why, in the words that the engineer read.
        reason: String,
    },
    /// Something else worth keeping.
    Note {
        /// What.
        text: String,
    },
    /// An event that this version does not know, or not in this form. Never written.
    #[serde(untagged)]
    Unknown(Map<String, Value>),
}

/// What a client asks of an MCP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpCall {
    /// `tools/call`, `resources/read`, `tools/list`…
    pub method: String,
    /// `tool`, `resource`, `prompt`; empty where it is about no single thing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub item: String,
    /// The tool's or prompt's name, the resource's URI.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The id of the request, as the client spelled it; nothing for what wants no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// The arguments, masked; a text that says how long they were, where that is too long to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
}

/// Who began a session, from which process, to where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStarted {
    /// The session's own name.
    pub session: SessionId,
    /// When it began; every later offset counts from here.
    pub started_at: Timestamp,
    /// The protected endpoint set.
    pub target: String,
    /// The person.
    pub subject: Subject,
    /// The process, as of its first connection.
    pub attestation: Attestation,
    /// The node.
    pub host: String,
    /// The node's boot (`/proc/sys/kernel/random/boot_id`): with pid and start time it names one process for ever.
    pub boot_id: String,
    /// The version of portcullis that wrote this.
    pub recorder: String,
}

/// Why a session takes no more events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EndReason {
    /// The process had no connection for the time that sessions linger.
    Idle,
    /// The recorder was closed.
    Shutdown,
}

/// What was decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// It may go on.
    Allow,
    /// It was refused.
    Deny,
}

/// What kind of stream a request became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StreamKind {
    /// `pods/exec`.
    Exec,
    /// `pods/attach`.
    Attach,
    /// `pods/portforward`.
    PortForward,
    /// `pods/log` with `follow`.
    Log,
    /// A watch.
    Watch,
}

/// Which way, and of what, a piece of data was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[repr(u8)]
pub enum Channel {
    /// What the engineer typed.
    Stdin = 0,
    /// What the command printed.
    Stdout = 1,
    /// What it complained.
    Stderr = 2,
    /// The body of an answer, as the client got it.
    Body = 3,
    /// The body of a request.
    ReqBody = 4,
    /// The error stream of an exec, attach or port-forward.
    Error = 5,
}

impl Channel {
    /// The channel's name in transcripts and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Body => "body",
            Self::ReqBody => "reqBody",
            Self::Error => "error",
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr, Self::Body, Self::ReqBody, Self::Error]
            .into_iter()
            .find(|channel| *channel as u8 == number)
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_tagged_and_in_camel_case() {
        let event = Event::ResponseStarted { request: 3, status: 200, content_type: None, masked: true };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, r#"{"type":"responseStarted","request":3,"status":200,"masked":true}"#);
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn takes_what_a_later_version_wrote() {
        let json = r#"{"type":"requestHeld","request":3,"until":"2026-11-23T17:01:02Z"}"#;
        let Event::Unknown(map) = serde_json::from_str(json).unwrap() else { panic!("not generic") };
        assert_eq!(map["type"], "requestHeld");
        let known_with_more = r#"{"type":"streamClosed","request":3,"halves":2}"#;
        assert_eq!(
            serde_json::from_str::<Event>(known_with_more).unwrap(),
            Event::StreamClosed { request: 3 }
        );
        let known_in_another_form =
            r#"{"type":"streamOpened","request":3,"kind":"debug","protocol":"","tty":true}"#;
        assert!(matches!(serde_json::from_str(known_in_another_form).unwrap(), Event::Unknown(_)));
    }

    #[test]
    fn channels_keep_their_numbers() {
        for number in 0..6 {
            assert_eq!(Channel::from_number(number).unwrap() as u8, number);
        }
        assert_eq!(Channel::from_number(6), None);
    }
}
