//! What conditions can name, and the values behind the names. Values borrow from the request; nothing is copied
//! until a condition asks for it, and lists are made once a decision.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::{LazyLock, OnceLock};

use cel::ExecutionError;
use cel::common::traits::Container;
use cel::common::types::{CelBool, CelDuration, CelInt, CelList, CelString, CelTimestamp, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::context::VariableResolver;
use chrono::{DateTime, TimeDelta};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use portcullis_identity::{Method, Subject};
use regex::Regex;
use serde_json::Value;

use super::About;
use super::json::{Budget, Json, Want};
use super::overload::Kind;
use crate::Ask;
use crate::operation::{Operation, Query};
use crate::{Caller, Facts};

/// The longest list that a condition can look at: a bound on what going through it costs.
pub(super) const MAX_ITEMS: usize = 1024;
/// How a checked expression names a compiled pattern, and the presence of a field. No condition can write that.
pub(super) const MATCHER: &str = "matcher ";
pub(super) const PRESENT: &str = "present ";
/// And what JSON is taken for.
pub(super) const WANT: &str = "want ";
/// What an MCP request gives to the tool or prompt that it is about.
pub(crate) const ARGUMENTS: &str = "request.arguments";

/// Of a request without arguments.
static NO_ARGUMENTS: LazyLock<Value> = LazyLock::new(|| Value::Object(serde_json::Map::new()));

/// The type of a field, if there is such a field.
pub(super) fn kind_of(about: About, record: &str, field: &str) -> Option<Kind> {
    let texts = || Kind::List(Box::new(Kind::Text));
    let kind = match (record, field) {
        ("subject", "issuer" | "id" | "name" | "method") => Kind::Text,
        ("subject", "groups") => texts(),
        ("time", "now") => Kind::Time,
        ("time", "hour" | "minute" | "weekday") => Kind::Int,
        ("request", "target") => Kind::Text,
        _ if about == About::Asking => match (record, field) {
            ("request", "role") => Kind::Text,
            ("request", "duration") => Kind::Span,
            _ => return None,
        },
        (
            "request",
            "verb" | "apiGroup" | "apiVersion" | "resource" | "subresource" | "namespace" | "name" | "path"
            | "method" | "item" | "container" | "fieldManager",
        ) => Kind::Text,
        ("request", "dryRun" | "tty" | "stdin") => Kind::Bool,
        ("request", "command") => texts(),
        ("request", "arguments") => Kind::Json,
        ("process", "uid" | "gid" | "loginuid") => Kind::Int,
        ("process", "exe" | "tty") => Kind::Text,
        ("process", "argv") => texts(),
        _ => return None,
    };
    Some(kind)
}

/// The records there are.
pub(super) fn records(about: About) -> &'static [&'static str] {
    match about {
        About::Request => &["subject", "request", "process", "time"],
        About::Asking => &["subject", "request", "time"],
    }
}

/// All that a condition can look at.
pub(super) struct World<'a> {
    subject: &'a Subject,
    request: Request<'a>,
    now: Timestamp,
    /// Fields that nobody can tell yet.
    unknown: &'static [&'static str],
    groups: Texts<'a>,
    command: Texts<'a>,
    argv: Texts<'a>,
}

enum Request<'a> {
    Of { target: &'a str, operation: &'a Operation, facts: &'a Facts },
    Asking { role: &'a str, target: &'a str, duration: std::time::Duration },
}

/// A list, once it was asked for; nothing when it is too long.
type Texts<'a> = OnceLock<Option<CelList<'a>>>;

impl<'a> World<'a> {
    pub(super) fn of_request(query: &Query<'a>, now: Timestamp, unknown: &'static [&'static str]) -> Self {
        let Query { subject, target, operation, facts } = *query;
        Self::new(subject, Request::Of { target, operation, facts }, now, unknown)
    }

    pub(super) fn of_ask(subject: &'a Subject, ask: &Ask<'a>, now: Timestamp) -> Self {
        let request = Request::Asking { role: ask.role.as_str(), target: ask.target, duration: ask.duration };
        Self::new(subject, request, now, &[])
    }

    fn new(
        subject: &'a Subject,
        request: Request<'a>,
        now: Timestamp,
        unknown: &'static [&'static str],
    ) -> Self {
        let (groups, command, argv) = Default::default();
        Self { subject, request, now, unknown, groups, command, argv }
    }

    fn arguments(&self) -> &'a Value {
        match &self.request {
            Request::Of { facts: Facts { arguments: Some(arguments), .. }, .. } => arguments,
            _ => &NO_ARGUMENTS,
        }
    }

    /// The value of a field; nothing where the field has none for this request.
    fn value(&self, name: &str) -> Option<CowVal<'_, 'a>> {
        let (record, field) = name.split_once('.')?;
        match record {
            "subject" => self.of_subject(field),
            "request" => self.of_what_is_asked(field),
            "process" => self.of_process(field),
            "time" => self.of_time(field),
            _ => None,
        }
    }

    fn of_subject(&self, field: &str) -> Option<CowVal<'_, 'a>> {
        let Subject { issuer, id, name, groups, method, account: _ } = self.subject;
        Some(match field {
            "issuer" => text(issuer),
            "id" => text(id),
            "name" => text(name),
            "groups" => return list(&self.groups, groups),
            "method" => text(match method {
                Method::Unix => "unix",
                Method::Oidc => "oidc",
                Method::BearerJwt => "bearerJwt",
                Method::EksToken => "eksToken",
                Method::Link => "link",
                Method::Webhook => "webhook",
            }),
            _ => return None,
        })
    }

    fn of_what_is_asked(&self, field: &str) -> Option<CowVal<'_, 'a>> {
        match &self.request {
            Request::Asking { role, target, duration } => Some(match field {
                "role" => text(role),
                "target" => text(target),
                "duration" => CowVal::owned(CelDuration::from(TimeDelta::from_std(*duration).ok()?)),
                _ => return None,
            }),
            Request::Of { target, operation, facts } => Some(match field {
                "target" => text(target),
                "dryRun" => truth(facts.dry_run),
                "tty" => truth(facts.tty),
                "stdin" => truth(facts.stdin),
                "container" => text(&facts.container),
                "fieldManager" => text(&facts.field_manager),
                "command" => return list(&self.command, &facts.command),
                _ => text(of_operation(operation, field)),
            }),
        }
    }

    fn of_process(&self, field: &str) -> Option<CowVal<'_, 'a>> {
        let Request::Of { facts: Facts { process: Some(process), .. }, .. } = self.request else {
            return None;
        };
        let Caller { uid, gid, exe, argv, tty, loginuid } = &**process;
        Some(match field {
            "uid" => number(*uid),
            "gid" => number(*gid),
            "exe" => text(exe),
            "argv" => return list(&self.argv, argv),
            "tty" => text(tty.as_deref()?),
            "loginuid" => number((*loginuid)?),
            _ => return None,
        })
    }

    fn of_time(&self, field: &str) -> Option<CowVal<'_, 'a>> {
        let utc = || TimeZone::UTC.to_datetime(self.now);
        Some(match field {
            "now" => {
                let nanos = u32::try_from(self.now.subsec_nanosecond()).ok()?;
                let now = DateTime::from_timestamp(self.now.as_second(), nanos)?;
                CowVal::owned(CelTimestamp::from(now.fixed_offset()))
            }
            "hour" => number(utc().hour()),
            "minute" => number(utc().minute()),
            "weekday" => number(utc().date().weekday().to_sunday_zero_offset()),
            _ => return None,
        })
    }
}

/// What an operation does not have is empty, as in the API server's RequestInfo.
fn of_operation<'a>(operation: &'a Operation, field: &str) -> &'a str {
    match operation {
        Operation::Resource { api_group, api_version, resource, subresource, namespace, name, .. } => {
            match field {
                "verb" => operation.authorised_as(),
                "apiGroup" => api_group,
                "apiVersion" => api_version,
                "resource" => resource,
                "subresource" => subresource,
                "namespace" => namespace,
                "name" => name,
                _ => "",
            }
        }
        Operation::NonResource { verb, path } => match field {
            "verb" => verb,
            "path" => path,
            _ => "",
        },
        Operation::Mcp { method, item, name } => match field {
            "method" => method,
            "item" => item.as_str(),
            "name" => name,
            _ => "",
        },
    }
}

fn text<'v>(value: &'v str) -> CowVal<'v, 'v> {
    CowVal::owned(CelString::from(value))
}

fn truth<'v>(value: bool) -> CowVal<'static, 'v> {
    CowVal::owned(CelBool::from(value))
}

fn number<'v>(value: impl Into<i64>) -> CowVal<'static, 'v> {
    CowVal::owned(CelInt::from(value.into()))
}

fn list<'b, 'a, L>(cell: &'b Texts<'a>, items: &'a L) -> Option<CowVal<'b, 'a>>
where
    &'a L: IntoIterator<Item = &'a String>,
    L: Length,
{
    let made = cell.get_or_init(|| {
        let boxed = |item: &'a String| Box::new(CelString::from(item.as_str())) as Box<dyn Val + 'a>;
        (items.length() <= MAX_ITEMS).then(|| items.into_iter().map(boxed).collect::<Vec<_>>().into())
    });
    made.as_ref().map(|list| CowVal::Borrowed(list))
}

trait Length {
    fn length(&self) -> usize;
}

impl Length for Vec<String> {
    fn length(&self) -> usize {
        self.len()
    }
}

impl Length for BTreeSet<String> {
    fn length(&self) -> usize {
        self.len()
    }
}

/// What the names of one checked condition stand for.
pub(super) struct Scope<'s, 'a> {
    pub(super) world: &'s World<'a>,
    pub(super) matchers: &'s [Matcher],
    /// How much of the arguments this one evaluation may read.
    pub(super) budget: Budget,
}

impl Scope<'_, '_> {
    fn known(&self, name: &str) -> Option<CowVal<'_, '_>> {
        match name {
            _ if self.world.unknown.contains(&name) => None,
            ARGUMENTS => Some(CowVal::owned(Json::new(self.world.arguments(), &self.budget))),
            _ => self.world.value(name),
        }
    }
}

impl VariableResolver for Scope<'_, '_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(number) = name.strip_prefix(MATCHER) {
            let matcher = self.matchers.get(number.parse::<usize>().ok()?)?;
            return Some(CowVal::Borrowed(matcher));
        }
        if let Some(number) = name.strip_prefix(WANT) {
            return Some(CowVal::Borrowed(Want::numbered(number.parse().ok()?)?));
        }
        match name.strip_prefix(PRESENT) {
            Some(name) if self.world.unknown.contains(&name) => None,
            Some(name) => Some(truth(self.known(name).is_some())),
            None => self.known(name),
        }
    }
}

/// What `matches`, `startsWith`, `endsWith` and `contains` look for where that is written out, ready with the condition:
/// the texts that it fits, as a container, so that the checked condition asks `text in matcher`. That is also the
/// shortest way through the library.
#[derive(Debug, Clone)]
pub(super) enum Matcher {
    Pattern(Regex),
    Prefix(String),
    Suffix(String),
    Part(String),
}

impl Matcher {
    fn fits(&self, text: &str) -> bool {
        match self {
            Matcher::Pattern(regex) => regex.is_match(text),
            Matcher::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Matcher::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Matcher::Part(part) => text.contains(part.as_str()),
        }
    }
}

static MATCHER_TYPE: Type = Type::new_unspecified_type("pattern");

impl Val for Matcher {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        &MATCHER_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Matcher {}

impl Container for Matcher {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        match value.downcast_ref::<CelString>() {
            Some(text) => Ok(self.fits(text.inner())),
            None => {
                Err(ExecutionError::no_such_overload("matches", vec![value.get_type().name().to_owned()]))
            }
        }
    }
}
