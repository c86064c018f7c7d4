//! Questions of the gate's own about the object that a request is about: asked at the same target, under the same credential
//! and grant, before the request itself goes up. What is answered is for the gate; who shows it masks it.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use portcullis_access::Allowed;
use portcullis_record::{Event, redact_query};

use crate::body::RequestBody;
use crate::caller::Person;
use crate::decide::{Decided, audit_id};
use crate::headers;
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

/// Asks about the object of a request that has not gone up yet. `target` is path and query; a body is of the kind that the
/// client's own is. That it is asked is evidence before it goes up, under an audit id of its own.
pub(crate) async fn ask(
    decided: &Decided,
    method: Method,
    target: &str,
    body: Bytes,
) -> Result<Answer, Refusal> {
    let person = &decided.classified.person;
    let failed = |error| Refusal::Upstream {
        target: person.connection.route.target.name.clone(),
        cause: format!("{target:?} is no target: {error}"),
    };
    let uri: Uri = target.parse().map_err(|error: http::uri::InvalidUri| failed(error))?;
    let audit_id = audit_id();
    let text = format!("the gate itself asks: {method} {} (audit id {audit_id})", redact_query(target));
    person.line()?.session.event(&Event::Note { text })?;
    put(person, &decided.allowed, head(&decided.classified.head, method, uri), body, &audit_id).await
}

/// Puts a question, as whoever a request under `allowed` is presented as.
pub(crate) async fn put(
    person: &Person,
    allowed: &Allowed,
    head: Parts,
    body: Bytes,
    audit_id: &str,
) -> Result<Answer, Refusal> {
    let failed =
        |cause: String| Refusal::Upstream { target: person.connection.route.target.name.clone(), cause };
    let (mut head, up) = present::dress(person, allowed, head, Masked::Once, &body).await?;
    headers::set_audit_id(&mut head.headers, audit_id)?;
    let request = Request::from_parts(head, RequestBody::whole(body, Arc::default()));
    let response = up.send(request).await.map_err(|error| failed(error.to_string()))?;
    let (head, body) = response.into_parts();
    let coding = head.headers.get(header::CONTENT_ENCODING).map_or(&[][..], HeaderValue::as_bytes);
    let coding = String::from_utf8_lossy(coding).into_owned();
    let whole = Limited::new(body, LARGEST).collect().await.map_err(|error| failed(error.to_string()))?;
    Ok(Answer { status: head.status, coding, body: whole.to_bytes() })
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
