//! The control socket, through which engineers ask and approvers decide: one JSON line in, one JSON line out. The caller
//! is whom the kernel says (`SO_PEERCRED`), never what the line says.

mod client;
mod commands;
mod server;

pub(crate) use client::ask;
pub(crate) use commands::Commands;
pub(crate) use server::{listen, serve};

use portcullis_access::{DenialId, GrantId, Operation, RequestId, RoleName, Selection};
use serde::{Deserialize, Serialize};

/// A line from a command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Ask {
    WhoAmI,
    /// What `trust install` needs: the CA and what the targets are called.
    Trust,
    Request {
        role: RoleName,
        target: Option<String>,
        seconds: u64,
        reason: String,
    },
    /// As denied, by the id that the denial was given.
    RequestFrom {
        denial: DenialId,
        seconds: Option<u64>,
        reason: String,
    },
    Extend {
        id: GrantId,
        seconds: u64,
        reason: String,
    },
    Requests {
        all: bool,
    },
    Approve {
        id: RequestId,
        comment: String,
    },
    Deny {
        id: RequestId,
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
    },
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
