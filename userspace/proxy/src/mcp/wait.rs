//! A call that waits for a person. Clients of MCP give up on a request that stays silent, so one that reads events hears
//! at once that its call waits, and again and again, until the answer comes on the same stream. Who can be asked to come
//! back for it is ([`ask`]).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::BodyExt;
use portcullis_codec::sse;
use portcullis_mcp::{Id, Message};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::ask;
use crate::Proxy;
use crate::body::{BodyError, ResponseBody};
use crate::caller::Caller;
use crate::classify::Shape;
use crate::conn;
use crate::decide::Decided;
use crate::refusal::Refused;

/// How often a client hears that its call waits; they give up after 30 seconds and more.
const BEAT: Duration = Duration::from_secs(10);
/// Pieces of the answer under way to a client that reads slowly.
const AHEAD: usize = 4;

/// Whether this call waits, and its client can be told so.
pub(crate) fn tells(proxy: &Proxy, decided: &Decided) -> bool {
    let Shape::Call(call) = &decided.classified.shape else { return false };
    let hears = call.id().is_some() && reads_events(&decided.classified.head.headers);
    decided.review.is_some() && hears && !ask::asks(proxy, &decided.classified)
}

/// Answers at once with a stream on which the rest follows.
pub(crate) fn answer(proxy: &Arc<Proxy>, caller: &Arc<Caller>, decided: Decided) -> Response<ResponseBody> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (proxy, caller) = (Arc::clone(proxy), Arc::clone(caller));
    tokio::spawn(async move {
        tokio::select! {
            () = follow(&proxy, &caller, decided, &sender) => {}
            // Who goes away wants it no longer.
            () = sender.closed() => {}
        }
    });
    let mut response = Response::new(ResponseBody::Channel(receiver));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

async fn follow(proxy: &Arc<Proxy>, caller: &Arc<Caller>, decided: Decided, client: &mpsc::Sender<Bytes>) {
    let Shape::Call(call) = &decided.classified.shape else { return };
    let person = Arc::clone(&decided.classified.person);
    let waiting = call.id().map(|id| proxy.mcp.wait(&person, call, id));
    let withdrawn = async {
        match &waiting {
            Some(waiting) => waiting.withdrawn.cancelled().await,
            None => std::future::pending().await,
        }
    };
    let mut withdrawn = pin!(withdrawn);
    let (id, token) = (call.id().cloned(), call.message.as_ref().and_then(Message::progress_token).cloned());
    let mut answered = pin!(conn::proceed(proxy, decided));
    let mut beat = tokio::time::interval(BEAT);
    let mut beats = 0_u64;
    let answered = loop {
        tokio::select! {
            answered = &mut answered => break answered,
            () = &mut withdrawn => return,
            _ = beat.tick() => {
                beats += 1;
                // Never waited for: a client that does not read must not put off what becomes of its call.
                let _ = client.try_send(waits(token.as_ref(), beats));
            }
        }
    };
    match answered {
        Ok(response) => pass_on(response, client, id.as_ref()).await,
        Err(refused) => {
            caller.refused(Some(&person), &refused, None);
            let _ = client.send(refusal(&refused, id.as_ref())).await;
        }
    }
}

/// A notification for clients that asked for them, else a comment, which keeps the connection open.
fn waits(token: Option<&Value>, beats: u64) -> Bytes {
    const WAITS: &str = "portcullis: this call waits until somebody agrees to it (portcullis requests)";
    let Some(token) = token else { return Bytes::from(format!(": {WAITS}\n\n")) };
    let params = json!({"progressToken": token, "progress": beats, "message": WAITS});
    event(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).to_string())
}

/// The server's answer, as events if it came as something else.
async fn pass_on(response: Response<ResponseBody>, client: &mpsc::Sender<Bytes>, id: Option<&Id>) {
    let events =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|value| is_events(value.as_bytes()));
    let status = response.status();
    let mut body = response.into_body();
    if events {
        while let Some(frame) = body.frame().await {
            let data = match frame.map(Frame::into_data) {
                Ok(Ok(data)) => data,
                Ok(Err(_trailers)) => continue,
                Err(error) => broke_off(id, &error),
            };
            if client.send(data).await.is_err() {
                return;
            }
        }
        return;
    }
    let whole = match body.collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(error) => {
            let _ = client.send(broke_off(id, &error)).await;
            return;
        }
    };
    let is_message = serde_json::from_slice::<Value>(&whole).is_ok_and(|said| said.get("jsonrpc").is_some());
    let said = match std::str::from_utf8(&whole) {
        Ok(text) if is_message => event(text),
        _ => error_event(id, i64::from(status.as_u16()), &format!("the server answered {status}")),
    };
    let _ = client.send(said).await;
}

fn refusal(refused: &Refused, id: Option<&Id>) -> Bytes {
    event(&String::from_utf8_lossy(&refused.refusal.rpc(id)))
}

fn broke_off(id: Option<&Id>, error: &BodyError) -> Bytes {
    error_event(id, 502, &format!("portcullis: the answer broke off: {error}"))
}

fn error_event(id: Option<&Id>, code: i64, message: &str) -> Bytes {
    event(&String::from_utf8_lossy(&portcullis_mcp::error(id, code, message, None)))
}

fn event(message: &str) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + 32);
    let data = Some(message.as_bytes().to_vec());
    sse::event(&sse::Event { data, ..sse::Event::default() }, &mut out);
    out.into()
}

pub(super) fn reads_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(is_events)
}

/// Whether a media type is that of server-sent events, with parameters or without.
pub(crate) fn is_events(media_type: &[u8]) -> bool {
    let essence = media_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}
