//! One message of a client, read strictly: what is decided upon here is what the server acts upon.

use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};

use crate::Fault;
use crate::fault::quoted;
use crate::json::{self, From};
use crate::method::{self, Subject};

/// Longest message of a client, in bytes.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// What a client says in each request since 2026-07-28.
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Parameters that decide something here: another spelling of one is refused.
const DECISIVE: [&str; 11] = [
    "_meta",
    "arguments",
    "inputResponses",
    "name",
    "notifications",
    "protocolVersion",
    "ref",
    "requestId",
    "requestState",
    "taskId",
    "uri",
];
/// The parameters of a call that are not what an approval is for.
const BESIDE: [&str; 3] = ["_meta", "inputResponses", "requestState"];

/// What a request is known by. Answers repeat it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Id {
    /// An integer.
    Number(Number),
    /// A string.
    Text(String),
}

impl Id {
    /// An id, if it is an integer of 64 bits or a string.
    pub(crate) fn of(value: Value) -> Option<Self> {
        match value {
            Value::Number(number) if !number.is_f64() => Some(Id::Number(number)),
            Value::String(text) => Some(Id::Text(text)),
            _ => None,
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match self {
            Id::Number(number) => Value::Number(number.clone()),
            Id::Text(text) => Value::String(text.clone()),
        }
    }
}

/// What kind of message it is (JSON-RPC 2.0, sections 4 and 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Wants an answer.
    Request(Id),
    /// Wants none.
    Notification,
    /// The client's answer to a server's request (up to 2025-11-25).
    Response(Id),
}

/// The one thing that a message, or an entry of a list, is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About<'a> {
    /// No single thing: `tools/list`, `ping`.
    Nothing,
    /// A tool, by name.
    Tool(&'a str),
    /// A resource, by URI; a template, where an argument of it is to be completed.
    Resource(&'a str),
    /// A prompt, by name.
    Prompt(&'a str),
    /// The resources whose URIs begin like this: an entry of `resources/templates/list`, up to its first variable.
    ResourcesUnder(&'a str),
}

/// One message of a client.
#[derive(Debug, Clone)]
pub struct Message {
    kind: Kind,
    method: String,
    params: Map<String, Value>,
    about: Named,
}

/// [`About`], owned.
#[derive(Debug, Clone)]
enum Named {
    Nothing,
    Tool(String),
    Resource(String),
    Prompt(String),
}

impl Message {
    /// Reads the body of a POST: one message, by itself.
    ///
    /// # Errors
    /// Why it is no message, or could be taken for another than it is.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        if body.len() > MAX_MESSAGE {
            return Err(Fault::TooLong);
        }
        json::check(body, From::Client).map_err(Fault::Json)?;
        match serde_json::from_slice(body).map_err(Fault::Json)? {
            Value::Object(members) => Self::of(members),
            Value::Array(_) => Err(Fault::Batch),
            _ => Err(Fault::Invalid { id: None, what: "it is no object".to_owned() }),
        }
    }

    fn of(mut members: Map<String, Value>) -> Result<Self, Fault> {
        let id = members.remove("id");
        let known = id.clone().and_then(Id::of);
        let invalid = |what: String| Fault::Invalid { id: known.clone(), what };
        if id.is_some() && known.is_none() {
            return Err(invalid("its id is neither an integer nor a string".to_owned()));
        }
        if members.remove("jsonrpc") != Some(Value::from("2.0")) {
            return Err(invalid("its jsonrpc is not \"2.0\"".to_owned()));
        }
        let (method, params) = (members.remove("method"), members.remove("params"));
        let answers = [members.remove("result"), members.remove("error")].into_iter().flatten().count();
        if let Some(key) = members.keys().next() {
            return Err(invalid(format!("nothing of it is called {}", quoted(key))));
        }
        let method = match (method, answers, known.clone()) {
            (Some(Value::String(method)), 0, _) => method,
            (None, 1, Some(id)) if params.is_none() => {
                let (method, params) = (String::new(), Map::new());
                return Ok(Self { kind: Kind::Response(id), method, params, about: Named::Nothing });
            }
            (None, 1, None) => return Err(invalid("it answers nothing: it has no id".to_owned())),
            (None, 0, _) => return Err(invalid("it has no method".to_owned())),
            (Some(_), 0, _) => return Err(invalid("its method is no string".to_owned())),
            _ => return Err(invalid("it is several kinds of message at once".to_owned())),
        };
        let subject = method::subject(&method)
            .map_err(|why| invalid(format!("the method {} {why}", quoted(&method))))?;
        let params = match params {
            None => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(invalid("its params are no object".to_owned())),
        };
        let kind = match (known.clone(), method::is_notification(&method)) {
            (Some(id), false) => Kind::Request(id),
            (None, true) => Kind::Notification,
            (Some(_), true) => return Err(invalid(format!("{method} has an id, which asks for an answer"))),
            (None, false) => return Err(invalid(format!("{method} has no id: nobody would answer it"))),
        };
        let about = checked(&params)
            .and_then(|()| named(subject, &params))
            .map_err(|what| Fault::Params { id: known, method: method.clone(), what })?;
        Ok(Self { kind, method, params, about })
    }

    /// What kind of message it is.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The id of a request or response; notifications have none.
    #[must_use]
    pub fn id(&self) -> Option<&Id> {
        match &self.kind {
            Kind::Request(id) | Kind::Response(id) => Some(id),
            Kind::Notification => None,
        }
    }

    /// The method; empty for a response.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The one thing that it is about.
    #[must_use]
    pub fn about(&self) -> About<'_> {
        match &self.about {
            Named::Nothing => About::Nothing,
            Named::Tool(name) => About::Tool(name),
            Named::Resource(uri) => About::Resource(uri),
            Named::Prompt(name) => About::Prompt(name),
        }
    }

    /// The resources, by URI, whose changes `subscriptions/listen` asks for.
    pub fn subscribes_to(&self) -> impl Iterator<Item = &str> {
        let uris = self.params.get("notifications").and_then(|filter| filter.get("resourceSubscriptions"));
        uris.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// The request whose answer the client does not want any more (up to 2025-11-25).
    #[must_use]
    pub fn cancels(&self) -> Option<Id> {
        let cancelled = self.method == "notifications/cancelled" && self.kind == Kind::Notification;
        cancelled.then(|| Id::of(self.params.get("requestId")?.clone())).flatten()
    }

    /// The parameters; empty where there are none.
    #[must_use]
    pub fn params(&self) -> &Map<String, Value> {
        &self.params
    }

    /// The arguments of a call: an object.
    #[must_use]
    pub fn arguments(&self) -> Option<&Value> {
        self.params.get("arguments").filter(|arguments| !arguments.is_null())
    }

    /// What the server's notifications of progress will be known by.
    #[must_use]
    pub fn progress_token(&self) -> Option<&Value> {
        self.meta("progressToken")
    }

    /// What the server gave the client to bring back with its answers (2026-07-28).
    #[must_use]
    pub fn request_state(&self) -> Option<&str> {
        self.params.get("requestState")?.as_str()
    }

    /// What the client says in this request of one of its capabilities (2026-07-28).
    pub(crate) fn capability(&self, capability: &str) -> Option<&Value> {
        self.meta(CAPABILITIES)?.get(capability)
    }

    /// What an approval is for: SHA-256 over the canonical JSON of method and parameters. What may differ between the
    /// first time that a request is sent and the next does not count: `_meta`, and what a server asked for in between.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let params: Map<String, Value> = self
            .params
            .iter()
            .filter(|(key, _)| !BESIDE.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let whole = serde_json::json!({ "method": self.method, "params": params });
        Sha256::digest(json::canonical(whole)).into()
    }

    pub(crate) fn meta(&self, key: &str) -> Option<&Value> {
        self.params.get("_meta")?.get(key)
    }
}

/// Whether the parameters that decide something are what they should be, whatever the method.
fn checked(params: &Map<String, Value>) -> Result<(), String> {
    for key in params.keys() {
        let same = json::folded(key.as_str());
        // They are ASCII, which folds to its lower case.
        if let Some(known) = DECISIVE.iter().find(|known| **known != key && same.eq_ignore_ascii_case(known))
        {
            return Err(format!("{} looks like {known}, and is not", quoted(key)));
        }
    }
    let wrong = |key: &str, fits: fn(&Value) -> bool| params.get(key).is_some_and(|value| !fits(value));
    if wrong("_meta", Value::is_object) {
        return Err("_meta is no object".to_owned());
    }
    if wrong("arguments", |arguments| arguments.is_object() || arguments.is_null()) {
        return Err("arguments is no object".to_owned());
    }
    if wrong("requestState", Value::is_string) {
        return Err("requestState is no string".to_owned());
    }
    if wrong("inputResponses", Value::is_object) {
        return Err("inputResponses is no object".to_owned());
    }
    let Some(subscriptions) =
        params.get("notifications").and_then(|filter| filter.get("resourceSubscriptions"))
    else {
        return Ok(());
    };
    let uris = subscriptions.as_array().ok_or("resourceSubscriptions is no list")?;
    uris.iter().try_for_each(|uri| name(Some(uri), "a URI of resourceSubscriptions").map(drop))
}

/// What the parameters say that a request is about.
fn named(subject: Subject, params: &Map<String, Value>) -> Result<Named, String> {
    Ok(match subject {
        Subject::Nothing => Named::Nothing,
        Subject::Tool => Named::Tool(name(params.get("name"), "name")?),
        Subject::Prompt => Named::Prompt(name(params.get("name"), "name")?),
        Subject::Resource => Named::Resource(name(params.get("uri"), "uri")?),
        Subject::Reference => {
            let reference = params.get("ref").and_then(Value::as_object).ok_or("ref is no object")?;
            match reference.get("type").and_then(Value::as_str) {
                Some("ref/prompt") => Named::Prompt(name(reference.get("name"), "ref.name")?),
                Some("ref/resource") => Named::Resource(name(reference.get("uri"), "ref.uri")?),
                _ => return Err("ref.type is neither ref/prompt nor ref/resource".to_owned()),
            }
        }
    })
}

/// A name or URI. Of control characters there are none in any that is meant, and a reader in C ends at a NUL.
fn name(value: Option<&Value>, field: &str) -> Result<String, String> {
    match value {
        Some(Value::String(name)) if name.is_empty() => Err(format!("{field} is empty")),
        Some(Value::String(name)) if name.contains(char::is_control) => {
            Err(format!("{field} has a control character in it: {}", quoted(name)))
        }
        Some(Value::String(name)) => Ok(name.clone()),
        Some(_) => Err(format!("{field} is no string")),
        None => Err(format!("{field} is missing")),
    }
}
