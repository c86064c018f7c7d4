//! One message of a client, read strictly.

use serde_json::{Map, Number, Value};

use crate::Fault;

/// What a request is known by; answers repeat it as it was spelled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Id {
    /// An integer.
    Number(Number),
    /// A string.
    Text(String),
}

/// What kind of message it is (JSON-RPC 2.0, sections 4 and 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Wants an answer.
    Request(Id),
    /// Wants none.
    Notification,
    /// The client's answer to a server's request.
    Response(Id),
}

/// The one thing that a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About<'a> {
    /// No single thing: `tools/list`, `ping`.
    Nothing,
    /// A tool, by name.
    Tool(&'a str),
    /// A resource, by URI.
    Resource(&'a str),
    /// A prompt, by name.
    Prompt(&'a str),
}

/// One message of a client.
#[derive(Debug, Clone)]
pub struct Message {
    kind: Kind,
    method: String,
    params: Map<String, Value>,
}

impl Message {
    /// Reads the body of a POST.
    ///
    /// # Errors
    /// Why it is no single, unambiguous message.
    pub fn read(_body: &[u8]) -> Result<Self, Fault> {
        unimplemented!()
    }

    /// What kind of message it is.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The method; empty for a response.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The one thing that it is about.
    #[must_use]
    pub fn about(&self) -> About<'_> {
        unimplemented!()
    }

    /// The parameters; empty where there are none.
    #[must_use]
    pub fn params(&self) -> &Map<String, Value> {
        &self.params
    }

    /// The arguments of a call.
    #[must_use]
    pub fn arguments(&self) -> Option<&Value> {
        self.params.get("arguments")
    }

    /// What progress notifications about it are known by.
    #[must_use]
    pub fn progress_token(&self) -> Option<&Value> {
        self.params.get("_meta")?.get("progressToken")
    }

    /// What the server gave the client to bring back (2026-07-28).
    #[must_use]
    pub fn request_state(&self) -> Option<&str> {
        self.params.get("requestState")?.as_str()
    }

    /// Whether the client says in this request that it has `capability` (2026-07-28).
    #[must_use]
    pub fn declares(&self, capability: &str) -> bool {
        let _ = capability;
        unimplemented!()
    }

    /// What an approval is for: SHA-256 over method and parameters.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        unimplemented!()
    }
}
