//! One attempt to hand one message to one endpoint, over HTTP.

use std::error::Error;
use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, header};
use portcullis_access::Clock;
use reqwest::{Certificate, Client, Response, Url, redirect, retry};

use crate::NotifyError;
use crate::backoff::retry_after;
use crate::config::is_loopback;
use crate::message::Message;
use crate::notify::Webhook;
use crate::secret::Secret;
use crate::sign::{SIGNATURE_HEADER, signature};

/// The header that carries a message's id: the same again when it is sent again.
pub const ID_HEADER: &str = "x-portcullis-id";

/// What one attempt may take, from the first packet to the end of the answer.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read; the status is what counts.
const LONGEST_ANSWER: usize = 64;

/// What became of an attempt. The words hold neither URL nor secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The endpoint has it.
    Delivered,
    /// Not now.
    Later { why: String, asked: Option<Duration> },
    /// Not ever.
    Refused { why: String },
}

/// A boxed future, so that the way can be chosen at run time.
pub(crate) type Posting<'a> = Pin<Box<dyn Future<Output = Attempt> + Send + 'a>>;

/// A way to hand messages over.
pub(crate) trait Transport: Send + Sync {
    /// Tries once. Not bounded in time; who calls it does that.
    fn post<'a>(&'a self, message: &'a Message) -> Posting<'a>;
}

/// HTTP to the URL of one webhook.
pub(crate) struct Http {
    client: Client,
    url: Url,
    secret: Option<Secret>,
    clock: Arc<dyn Clock>,
}

impl Http {
    pub(crate) fn new(webhook: &Webhook, clock: Arc<dyn Clock>) -> Result<Self, NotifyError> {
        let failed = |problem: String| NotifyError::Client { webhook: webhook.name.clone(), problem };
        let mut builder = client_for(&webhook.url);
        if let Some(path) = &webhook.certificate_authority {
            let pem = fs::read(path).map_err(|source| NotifyError::File { path: path.clone(), source })?;
            let roots =
                Certificate::from_pem_bundle(&pem).ok().filter(|roots| !roots.is_empty()).ok_or_else(
                    || NotifyError::Tls { path: path.clone(), problem: "no certificates in PEM".into() },
                )?;
            builder = builder.tls_certs_only(roots);
        }
        let client = builder.build().map_err(|error| failed(root_cause(&error)))?;
        Ok(Self { client, url: webhook.url.clone(), secret: webhook.secret.clone(), clock })
    }

    async fn attempt(&self, message: &Message) -> Attempt {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(ID_HEADER, &message.id)
            .body(message.body.clone());
        if let Some(secret) = &self.secret {
            // Signed anew for each attempt: the receiver refuses old times.
            request = request.header(SIGNATURE_HEADER, signature(secret, self.clock.now(), &message.body));
        }
        match request.send().await {
            Ok(response) => self.judge(response).await,
            Err(error) => Attempt::Later { why: root_cause(&error), asked: None },
        }
    }

    async fn judge(&self, response: Response) -> Attempt {
        let status = response.status();
        if status.is_success() {
            return Attempt::Delivered;
        }
        let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let asked = asked.and_then(|value| retry_after(value, self.clock.now()));
        let why = format!("it answered {}{}", status.as_u16(), self.code(response).await);
        let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status);
        if status.is_server_error() || passing {
            return Attempt::Later { why, asked };
        }
        let hint = if status.is_redirection() { ", and redirects are not followed" } else { "" };
        Attempt::Refused { why: format!("{why}{hint}") }
    }

    /// Such as Slack's `invalid_blocks`: one short word. Anything else stays unread, as it could be the URL.
    async fn code(&self, mut response: Response) -> String {
        let mut start = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            if start.len() + chunk.len() > LONGEST_ANSWER {
                return String::new();
            }
            start.extend_from_slice(&chunk);
        }
        match std::str::from_utf8(start.trim_ascii()) {
            Ok(word)
                if !word.is_empty()
                    && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                    && !self.url.as_str().contains(word) =>
            {
                format!(" ({word})")
            }
            _ => String::new(),
        }
    }
}

impl Transport for Http {
    fn post<'a>(&'a self, message: &'a Message) -> Posting<'a> {
        Box::pin(self.attempt(message))
    }
}

/// A client for one URL: no redirects, nothing tried again behind our back.
pub(crate) fn client_for(url: &Url) -> reqwest::ClientBuilder {
    let local = is_loopback(url);
    let builder = Client::builder()
        .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .https_only(!local)
        .connect_timeout(CONNECT)
        .timeout(ATTEMPT)
        .pool_max_idle_per_host(1);
    if local { builder.no_proxy() } else { builder }
}

/// What lies at the bottom of an error; what lies above quotes the URL.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} seconds", ATTEMPT.as_secs());
    }
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if std::ptr::addr_eq(cause, error) { "it could not be sent".to_owned() } else { cause.to_string() }
}

#[cfg(test)]
mod tests;
