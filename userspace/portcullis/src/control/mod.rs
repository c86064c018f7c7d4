//! The control socket, through which engineers ask and approvers decide: one JSON line in, one JSON line out. The caller
//! is whom the kernel says (`SO_PEERCRED`), never what the line says.

mod client;
mod commands;
mod logins;
mod server;

pub(crate) use client::ask;
pub(crate) use commands::Commands;
pub(crate) use server::{listen, serve};

use std::fmt;

use jiff::Timestamp;
use portcullis_access::{Decidable, DenialId, GrantId, Operation, RoleName, Selection};
use portcullis_identity::Subject;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// A line from a command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Ask {
    WhoAmI,
    /// Begin a login whose code the person types at the provider, on any device.
    LoginDevice {
        /// By name; else the first one that is configured.
        issuer: Option<String>,
    },
    /// Begin a login in a browser on this host, which comes back to this port of the loopback address.
    LoginBrowser {
        issuer: Option<String>,
        port: u16,
    },
    /// Ask whether the person has confirmed a device login.
    LoginWait {
        login: String,
    },
    /// What the browser came back with.
    LoginFinish {
        login: String,
        code: Code,
        state: String,
    },
    Logout,
    /// What `trust install` needs: the CA and what the targets are called.
    Trust,
    Request {
        role: RoleName,
        target: Option<String>,
        seconds: u64,
        starts_at: Option<Timestamp>,
        reason: String,
        emergency: bool,
    },
    /// As denied, by the id that the denial was given.
    RequestFrom {
        denial: DenialId,
        seconds: Option<u64>,
        starts_at: Option<Timestamp>,
        reason: String,
        emergency: bool,
    },
    Extend {
        id: GrantId,
        seconds: u64,
        reason: String,
    },
    /// Requests for access, and held requests.
    Requests {
        all: bool,
    },
    Approve {
        id: Decidable,
        comment: String,
    },
    Deny {
        id: Decidable,
        comment: String,
    },
    Revoke {
        id: GrantId,
        reason: String,
    },
    RevokeAll {
        selection: Selection,
        reason: String,
    },
    Grants {
        all: bool,
    },
    /// What would be decided now, if the caller asked this of `target`.
    Explain {
        target: String,
        operation: Operation,
        /// The command of an exec; empty for none.
        command: Vec<String>,
        /// The arguments of an MCP request.
        arguments: Option<Map<String, Value>>,
    },
}

/// An authorization code; good for a token until it is used, so it is not shown.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Code(pub(crate) Zeroizing<String>);

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Who somebody is, and until when that is known.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Whoami {
    #[serde(flatten)]
    pub(crate) subject: Subject,
    /// Nothing where it does not run out.
    pub(crate) until: Option<Timestamp>,
}

/// How a device login goes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum DevicePoll {
    /// Ask again after this many milliseconds.
    Pending(u64),
    Done(Whoami),
}

/// What would be decided.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explained {
    pub(crate) allowed: bool,
    /// In words.
    pub(crate) message: String,
    /// A `portcullis_access::Decision`, for scripts.
    pub(crate) decision: serde_json::Value,
}

/// The daemon's line back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer<T> {
    Done(T),
    Refused(String),
}

/// What an engineer's kubeconfig needs to know.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrustAnchor {
    /// The interception CA's certificate.
    pub(crate) certificate_pem: String,
    /// Host and port of every endpoint.
    pub(crate) endpoints: Vec<(String, u16)>,
}
