//! The calls, from a verified signature to an answer; and the faults that a test puts in their way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::form::Form;
use crate::journal::Event;
use crate::principals::{Principal, Principals};
use crate::sigv4::{Arrived, Signed};
use crate::{Options, Refusal, assume};

/// What goes wrong with a call before it is even looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// Refused as too many.
    Throttle,
    /// The service is down: a 503.
    Unavailable,
    /// This error.
    Fail {
        /// The HTTP status.
        status: u16,
        /// The error code.
        code: String,
        /// The text.
        message: String,
    },
    /// No answer ever comes.
    Hang,
    /// The caller is sent elsewhere.
    Redirect(String),
    /// An answer that is none.
    Garbage,
}

/// The service behind the listener.
pub(crate) struct Service {
    options: Options,
    /// Further hosts: the addresses that it listens on.
    own: Vec<String>,
    state: Mutex<State>,
}

struct State {
    principals: Principals,
    journal: Vec<Event>,
    shift: SignedDuration,
    fault: Option<(Fault, Option<u32>)>,
}

impl Service {
    pub(crate) fn new(options: Options, own: Vec<String>) -> Self {
        let state = State {
            principals: Principals::new(&options.users),
            journal: Vec::new(),
            shift: SignedDuration::ZERO,
            fault: None,
        };
        Self { options, own, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.options.clock)() + self.state().shift
    }

    pub(crate) fn shift(&self, by: SignedDuration) {
        self.state().shift += by;
    }

    pub(crate) fn journal(&self) -> Vec<Event> {
        self.state().journal.clone()
    }

    pub(crate) fn set_fault(&self, fault: Option<(Fault, Option<u32>)>) {
        self.state().fault = fault;
    }

    /// The fault that the next call runs into.
    pub(crate) fn next_fault(&self) -> Option<Fault> {
        let mut state = self.state();
        let (fault, left) = state.fault.as_mut()?;
        let met = fault.clone();
        if let Some(left) = left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                state.fault = None;
            }
        }
        Some(met)
    }

    /// Whether a token may say that this STS is at `host`, or a request be addressed to it.
    pub(crate) fn is_called(&self, host: &str) -> bool {
        self.options.hosts.iter().chain(&self.own).any(|known| known == host)
    }

    /// Answers one call and writes it down.
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        let mut event = Event::new(self.now());
        let answer = self.answer(method, path, query, headers, body, &mut event);
        event.error = answer.as_ref().err().map(|refusal| refusal.code.clone());
        self.state().journal.push(event);
        answer
    }

    fn answer(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: &[u8],
        event: &mut Event,
    ) -> Result<Answer, Refusal> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        event.cluster = text("x-k8s-aws-id");
        event.host = text(header::HOST.as_str()).ok_or_else(|| Refusal::invalid("there is no Host"))?;
        if path != "/" {
            return Err(Refusal::invalid(format!("no such path: {path}")));
        }
        if !self.is_called(&event.host) {
            let message = format!("{} is not here", event.host);
            return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "MisdirectedRequest", message));
        }
        let query = Form::query(query)?;
        let form = match method {
            "GET" if body.is_empty() => query.clone(),
            "POST" if query.iter().next().is_none() => {
                Form::body(std::str::from_utf8(body).map_err(|_| Refusal::invalid("the body is not text"))?)?
            }
            _ => return Err(Refusal::invalid("want GET with a query, or POST with a form")),
        };
        event.action = form.require("Action")?.to_owned();
        if form.require("Version")? != "2011-06-15" {
            return Err(Refusal::invalid("Version must be 2011-06-15"));
        }
        if event.action == "AssumeRoleWithWebIdentity" {
            return self.assume_with_web_identity(&form, event);
        }
        let arrived = Arrived { method, path, query: &query, headers, body };
        let signed = Signed::read(&arrived, "sts")?;
        event.presigned = signed.presigned;
        let principal = self.signer(&signed, &arrived, region_of(&event.host), event.at)?;
        event.caller = Some(principal.arn.clone());
        match event.action.as_str() {
            "GetCallerIdentity" => Ok(Answer::Identity { arn: principal.arn, user_id: principal.user_id }),
            "AssumeRole" if !signed.presigned => {
                assume::read(&form, event)?;
                self.assume("AssumeRole", &principal.arn, event)
            }
            other => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "InvalidAction",
                format!("Could not find operation {other} for version 2011-06-15"),
            )),
        }
    }

    /// Who signed a request to some other service, which trusts the keys that are given away here.
    pub(crate) fn verify(
        &self,
        (service, region): (&str, &str),
        (method, target): (&str, &str),
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Principal, Refusal> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let arrived = Arrived { method, path, query: &Form::query(query)?, headers, body };
        let signed = Signed::read(&arrived, service)?;
        self.signer(&signed, &arrived, Some(region), self.now())
    }

    fn signer(
        &self,
        signed: &Signed,
        arrived: &Arrived<'_>,
        region: Option<&str>,
        now: Timestamp,
    ) -> Result<Principal, Refusal> {
        let token = signed.session_token.as_deref();
        let principal = self.state().principals.find(&signed.access_key_id, token, now)?.clone();
        signed.verify(arrived, &principal.secret, region, now, self.options.honour_expires)?;
        Ok(principal)
    }

    /// As pods with a service account of their own do: the token stands for a signature.
    fn assume_with_web_identity(&self, form: &Form, event: &mut Event) -> Result<Answer, Refusal> {
        assume::read(form, event)?;
        let token = form.require("WebIdentityToken")?;
        if !self.options.web_identities.iter().any(|known| known == token) {
            let message = "Couldn't retrieve verification key from your identity provider";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "InvalidIdentityToken", message));
        }
        self.assume("AssumeRoleWithWebIdentity", "web identity", event)
    }

    fn assume(&self, action: &'static str, caller: &str, event: &Event) -> Result<Answer, Refusal> {
        let role = self.options.roles.iter().find(|role| Some(&role.arn) == event.role_arn.as_ref());
        let seconds = assume::allow(role, caller, event)?;
        let (Some(role), Some(session)) = (&event.role_arn, &event.session_name) else {
            return Err(Refusal::invalid("RoleArn and RoleSessionName are required"));
        };
        let expires = event.at + SignedDuration::from_secs(seconds.into());
        let issued = self.state().principals.issue(role, session, expires);
        Ok(Answer::Session { action, issued, source_identity: event.source_identity.clone() })
    }
}

/// The region that a public host stands for; any will do for the addresses of tests.
fn region_of(host: &str) -> Option<&str> {
    if host == "sts.amazonaws.com" {
        return Some("us-east-1");
    }
    host.strip_prefix("sts.")?.split_once(".amazonaws.com").map(|(region, _)| region)
}

impl Fault {
    /// The error that it is, where it is one.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Throttle => Some(Refusal::new(StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded")),
            Self::Unavailable => Some(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "Service is unavailable, try again shortly",
            )),
            Self::Fail { status, code, message } => {
                Some(Refusal { status: *status, code: code.clone(), message: message.clone() })
            }
            Self::Hang | Self::Redirect(_) | Self::Garbage => None,
        }
    }
}
