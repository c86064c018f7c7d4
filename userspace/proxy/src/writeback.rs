//! Masked values that come back in a write: each is replaced by the live value where it stands as it stood, and the request
//! is refused where one stands anywhere else. It would replace the secret by its mask.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, header, request};
use http_body_util::BodyExt;
use portcullis_access::Operation;
use portcullis_mask::{
    PlaceholderGuard, RestoreError, RestoredValues, Rules, Write, packs_placeholder, restore as restored_in,
};
use portcullis_record::Event;
use serde_json::Value;

use crate::Proxy;
use crate::classify::Body;
use crate::decide::Decided;
use crate::inquiry::{self, Answer};
use crate::patch;
use crate::refusal::Refusal;
use crate::sent::SentBody;

/// The API server itself takes no larger request body (apiserver `MaxRequestBodyBytes`, 3 MiB).
const LIMIT: usize = 3 * 1024 * 1024;
/// How long a client may take to send it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the target may take to give the live object.
const LIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Fields that a record names, and characters of each.
const PATHS: usize = 100;
const PATH: usize = 256;

/// A body with the live values in it.
pub(crate) struct Restored {
    pub(crate) body: Bytes,
    pub(crate) values: RestoredValues,
    paths: Vec<String>,
}

impl Restored {
    /// What was restored in request number `request`.
    pub(crate) fn event(&self, request: u32) -> Event {
        let cut = |path: &String| path.chars().take(PATH).collect();
        let paths = self.paths.iter().take(PATHS).map(cut).collect();
        Event::Restored { request, count: self.paths.len(), paths }
    }
}

/// Looks through the body of a write to a masked resource, and restores what it brings back from what is live now.
pub(crate) async fn restore(proxy: &Proxy, decided: &mut Decided) -> Result<(), Refusal> {
    let restored = match (&decided.rules, &decided.classified.body) {
        (Some(rules), Body::Whole { bytes, .. }) => {
            check(&decided.classified.head, bytes)?;
            let found = match PlaceholderGuard::find(bytes) {
                Some(found) => Some(found.to_string()),
                None => packs_placeholder(bytes).then(|| "inside of a Helm release".to_owned()),
            };
            if found.is_some() || rules.leave_no_trace() {
                from_live(proxy, decided, rules, bytes, found.as_deref()).await?
            } else {
                None
            }
        }
        _ => None,
    };
    if let Body::Whole { restored: place, .. } = &mut decided.classified.body {
        *place = restored;
    }
    Ok(())
}

/// Refuses a body that cannot be looked through, or that asks the API server to bring masked values out.
fn check(head: &request::Parts, whole: &[u8]) -> Result<(), Refusal> {
    readable(head)?;
    if head.method == Method::PATCH {
        patch::checked(&head.headers, whole)?;
    }
    Ok(())
}

/// `found` says where the first masked value is, if one shows.
async fn from_live(
    proxy: &Proxy,
    decided: &Decided,
    rules: &Arc<Rules>,
    body: &Bytes,
    found: Option<&str>,
) -> Result<Option<Restored>, Refusal> {
    // Where there is nothing live, there is nothing that could come back unseen.
    let nothing_live = |why: &str| match found {
        Some(found) => Err(Refusal::WriteBack(format!("{found}: {why}"))),
        None => Ok(None),
    };
    let head = &decided.classified.head;
    let write = match write(head, &decided.classified.operation) {
        Ok(write) => write,
        Err(why) => return nothing_live(why),
    };
    let asking = inquiry::ask(decided, Method::GET, head.uri.path(), Bytes::new());
    let asking = tokio::time::timeout(LIVE_TIMEOUT, asking);
    let answer = decided.lease.within(asking).await.map_err(Refusal::Ended)?;
    let unread = |cause: String| Refusal::Upstream {
        target: decided.classified.person.connection.route.target.name.clone(),
        cause: format!("the live object, to restore masked values from it: {cause}"),
    };
    let answer = answer.map_err(|_| unread(format!("nothing in {LIVE_TIMEOUT:?}")))??;
    let live = match answer {
        Answer { status: StatusCode::OK, ref coding, ref body } if matches!(&**coding, "" | "identity") => {
            body
        }
        Answer { status: StatusCode::NOT_FOUND, .. } => {
            return nothing_live("there is no such object to restore it from");
        }
        Answer { status, body, .. } if status.is_client_error() => {
            let said = message(&body).unwrap_or_else(|| status.to_string());
            let found = found.unwrap_or("it may");
            return Err(Refusal::WriteBack(format!(
                "{found}: the object could not be read to restore it: {said}"
            )));
        }
        Answer { status, .. } => return Err(unread(format!("status {status}"))),
    };
    match restored_in(write, body, live, rules, &proxy.mask_key) {
        Ok(restored) => Ok(restored.map(|restored| Restored {
            body: restored.body.into(),
            values: restored.values,
            paths: restored.paths,
        })),
        Err(RestoreError::Stale { .. }) => {
            let info = &decided.classified.info;
            let object = format!("{} {:?}", info.resource, info.name);
            Err(Refusal::Stale { object })
        }
        Err(error @ RestoreError::Live(_)) => Err(unread(error.to_string())),
        Err(error @ RestoreError::Field { .. }) => Err(Refusal::WriteBack(error.to_string())),
    }
}

/// What the write does with its body, if there is a live object for it.
fn write(head: &request::Parts, operation: &Operation) -> Result<Write, &'static str> {
    let Operation::Resource { name, subresource, .. } = operation else { return Err("it is no object") };
    if head.method == Method::POST {
        return Err("what is created has no live object to restore it from");
    }
    if !subresource.is_empty() {
        return Err("it can be restored in the object itself only, not in a subresource");
    }
    if name.is_empty() {
        return Err("no single object is named to restore it from");
    }
    if head.method == Method::PUT {
        return Ok(Write::Update);
    }
    match patch::essence(&head.headers).as_str() {
        _ if head.method != Method::PATCH => Err("nothing is written"),
        "application/merge-patch+json" => Ok(Write::MergePatch),
        "application/strategic-merge-patch+json" => Ok(Write::StrategicPatch),
        "application/json-patch+json" => Ok(Write::JsonPatch),
        "application/apply-patch+yaml" => Ok(Write::Apply),
        _ => Err("it can be restored in JSON only"),
    }
}

/// What a Status says.
fn message(status: &[u8]) -> Option<String> {
    let status: Value = serde_json::from_slice(status).ok()?;
    status["message"].as_str().map(str::to_owned)
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
pub(crate) async fn whole(body: SentBody) -> Result<Bytes, Refusal> {
    tokio::time::timeout(TIMEOUT, collected(body))
        .await
        .map_err(|_| Refusal::BodyUnreadable(format!("it did not come in {TIMEOUT:?}")))?
}

async fn collected(mut body: SentBody) -> Result<Bytes, Refusal> {
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

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn kind(method: &Method, content_type: &'static str, subresource: &str, name: &str) -> Option<Write> {
        let mut head = Request::new(()).into_parts().0;
        head.method = method.clone();
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let operation = Operation::Resource {
            verb: String::new(),
            api_group: String::new(),
            api_version: "v1".to_owned(),
            resource: "secrets".to_owned(),
            subresource: subresource.to_owned(),
            namespace: "demo".to_owned(),
            name: name.to_owned(),
        };
        write(&head, &operation).ok()
    }

    #[test]
    fn a_write_is_known_by_its_method_and_type() {
        for (method, content_type, expected) in [
            (Method::PUT, "application/json", Some(Write::Update)),
            (Method::PATCH, "application/merge-patch+json", Some(Write::MergePatch)),
            (
                Method::PATCH,
                "Application/Strategic-Merge-Patch+JSON; charset=utf-8",
                Some(Write::StrategicPatch),
            ),
            (Method::PATCH, "application/json-patch+json", Some(Write::JsonPatch)),
            (Method::PATCH, "application/apply-patch+yaml", Some(Write::Apply)),
            (Method::PATCH, "application/apply-patch+cbor", None),
            (Method::POST, "application/json", None),
            (Method::DELETE, "application/json", None),
        ] {
            assert_eq!(kind(&method, content_type, "", "db"), expected, "{method} {content_type}");
            assert_eq!(kind(&method, content_type, "status", "db"), None);
            assert_eq!(kind(&method, content_type, "", ""), None);
        }
    }

    #[test]
    fn a_record_names_what_it_can() {
        let paths: Vec<String> = (0..PATHS + 5).map(|_| "x".repeat(PATH + 5)).collect();
        let body = Bytes::new();
        let restored = Restored { body, values: RestoredValues::default(), paths };
        let Event::Restored { count, paths, .. } = restored.event(1) else { panic!("not restored") };
        assert_eq!((count, paths.len(), paths[0].len()), (PATHS + 5, PATHS, PATH));
    }
}
