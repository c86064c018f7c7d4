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

/// Reads the body of a write to a masked resource and returns it when it neither carries a masked value nor asks the
/// API server to. This is the one body that is held whole: half a write must not go up before its end is known to be
/// clean.
pub(crate) async fn checked(head: &request::Parts, body: Incoming) -> Result<Bytes, Refusal> {
    if let Some(coding) = head.headers.get(header::CONTENT_ENCODING)
        && coding != "identity"
    {
        return Err(Refusal::BodyCoding(String::from_utf8_lossy(coding.as_bytes()).into_owned()));
    }
    let whole = tokio::time::timeout(TIMEOUT, whole(body))
        .await
        .map_err(|_| Refusal::BodyUnreadable(format!("it did not come in {TIMEOUT:?}")))??;
    if head.method == Method::PATCH {
        patch::checked(&head.headers, &whole)?;
    }
    match PlaceholderGuard::find(&whole) {
        Some(found) => Err(Refusal::WriteBack(found.to_string())),
        None => Ok(whole),
    }
}

async fn whole(mut body: Incoming) -> Result<Bytes, Refusal> {
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
