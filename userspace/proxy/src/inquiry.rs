//! Questions of the gate's own about the object that a request is about: asked at the same target, under the same credential
//! and grant, before the request itself goes up. What is answered is for the gate; who shows it masks it.

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::BodyExt;
use std::sync::Arc;

use crate::body::RequestBody;
use crate::decide::Decided;
use crate::present::{self, Masked};
use crate::refusal::Refusal;

/// An object is at most as large as what a request may carry (apiserver, 3 MiB), and a little more.
const LARGEST: usize = 4 * 1024 * 1024;

/// What the target answered, in JSON unless it is an error.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The content coding; empty for none.
    pub(crate) coding: String,
    pub(crate) body: Bytes,
}

/// Asks. `target` is path and query; a body is of the kind that the client's own is.
pub(crate) async fn ask(
    decided: &Decided,
    method: Method,
    target: &str,
    body: Bytes,
) -> Result<Answer, Refusal> {
    let person = &decided.classified.person;
    let failed =
        |cause: String| Refusal::Upstream { target: person.connection.route.target.name.clone(), cause };
    let uri: Uri = target.parse().map_err(|error| failed(format!("{target:?} is no target: {error}")))?;
    let head = head(&decided.classified.head, method, uri);
    let (head, pools) = present::dress(person, &decided.allowed, head, Masked::Once).await?;
    let request = Request::from_parts(head, RequestBody::whole(body, Arc::default()));
    let response = pools.send(request).await.map_err(|error| failed(error.to_string()))?;
    let (head, mut body) = response.into_parts();
    let coding = head.headers.get(header::CONTENT_ENCODING).map_or(&[][..], HeaderValue::as_bytes);
    let coding = String::from_utf8_lossy(coding).into_owned();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > LARGEST {
            return Err(failed("the object is too large".to_owned()));
        }
        whole.extend_from_slice(&data);
    }
    Ok(Answer { status: head.status, coding, body: whole.freeze() })
}

/// The client's own head for another request: what it says of the body, and nothing of what it wants back.
fn head(of: &Parts, method: Method, uri: Uri) -> Parts {
    let mut head = Request::new(()).into_parts().0;
    if method != Method::GET
        && let Some(content_type) = of.headers.get(header::CONTENT_TYPE)
    {
        head.headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    head.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    head.version = of.version;
    head.method = method;
    head.uri = uri;
    head
}
