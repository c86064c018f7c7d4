//! HTTPS to those who give credentials: bounded in time and size, past any proxy, and never sent elsewhere.

use std::time::Duration;

use reqwest::{Certificate, Client, Response, redirect};
use zeroize::Zeroizing;

use crate::{Why, error::causes};

const CALL_LIMIT: Duration = Duration::from_secs(10);
const LARGEST_ANSWER: usize = 1 << 20;

/// Trusts the CA in this PEM alone, or the system's roots. It needs the process' default provider of rustls to be
/// installed.
pub(crate) fn client(ca: Option<&[u8]>) -> Result<Client, Why> {
    let unusable = |error: reqwest::Error| Why::Unusable(causes(&error));
    let builder =
        Client::builder().timeout(CALL_LIMIT).redirect(redirect::Policy::none()).no_proxy().https_only(true);
    let builder = match ca {
        Some(pem) => builder.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(unusable)?),
        None => builder,
    };
    builder.build().map_err(unusable)
}

/// The whole of an answer's body, wiped when it is dropped.
pub(crate) async fn body(mut response: Response) -> Result<Zeroizing<Vec<u8>>, Why> {
    // Growing would leave copies behind.
    let said = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(8 << 10);
    let mut body = Zeroizing::new(Vec::with_capacity(said.min(LARGEST_ANSWER)));
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(Why::Unusable("the answer is too large".into()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Without the URL, whose query can hold what is secret.
pub(crate) fn unreachable(error: reqwest::Error) -> Why {
    Why::Unreachable(causes(&error.without_url()))
}
