//! The write-back guard: a masked value that came back in a write would replace the secret by its mask.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, header, request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use portcullis_mask::PlaceholderGuard;

use crate::patch;
use crate::refusal::Refusal;

/// The API server itself takes no larger request body (apiserver `MaxRequestBodyBytes`, 3 MiB).
const LIMIT: usize = 3 * 1024 * 1024;
/// How long a client may take to send it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Passes a write to a masked resource when it neither carries a masked value nor asks the API server to.
pub(crate) fn check(head: &request::Parts, whole: &[u8]) -> Result<(), Refusal> {
    readable(head)?;
    if head.method == Method::PATCH {
        patch::checked(&head.headers, whole)?;
    }
    match PlaceholderGuard::find(whole) {
        Some(found) => Err(Refusal::WriteBack(found.to_string())),
        None => Ok(()),
    }
}

/// Passes a request whose body can be read as it comes.
pub(crate) fn readable(head: &request::Parts) -> Result<(), Refusal> {
    match head.headers.get(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => {
            Err(Refusal::BodyCoding(String::from_utf8_lossy(coding.as_bytes()).into_owned()))
        }
        _ => Ok(()),
    }
}

/// Reads the body of a write. Half of one must not go up before its end is known to be clean, and nobody can agree to a
/// write of which half is still to come.
pub(crate) async fn whole(body: Incoming) -> Result<Bytes, Refusal> {
    tokio::time::timeout(TIMEOUT, collected(body))
        .await
        .map_err(|_| Refusal::BodyUnreadable(format!("it did not come in {TIMEOUT:?}")))?
}

async fn collected(mut body: Incoming) -> Result<Bytes, Refusal> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::BodyUnreadable(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > LIMIT {
            return Err(Refusal::TooLarge { limit: LIMIT });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
