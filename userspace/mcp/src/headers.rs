//! The headers that repeat what the body says (MCP 2026-07-28, Streamable HTTP, request metadata): whoever routes or
//! limits by them has to see what the server acts upon.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::Value;

use crate::definition::ParamHeader;
use crate::fault::quoted;
use crate::{About, Definition, Fault, Kind, Message};

/// The revisions of the protocol that are spoken here. Servers that negotiate the oldest over Streamable HTTP are in
/// use, though it was written for another transport.
pub const VERSIONS: [&str; 5] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];
/// The first one without sessions.
const MODERN: &str = "2026-07-28";

const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const PARAM: &str = "mcp-param-";
/// The revision of the protocol that a body is written in.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// The two shapes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// Up to 2025-11-25: `initialize`, sessions, streams by GET.
    Legacy,
    /// From 2026-07-28: each request stands alone.
    Modern,
}

impl Era {
    /// What `MCP-Protocol-Version` says; without it, legacy: before 2025-06-18 there was none.
    ///
    /// # Errors
    /// Where it is repeated, or names a revision that is not known.
    pub fn declared(headers: &HeaderMap) -> Result<Self, Fault> {
        Read { message: None, headers }.era()
    }
}

/// Checks `MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name` and, where the definition of the tool that is called is known,
/// `Mcp-Param-*` against the body. Each may be there once; what is there has to agree in either era, and in the modern
/// one what is demanded has to be there.
///
/// # Errors
/// Which header is missing, repeated, cannot be read, or says something else than the body.
pub fn check_headers(
    message: &Message,
    headers: &HeaderMap,
    tool: Option<&Definition>,
) -> Result<Era, Fault> {
    let read = Read { message: Some(message), headers };
    let era = read.era()?;
    let modern_request = era == Era::Modern && matches!(message.kind(), Kind::Request(_));
    if era == Era::Modern && matches!(message.kind(), Kind::Response(_)) {
        let what = format!("since {MODERN}, clients send no responses");
        return Err(Fault::Invalid { id: message.id().cloned(), what });
    }
    read.version(message, modern_request)?;
    match read.text(METHOD)? {
        Some(method) if method == message.method() => {}
        Some(method) => return Err(read.differs(METHOD, method, message.method())),
        None if modern_request => return Err(read.fault(METHOD, "is missing")),
        None => {}
    }
    read.name(message, modern_request)?;
    read.params(message, era, tool)?;
    Ok(era)
}

/// The headers of one request.
struct Read<'a> {
    message: Option<&'a Message>,
    headers: &'a HeaderMap,
}

impl<'a> Read<'a> {
    fn era(&self) -> Result<Era, Fault> {
        match self.text(VERSION)? {
            None => Ok(Era::Legacy),
            Some(MODERN) => Ok(Era::Modern),
            Some(version) if VERSIONS.contains(&version) => Ok(Era::Legacy),
            Some(version) => Err(Fault::Version { id: self.id(), requested: version.to_owned() }),
        }
    }

    /// The revision in the header and in the body, which bodies name since 2026-07-28.
    fn version(&self, message: &Message, demanded: bool) -> Result<(), Fault> {
        let header = self.text(VERSION)?;
        match (header, message.meta(VERSION_KEY)) {
            (None, None) => Ok(()),
            (Some(header), Some(Value::String(body))) if header == body => Ok(()),
            (Some(_), None) if !demanded => Ok(()),
            (Some(_), None) => Err(self.fault(VERSION, format!("is not repeated in _meta as {VERSION_KEY}"))),
            (None, Some(body)) => Err(self.fault(VERSION, format!("is missing, and _meta says {body}"))),
            (Some(header), Some(body)) => Err(self.differs(VERSION, header, &body.to_string())),
        }
    }

    /// `Mcp-Name`: the tool, prompt or resource; of the methods of others, the one of these parameters that they have.
    fn name(&self, message: &Message, demanded: bool) -> Result<(), Fault> {
        let named = match message.about() {
            About::Tool(name) | About::Prompt(name) | About::Resource(name) => Some(name),
            About::Nothing | About::ResourcesUnder(_) => {
                let of = |key| message.params().get(key).and_then(Value::as_str);
                ["name", "uri", "taskId"].into_iter().find_map(of)
            }
        };
        let demanded =
            demanded && matches!(message.method(), "tools/call" | "prompts/get" | "resources/read");
        match (self.decoded(NAME)?, named) {
            (Some(header), Some(body)) if header == body => Ok(()),
            (Some(header), Some(body)) => Err(self.differs(NAME, &header, body)),
            (Some(_), None) => Err(self.fault(NAME, "names something, and the body does not")),
            (None, _) if demanded => Err(self.fault(NAME, "is missing")),
            (None, _) => Ok(()),
        }
    }

    /// `Mcp-Param-*`: the arguments that the tool's definition names. Others mean nothing to anybody; they pass, once.
    fn params(&self, message: &Message, era: Era, tool: Option<&Definition>) -> Result<(), Fault> {
        for header in self.headers.keys().filter(|header| header.as_str().starts_with(PARAM)) {
            self.text(header.as_str())?;
        }
        let (About::Tool(name), Some(definition)) = (message.about(), tool) else { return Ok(()) };
        if era == Era::Legacy {
            return Ok(());
        }
        let expected = definition.param_headers().map_err(|why| Fault::Params {
            id: self.id(),
            method: message.method().to_owned(),
            what: format!("the definition of the tool {} is not valid: {why}", quoted(name)),
        })?;
        expected.iter().try_for_each(|param| self.param(message, param))
    }

    fn param(&self, message: &Message, param: &ParamHeader) -> Result<(), Fault> {
        let header = format!("{PARAM}{}", param.name.to_ascii_lowercase());
        let value = message.arguments().and_then(|arguments| param.value(arguments));
        match (self.decoded(&header)?, value) {
            (None, None) => Ok(()),
            (Some(text), Some(value)) if says(&text, value) => Ok(()),
            (Some(text), Some(value)) => Err(self.differs(&header, &text, &value.to_string())),
            (None, Some(_)) => {
                Err(self
                    .fault(&header, format!("is missing, and there is an argument {}", param.path.join("."))))
            }
            (Some(_), None) => {
                Err(self.fault(&header, format!("is there, and no argument {}", param.path.join("."))))
            }
        }
    }

    /// A header's value, which is plain and there at most once.
    fn text(&self, header: &str) -> Result<Option<&'a str>, Fault> {
        let mut values = self.headers.get_all(header).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value
                .to_str()
                .map(Some)
                .map_err(|_| self.fault(header, "has characters in it that no header may have")),
            (Some(_), Some(_)) => Err(self.fault(header, "is there more than once")),
        }
    }

    /// The same, and what stands for it where it is in Base64 (value encoding).
    fn decoded(&self, header: &str) -> Result<Option<String>, Fault> {
        let Some(text) = self.text(header)? else { return Ok(None) };
        if !(text.starts_with("=?base64?") && text.ends_with("?=")) {
            return Ok(Some(text.to_owned()));
        }
        let packed = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
        let bytes = packed.and_then(|packed| STANDARD.decode(packed).ok());
        let decoded = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        decoded.map(Some).ok_or_else(|| self.fault(header, "is no Base64 of UTF-8"))
    }

    fn differs(&self, header: &str, said: &str, body: &str) -> Fault {
        self.fault(header, format!("says {}, and the body {}", quoted(said), quoted(body)))
    }

    fn fault(&self, header: &str, what: impl Into<String>) -> Fault {
        Fault::Header { id: self.id(), header: header.to_owned(), what: what.into() }
    }

    fn id(&self) -> Option<crate::Id> {
        self.message.and_then(Message::id).cloned()
    }
}

/// Whether the header's text stands for the argument: integers as numbers, since 42.0 is 42.
fn says(text: &str, argument: &Value) -> bool {
    match argument {
        Value::String(argument) => text == argument,
        Value::Bool(argument) => text == if *argument { "true" } else { "false" },
        Value::Number(argument) => integer(text) == integer(&argument.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A number without a fraction that says nothing.
fn integer(text: &str) -> &str {
    match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|digit| digit == b'0') => whole,
        _ => text,
    }
}
