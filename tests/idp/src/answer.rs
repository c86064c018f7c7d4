//! What the provider answers: JSON for programs, pages for people, redirects for browsers.

use std::fmt;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, PRAGMA, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::Error;
use crate::html::Text;

pub(crate) type Answer = Response<Full<Bytes>>;

/// Why a program is refused: a code of its specification's, and words (RFC 6749, sections 4.1.2.1 and 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) description: String,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, description: impl Into<String>) -> Self {
        Self { code, description: description.into() }
    }

    pub(crate) fn answer(&self) -> Answer {
        let body = json!({ "error": self.code, "error_description": self.description });
        let status = match self.code {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut answer = json(status, &body);
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"idp\""));
        }
        answer
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.description, self.code)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new("server_error", error.to_string())
    }
}

impl From<crate::form::FormError> for Refusal {
    fn from(error: crate::form::FormError) -> Self {
        Self::new("invalid_request", format!("the parameters cannot be read: {error}"))
    }
}

/// Tokens and codes are nothing to be kept by caches (RFC 6749, section 5.1).
pub(crate) fn json(status: StatusCode, body: &Value) -> Answer {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
        (PRAGMA, "no-cache"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    answer(status, headers, body.to_string())
}

/// A page. `body` is HTML: whatever comes from elsewhere stands in it as a [`Text`].
pub(crate) fn page(status: StatusCode, title: &str, body: &str) -> Answer {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        // Nothing at all is loaded or run, and no other page frames this one. `form-action` is left out: browsers hold
        // it against the redirect to the client as well.
        (CONTENT_SECURITY_POLICY, "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let title = Text(title);
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head><body>\n\
         <p><strong>This identity provider is for tests: anybody can log in as anybody.</strong></p>\n\
         <h1>{title}</h1>\n{body}\n</body></html>\n"
    );
    answer(status, headers, page)
}

/// Sends the browser elsewhere, with GET, whatever brought it here.
pub(crate) fn redirect(to: &str) -> Answer {
    let Ok(location) = HeaderValue::from_str(to) else {
        return page(StatusCode::BAD_REQUEST, "No such address", "<p>The redirect URI is no address.</p>");
    };
    let mut answer = page(StatusCode::SEE_OTHER, "Go on", "");
    answer.headers_mut().insert(LOCATION, location);
    answer
}

pub(crate) fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = page(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn answer<const N: usize>(
    status: StatusCode,
    headers: [(HeaderName, &'static str); N],
    body: String,
) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    for (name, value) in headers {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}
