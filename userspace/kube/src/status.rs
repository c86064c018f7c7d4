//! `metav1.Status`: the answer that is not an object. Ours tell a person what was refused and why; the API server's are
//! read where they travel inside streams.

use serde::{Deserialize, Serialize};

/// `Status` of `meta/v1`. Fields that are empty are left out, as the API server does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `Status`; absent inside exec's error channel.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `v1`; absent inside exec's error channel.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// List metadata; empty in practice, but always there.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// `Success` or `Failure`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// What kubectl prints.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A word for programs: `Forbidden`, `Expired`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the reason needs to be understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// The HTTP status code; 0 where there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u16,
}

/// `StatusDetails` of `meta/v1`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The object's API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The object's resource; the API server says kind and means this.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Single causes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again, in seconds; 0 for not said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u16,
}

/// `StatusCause` of `meta/v1`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// A word for programs: `ExitCode`, `FieldValueInvalid`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The cause in words, or its value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field at fault.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl Status {
    /// 400: the request cannot be understood, or its spelling is refused.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 401: nobody knows who is asking.
    #[must_use]
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::failure(401, "Unauthorized", message)
    }

    /// 403: who is asking may not do this.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::failure(403, "Forbidden", message)
    }

    /// 406: no representation that may be handed out.
    #[must_use]
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::failure(406, "NotAcceptable", message)
    }

    /// 409: the object is not the one any more that the write is for; clients read it anew.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::failure(409, "Conflict", message)
    }

    /// 410: what a watch started from is gone; clients list anew.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 500: something failed here.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::failure(500, "InternalError", message)
    }

    /// 502: the API server could not be reached or did not make sense. The reason is the one that clients print as is.
    #[must_use]
    pub fn bad_gateway(message: impl Into<String>) -> Self {
        Self::failure(502, "InternalError", message)
    }

    /// 503: something needed is missing for now. Without a `Retry-After` header kubectl prints this at once; with one it
    /// retries in silence.
    #[must_use]
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// Names the object that was asked for.
    #[must_use]
    pub fn about(mut self, info: &crate::RequestInfo) -> Self {
        let details = self.details.get_or_insert_default();
        details.name.clone_from(&info.name);
        details.group.clone_from(&info.api_group);
        details.kind.clone_from(&info.resource);
        self
    }

    /// Adds a cause: a word for programs and its text.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>, message: impl Into<String>) -> Self {
        let cause = Cause { reason: reason.into(), message: message.into(), field: String::new() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// Parses a Status, whoever wrote it.
    ///
    /// # Errors
    /// When the JSON is not a Status.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The body of an answer and its content type.
    ///
    /// Where kubectl asks for discovery (see [`crate::RequestInfo::is_discovery`]) it shows a JSON Status as just
    /// "unknown", but prints a plain text; so there the message is the body.
    #[must_use]
    pub fn body(&self, discovery: bool) -> (&'static str, Vec<u8>) {
        if discovery {
            ("text/plain; charset=utf-8", format!("{}\n", self.message).into_bytes())
        } else {
            ("application/json", self.to_json())
        }
    }

    /// As JSON, without a line break.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::json!(self).to_string().into_bytes()
    }

    /// The exit code of the command, where exec's error channel carries one: 0 for success, else what the cause
    /// `ExitCode` says. `None` for a failure of anything but the command.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        if self.status == "Success" {
            return Some(0);
        }
        let causes = &self.details.as_ref()?.causes;
        causes.iter().find(|cause| cause.reason == "ExitCode")?.message.parse().ok()
    }

    fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: "Status".to_owned(),
            api_version: "v1".to_owned(),
            metadata: serde_json::Map::new(),
            status: "Failure".to_owned(),
            message: message.into(),
            reason: reason.to_owned(),
            details: None,
            code,
        }
    }
}

/// The last event of a watch that ends with a reason: one line of JSON with its line break.
#[must_use]
pub fn watch_error_event(status: &Status) -> Vec<u8> {
    let mut line = br#"{"type":"ERROR","object":"#.to_vec();
    line.extend(status.to_json());
    line.extend(b"}\n");
    line
}

/// The last event of a watch in protobuf (`application/vnd.kubernetes.protobuf;stream=watch`) that ends with a reason: its
/// length in four bytes, and a `WatchEvent` whose object is a `Status` in its envelope. Of the details it says nothing.
#[must_use]
pub fn watch_error_frame(status: &Status) -> Vec<u8> {
    let mut body = Vec::new();
    put(1, b"", &mut body);
    put(2, status.status.as_bytes(), &mut body);
    put(3, status.message.as_bytes(), &mut body);
    put(4, status.reason.as_bytes(), &mut body);
    body.push(6 << 3);
    put_varint(status.code.into(), &mut body);
    let mut object = b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Status".to_vec();
    put(2, &body, &mut object);
    let mut raw = Vec::new();
    put(1, &object, &mut raw);
    let mut event = Vec::new();
    put(1, b"ERROR", &mut event);
    put(2, &raw, &mut event);
    [&(event.len() as u32).to_be_bytes(), event.as_slice()].concat()
}

/// Appends a field of bytes.
fn put(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    put_varint(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn put_varint(mut value: usize, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(n: &u16) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_like_the_api_servers() {
        let info = crate::classify("GET", "/apis/apps/v1/namespaces/a/deployments/web").unwrap();
        let status = Status::forbidden("no").about(&info).because("Rule", "r1");
        let json = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no","reason":"Forbidden","details":{"name":"web","group":"apps","kind":"deployments","causes":[{"reason":"Rule","message":"r1"}]},"code":403}"#;
        assert_eq!(String::from_utf8(status.to_json()).unwrap(), json);
        assert_eq!(Status::parse(json.as_bytes()).unwrap(), status);
        assert_eq!(status.body(true), ("text/plain; charset=utf-8", b"no\n".to_vec()));
        assert_eq!(status.body(false).1, json.as_bytes());
    }

    #[test]
    fn exit_codes() {
        let code = |json: &str| Status::parse(json.as_bytes()).unwrap().exit_code();
        assert_eq!(code(r#"{"metadata":{},"status":"Success"}"#), Some(0));
        let causes = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        assert_eq!(code(causes), Some(3));
        assert_eq!(code(r#"{"status":"Failure","message":"Internal error occurred"}"#), None);
    }

    #[test]
    fn the_last_event_of_a_watch() {
        let event = watch_error_event(&Status::expired("the grant has expired"));
        assert!(event.ends_with(b"\"code\":410}}\n"));
        let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(event["object"]["reason"], "Expired");
    }

    #[test]
    fn the_last_event_of_a_watch_in_protobuf() {
        let frame = watch_error_frame(&Status::forbidden("no"));
        let status = b"\x0a\x00\x12\x07Failure\x1a\x02no\x22\x09Forbidden\x30\x93\x03";
        let object = [b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Status\x12\x1d", &status[..]].concat();
        assert_eq!(status.len(), 0x1d);
        let event = [b"\x0a\x05ERROR\x12\x33\x0a\x31", &object[..]].concat();
        assert_eq!(object.len(), 0x31);
        assert_eq!(frame, [&[0, 0, 0, 0x3c], &event[..]].concat());
    }
}
