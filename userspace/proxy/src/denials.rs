//! Recent refusals of streams. kubectl answers any refusal of a WebSocket exec by sending the same exec again as a
//! SPDY POST: both are refused, but it is one refusal in the log and the record.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::{Request, header};
use jiff::{SignedDuration, Timestamp};

use crate::caller::Caller;

/// kubectl retries at once; a person who runs the command again takes longer, and is a new process anyway.
const RETRY_WINDOW: SignedDuration = SignedDuration::from_secs(30);
/// More refusals than this at once are all recorded, retries included.
const REMEMBERED: usize = 4096;

/// What a refused stream and its retry have in common.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct RetryKey {
    pid: u32,
    start_time: u64,
    path_and_query: String,
    kubectl_session: Option<String>,
}

/// The key of a request for a stream; other requests are not retried.
pub(crate) fn key<B>(caller: &Caller, request: &Request<B>) -> Option<RetryKey> {
    request.headers().get(header::UPGRADE)?;
    let kubectl_session =
        request.headers().get("kubectl-session").and_then(|value| value.to_str().ok()).map(str::to_owned);
    Some(RetryKey {
        pid: caller.attestation().pid.0,
        start_time: caller.attestation().process.start_time,
        path_and_query: request.uri().path_and_query()?.to_string(),
        kubectl_session,
    })
}

/// The refusals of the last [`RETRY_WINDOW`].
#[derive(Default)]
pub struct Denials(Mutex<HashMap<RetryKey, (String, Timestamp)>>);

impl Denials {
    /// True when this refusal is not the echo of one just given for the same reason.
    pub(crate) fn first(&self, key: RetryKey, reason: &str, now: Timestamp) -> bool {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, (_, at)| now.duration_since(*at) < RETRY_WINDOW);
        if recent.get(&key).is_some_and(|(told, _)| told == reason) {
            return false;
        }
        if recent.len() < REMEMBERED {
            recent.insert(key, (reason.to_owned(), now));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> RetryKey {
        RetryKey { pid: 1, start_time: 2, path_and_query: path.to_owned(), kubectl_session: None }
    }

    #[test]
    fn a_retry_is_told_from_a_second_attempt() {
        let denials = Denials::default();
        let now = Timestamp::UNIX_EPOCH;
        assert!(denials.first(key("/exec"), "no grant", now));
        assert!(!denials.first(key("/exec"), "no grant", now));
        assert!(denials.first(key("/exec"), "revoked", now), "another reason is news");
        assert!(denials.first(key("/attach"), "no grant", now), "another path is news");
        assert!(denials.first(key("/attach"), "no grant", now + RETRY_WINDOW), "later it is a new attempt");
    }
}
