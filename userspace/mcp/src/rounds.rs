//! Multi round-trip requests (2026-07-28, basic/patterns/mrtr): an answer that asks the client's person to look at a URL,
//! and the same request once more, with what the person answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use crate::{Fault, Id, Message};

/// The requests that may be answered so.
const ANSWERED: [&str; 3] = ["prompts/get", "resources/read", "tools/call"];
/// What a request brings back, and a first one does not have.
const BROUGHT_BACK: [&str; 2] = ["inputResponses", "requestState"];

/// What the person did with an elicitation (2026-07-28, client/elicitation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Agreed to look at it; it does not say that they have.
    Accept,
    /// Said no.
    Decline,
    /// Said nothing, and closed it.
    Cancel,
}

/// An elicitation in URL mode, alone in its answer.
#[derive(Debug, Clone, Copy)]
pub struct UrlElicitation<'a> {
    /// By which the response to it is found.
    pub key: &'a str,
    /// What the person reads.
    pub message: &'a str,
    /// What they are asked to open.
    pub url: &'a str,
    /// What the client brings back.
    pub state: &'a str,
}

impl UrlElicitation<'_> {
    /// The answer to the request `id`: an `InputRequiredResult`.
    #[must_use]
    pub fn answer(&self, id: &Id) -> Vec<u8> {
        let Self { key, message, url, state } = self;
        let params = json!({"mode": "url", "message": message, "url": url});
        let requests = json!({*key: {"method": "elicitation/create", "params": params}});
        let result =
            json!({"resultType": "input_required", "inputRequests": requests, "requestState": state});
        json!({"jsonrpc": "2.0", "id": id.to_json(), "result": result}).to_string().into_bytes()
    }
}

impl Message {
    /// Whether it may be answered with an elicitation in URL mode: its method can be, and its client declares that it takes
    /// them. An `elicitation` without modes is forms alone.
    #[must_use]
    pub fn elicits_by_url(&self) -> bool {
        let declared = self.capability("elicitation").and_then(|modes| modes.get("url"));
        ANSWERED.contains(&self.method()) && declared.is_some_and(Value::is_object)
    }

    /// What the person did with the elicitation `key`; nothing where the client does not say.
    ///
    /// # Errors
    /// [`Fault::Params`] where what it says is no action.
    pub fn action(&self, key: &str) -> Result<Option<Action>, Fault> {
        let Some(response) = self.params().get("inputResponses").and_then(|all| all.get(key)) else {
            return Ok(None);
        };
        match response.get("action").and_then(Value::as_str) {
            Some("accept") => Ok(Some(Action::Accept)),
            Some("decline") => Ok(Some(Action::Decline)),
            Some("cancel") => Ok(Some(Action::Cancel)),
            _ => Err(Fault::Params {
                id: self.id().cloned(),
                method: self.method().to_owned(),
                what: format!("inputResponses.{key}.action is none of accept, decline and cancel"),
            }),
        }
    }

    /// What it brings back to the server that asked: `requestState` and `inputResponses`.
    #[must_use]
    pub fn brought_back(&self) -> Map<String, Value> {
        let known = |key: &&str| Some(((*key).to_owned(), self.params().get(*key)?.clone()));
        BROUGHT_BACK.iter().filter_map(known).collect()
    }
}

/// `body`, a request that [`Message::read`] took, bringing `instead` back and nothing else. All else keeps its spelling.
///
/// # Errors
/// Where it is no request with parameters.
pub fn bringing_back(body: &[u8], instead: &Map<String, Value>) -> Result<Vec<u8>, Fault> {
    /// Each member as it is spelled.
    #[derive(Deserialize, Serialize)]
    struct Request<'a> {
        #[serde(borrow)]
        jsonrpc: &'a RawValue,
        #[serde(borrow)]
        id: &'a RawValue,
        #[serde(borrow)]
        method: &'a RawValue,
        #[serde(borrow)]
        params: BTreeMap<String, &'a RawValue>,
    }
    let mut request: Request<'_> = serde_json::from_slice(body).map_err(Fault::Json)?;
    request.params.retain(|key, _| !BROUGHT_BACK.contains(&key.as_str()));
    let instead = instead.iter().map(|(key, value)| Ok((key.clone(), to_raw_value(value)?)));
    let instead = instead.collect::<Result<Vec<_>, _>>().map_err(Fault::Json)?;
    request.params.extend(instead.iter().map(|(key, value)| (key.clone(), &**value)));
    serde_json::to_vec(&request).map_err(Fault::Json)
}
