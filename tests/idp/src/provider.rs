//! The provider without its network: a request in, an answer out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::answer::{self, Answer, Refusal};
use crate::form::Form;
use crate::keys::Keys;
use crate::options::Options;
use crate::scopes::Scopes;
use crate::store::{Store, later, signed};
use crate::{Endpoint, Error, authorize, device, token};

pub(crate) struct Provider {
    pub(crate) issuer: String,
    pub(crate) options: Options,
    state: Mutex<State>,
    outage: AtomicBool,
    requests: [AtomicU64; Endpoint::ALL.len()],
}

/// What changes.
pub(crate) struct State {
    pub(crate) keys: Keys,
    pub(crate) store: Store,
    ahead: SignedDuration,
}

impl Provider {
    pub(crate) fn new(issuer: String, options: Options) -> Result<Self, Error> {
        let state = State {
            keys: Keys::new(options.algorithm)?,
            store: Store::default(),
            ahead: SignedDuration::ZERO,
        };
        Ok(Self {
            issuer,
            options,
            state: Mutex::new(state),
            outage: AtomicBool::new(false),
            requests: Default::default(),
        })
    }

    pub(crate) fn answer(&self, request: &Request<Bytes>) -> Answer {
        let path = request.uri().path();
        let Some(endpoint) = Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path) else {
            return answer::page(StatusCode::NOT_FOUND, "There is nothing here", "");
        };
        self.requests[endpoint as usize].fetch_add(1, Ordering::Relaxed);
        if self.is_out_of_order() {
            return answer::page(StatusCode::SERVICE_UNAVAILABLE, "Out of order", "");
        }
        tracing::debug!(method = %request.method(), path, "request");
        let query = request.uri().query().unwrap_or("");
        match (endpoint, request.method()) {
            (Endpoint::Discovery, &Method::GET) => answer::json(StatusCode::OK, &self.metadata()),
            (Endpoint::Jwks, &Method::GET) => answer::json(StatusCode::OK, &self.jwks()),
            (Endpoint::DeviceAuthorization, &Method::POST) => self.program(request, device::begin),
            (Endpoint::Token, &Method::POST) => self.program(request, token::exchange),
            (Endpoint::Revoke, &Method::POST) => self.program(request, token::revoke),
            (Endpoint::Authorize, &Method::GET) => authorize::begin(self, query),
            (Endpoint::Authorize, &Method::POST) => match body(request) {
                Ok(asked) => authorize::begin(self, asked),
                Err(refusal) => refused(&refusal),
            },
            (Endpoint::Login, &Method::POST) => self.person(request, authorize::decide),
            (Endpoint::Device, &Method::GET) => match Form::read(query) {
                Ok(form) => device::show(self, &form),
                Err(error) => refused(&error.into()),
            },
            (Endpoint::Device, &Method::POST) => self.person(request, device::decide),
            (Endpoint::Discovery | Endpoint::Jwks, _) => answer::not_allowed("GET"),
            (Endpoint::Authorize | Endpoint::Device, _) => answer::not_allowed("GET, POST"),
            _ => answer::not_allowed("POST"),
        }
    }

    /// A form that a program sent.
    fn program(
        &self,
        request: &Request<Bytes>,
        act: impl FnOnce(&Self, &str, &Form) -> Result<Value, Refusal>,
    ) -> Answer {
        let acted = body(request).and_then(|text| {
            let form = Form::read(text)?;
            let secret = request.headers().contains_key(AUTHORIZATION) || form.get("client_secret").is_some();
            if secret {
                return Err(Refusal::new("invalid_client", "clients are public here: send client_id alone"));
            }
            act(self, self.client(&form)?, &form)
        });
        match acted {
            Ok(done) => answer::json(StatusCode::OK, &done),
            Err(refusal) => refusal.answer(),
        }
    }

    /// A form of one of the pages.
    fn person(&self, request: &Request<Bytes>, act: impl FnOnce(&Self, &Form) -> Answer) -> Answer {
        match body(request).and_then(|text| Ok(Form::read(text)?)) {
            Ok(form) => act(self, &form),
            Err(refusal) => refused(&refusal),
        }
    }

    /// The client that a request is of.
    pub(crate) fn client<'a>(&self, form: &'a Form) -> Result<&'a str, Refusal> {
        let client =
            form.get("client_id").ok_or_else(|| Refusal::new("invalid_client", "client_id is missing"))?;
        if self.options.clients.iter().any(|known| known == client) {
            Ok(client)
        } else {
            Err(Refusal::new("invalid_client", format!("there is no client {client:?}")))
        }
    }

    pub(crate) fn url(&self, endpoint: Endpoint) -> String {
        format!("{}{}", self.issuer, endpoint.path())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.state().now(&self.options)
    }

    pub(crate) fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.ahead = state.ahead.saturating_add(signed(by));
    }

    pub(crate) fn rotate_keys(&self) -> Result<(), Error> {
        let until = later(self.now(), self.options.lifetimes.id_token);
        self.state().keys.rotate(self.options.algorithm, until)
    }

    pub(crate) fn set_outage(&self, outage: bool) {
        self.outage.store(outage, Ordering::Relaxed);
    }

    pub(crate) fn is_out_of_order(&self) -> bool {
        self.outage.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self, endpoint: Endpoint) -> u64 {
        self.requests[endpoint as usize].load(Ordering::Relaxed)
    }

    fn jwks(&self) -> Value {
        let now = self.now();
        self.state().keys.published(now)
    }

    /// OpenID Connect Discovery 1.0, section 3; RFC 8414; RFC 8628, section 4; RFC 9207, section 3.
    fn metadata(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": self.url(Endpoint::Authorize),
            "token_endpoint": self.url(Endpoint::Token),
            "device_authorization_endpoint": self.url(Endpoint::DeviceAuthorization),
            "revocation_endpoint": self.url(Endpoint::Revoke),
            "jwks_uri": self.url(Endpoint::Jwks),
            "scopes_supported": Scopes::supported(),
            "claims_supported": Scopes::claims_supported(),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": [token::CODE, token::DEVICE, token::REFRESH],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.options.algorithm.name()],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "claims_parameter_supported": false,
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
        })
    }
}

impl State {
    pub(crate) fn now(&self, options: &Options) -> Timestamp {
        (options.clock)().checked_add(self.ahead).unwrap_or(Timestamp::MAX)
    }
}

/// What a person reads who is refused.
pub(crate) fn refused(refusal: &Refusal) -> Answer {
    let words = format!("<p>{}</p>", crate::html::Text(&refusal.to_string()));
    answer::page(StatusCode::BAD_REQUEST, "Refused", &words)
}

fn body(request: &Request<Bytes>) -> Result<&str, Refusal> {
    let invalid = |why| Refusal::new("invalid_request", why);
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")) {
        return Err(invalid("the body must be application/x-www-form-urlencoded"));
    }
    std::str::from_utf8(request.body()).map_err(|_| invalid("the body is not UTF-8"))
}
