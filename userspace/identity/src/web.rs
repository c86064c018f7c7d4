//! HTTP to identity providers and STS: bounded in time and size, no redirects, and TLS to everything but loopback.
//!
//! Nothing that is said here quotes a URL's query or a body: both hold secrets.

use std::error::Error;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use http::header::{ACCEPT, HeaderMap, HeaderValue};
use openidconnect::url::form_urlencoded;
use reqwest::{Certificate, RequestBuilder, Url, redirect};
use zeroize::Zeroizing;

use crate::IdentityError;
use crate::secret::Secret;

/// Discovery documents, key sets, token answers and STS's are a few KiB.
const MAX_BODY: usize = 512 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why another server could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// No answer: refused, unknown host, bad certificate, too slow.
    #[error("{host} could not be asked: {why}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// What went wrong.
        why: String,
    },
    /// An answer that sends elsewhere. It is not followed: it would carry what was sent to somebody else.
    #[error("{host} answered with a redirect ({status}), which is not followed")]
    Redirected {
        /// Who was asked.
        host: String,
        /// 3xx.
        status: u16,
    },
    /// An answer with another status than was expected.
    #[error("{host} answered {status}")]
    Status {
        /// Who was asked.
        host: String,
        /// The status.
        status: u16,
    },
    /// An answer of more than 512 KiB.
    #[error("{host} answered with more than {MAX_BODY} bytes")]
    TooLarge {
        /// Who was asked.
        host: String,
    },
    /// An answer that is not what it should be.
    #[error("{host} answered with something else than {expected}: {why}")]
    Malformed {
        /// Who was asked.
        host: String,
        /// What it should be.
        expected: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// A client that trusts one set of roots.
#[derive(Debug)]
pub(crate) struct Web {
    client: reqwest::Client,
}

/// An answer that came whole.
pub(crate) struct Answer {
    pub(crate) host: String,
    pub(crate) status: StatusCode,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Web {
    /// Trusts `roots` and nothing else; without, what the system trusts. `direct` passes by the proxy that the
    /// environment may name.
    pub(crate) fn new(roots: Option<&Path>, direct: bool) -> Result<Self, IdentityError> {
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        if direct {
            builder = builder.no_proxy();
        }
        if let Some(path) = roots {
            builder = builder.tls_certs_only(certificates(path)?);
        }
        let client = builder.build().map_err(|error| {
            IdentityError::Config(format!("no HTTP client can be made: {}", reasons(error)))
        })?;
        Ok(Self { client })
    }

    pub(crate) async fn get(&self, url: &Url, headers: HeaderMap) -> Result<Answer, WebError> {
        self.send(url, self.client.get(url.clone()).headers(headers)).await
    }

    /// Posts a form, with `Basic` authentication where a user and a password are given.
    pub(crate) async fn post(
        &self,
        url: &Url,
        form: &[(&str, &str)],
        basic: Option<(&str, &Secret)>,
    ) -> Result<Answer, WebError> {
        let mut request = self.client.post(url.clone()).form(form);
        if let Some((user, password)) = basic {
            // RFC 6749, section 2.3.1: both are form-encoded first.
            let (user, password) = (form_encoded(user), form_encoded(password.reveal()));
            request = request.basic_auth(user.as_str(), Some(password.as_str()));
        }
        self.send(url, request).await
    }

    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Answer, WebError> {
        let host = host(url);
        let unreachable =
            |error: reqwest::Error| WebError::Unreachable { host: host.clone(), why: reasons(error) };
        let json = HeaderValue::from_static("application/json");
        let mut response = request.header(ACCEPT, json).send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(WebError::Redirected { host, status: status.as_u16() });
        }
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(WebError::TooLarge { host });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { host, status, body })
    }
}

impl Answer {
    /// The body of a 200 as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, expected: &'static str) -> Result<T, WebError> {
        if self.status != StatusCode::OK {
            return Err(WebError::Status { host: self.host.clone(), status: self.status.as_u16() });
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            // The message of a JSON error may quote what it found: only the place is told.
            let why = format!("line {}, column {}", error.line(), error.column());
            WebError::Malformed { host: self.host.clone(), expected, why }
        })
    }
}

/// A URL that may be asked: https, or http to this very host.
pub(crate) fn secure_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        _ => {
            return Err(format!(
                "{text:?} must begin with https:// (http:// is for loopback addresses alone)"
            ));
        }
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("a user, a password or a fragment has no place in the URL of {}", host(&url)));
    }
    Ok(url)
}

/// Whether a URL leads to this very host.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    })
}

/// Host, and port where it is not the scheme's own.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("(no host)");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, IdentityError> {
    let bad = |why: String| IdentityError::Config(format!("certificateAuthority {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| bad(reasons(error)))?;
    if certificates.is_empty() {
        return Err(bad("it holds no certificate in PEM form".to_owned()));
    }
    Ok(certificates)
}

/// An error and its causes, without the URL.
fn reasons(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

fn form_encoded(text: &str) -> Zeroizing<String> {
    Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_to_everything_but_loopback() {
        for url in
            ["https://idp.example.com", "http://127.0.0.1:80/x", "http://[::1]:8080", "http://localhost"]
        {
            secure_url(url).unwrap();
        }
        for url in [
            "http://idp.example.com",
            "http://127.0.0.1.example.com",
            "ftp://x",
            "idp.example.com",
            "https://a:b@idp.example.com",
            "https://idp.example.com/#x",
            "http://10.0.0.1",
        ] {
            secure_url(url).unwrap_err();
        }
    }

    #[test]
    fn client_secrets_are_form_encoded_before_they_are_basic() {
        assert_eq!(*form_encoded("a b:c%=d"), "a+b%3Ac%25%3Dd");
        assert_eq!(*form_encoded("=x"), "%3Dx");
        assert_eq!(*form_encoded(""), "");
    }
}
