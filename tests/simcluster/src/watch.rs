//! Watches: the current state, then each change, as frames of the wanted encoding.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::cluster::{Call, Cluster};
use crate::kinds::Resource;
use crate::negotiate::{Encoding, Shape};
use crate::protobuf;
use crate::respond::{Body, Client, json_bytes};
use crate::schema::schema;
use crate::selector::Selector;
use crate::status::Status;
use crate::store::Change;
use crate::stream;

/// How often a quiet watch that asked for bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch lasts that names no timeout.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// A watch to be served.
struct Watch {
    cluster: Arc<Cluster>,
    resource: &'static Resource,
    selector: Selector,
    client: Client,
    /// Everything up to here has been told.
    cursor: u64,
    /// Tell the current state first.
    initial: bool,
    /// Mark the end of the current state.
    mark_end: bool,
    bookmarks: bool,
    deadline: Instant,
    /// The first Table carries the column definitions.
    told_columns: bool,
}

/// Answers a watch: over HTTP, or over WebSocket where the client asks for that.
///
/// # Errors
/// 400, 406; 403 for a WebSocket without Origin.
pub(crate) fn serve(
    cluster: &Arc<Cluster>,
    call: Call,
    resource: &'static Resource,
) -> Result<Response<Body>, Status> {
    let watch = Watch::new(cluster, &call, resource)?;
    let content_type = match watch.client.form.encoding {
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Encoding::Json | Encoding::Yaml => "application/json",
    };
    let (frames, receiver) = mpsc::channel(16);
    tokio::spawn(watch.run(frames));
    if stream::wants_websocket(&call.headers) {
        return Ok(stream::serve_watch(call, receiver));
    }
    let mut response = Response::new(stream::body(receiver));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

impl Watch {
    fn new(cluster: &Arc<Cluster>, call: &Call, resource: &'static Resource) -> Result<Watch, Status> {
        let query = &call.query;
        let mut client = Client::new(&call.headers, query)?;
        client.pretty = false;
        let from = match query.filled("resourceVersion") {
            None => 0,
            Some(text) => {
                text.parse().map_err(|_| Status::bad_request(format!("Invalid resource version {text:?}")))?
            }
        };
        let asked = query.get("sendInitialEvents").map(|_| query.is_true("sendInitialEvents"));
        if asked.is_some() && query.filled("resourceVersionMatch") != Some("NotOlderThan") {
            return Err(Status::unprocessable(
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires \
                 setting resourceVersionMatch to NotOlderThan",
            ));
        }
        let bookmarks = query.is_true("allowWatchBookmarks");
        let timeout = query.number("timeoutSeconds").filter(|seconds| *seconds > 0);
        let timeout = timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
        Ok(Watch {
            cluster: cluster.clone(),
            resource,
            selector: Selector::new(resource, &call.info, query)?,
            client,
            cursor: from,
            initial: asked.unwrap_or(from == 0),
            mark_end: asked == Some(true) && bookmarks,
            bookmarks,
            deadline: Instant::now() + timeout,
            told_columns: false,
        })
    }

    async fn run(mut self, frames: mpsc::Sender<Bytes>) {
        let mut versions = self.cluster.store.subscribe();
        let shutdown = self.cluster.shutdown.clone();
        if self.initial {
            let (objects, version) = self.cluster.store.list(self.resource, self.selector.namespace(), None);
            self.cursor = version;
            for object in objects {
                if self.selector.matches(&object) && frames.send(self.frame("ADDED", &object)).await.is_err()
                {
                    return;
                }
            }
            if self.mark_end && frames.send(self.bookmark(true)).await.is_err() {
                return;
            }
        } else if self.cursor == 0 {
            self.cursor = self.cluster.store.current();
        }
        let mut next_bookmark = Instant::now() + BOOKMARK_EVERY;
        loop {
            let told = match self.cluster.store.since(self.resource, self.cursor) {
                Ok((changes, version)) => {
                    self.cursor = self.cursor.max(version);
                    let frames_of_changes: Vec<Bytes> =
                        changes.iter().filter_map(|change| self.change_frame(change)).collect();
                    send_all(&frames, frames_of_changes).await
                }
                Err(expired) => {
                    send_all(&frames, vec![self.error(&expired)]).await;
                    false
                }
            };
            if !told {
                return;
            }
            tokio::select! {
                () = frames.closed() => return,
                () = shutdown.cancelled() => return,
                changed = versions.changed() => if changed.is_err() { return },
                () = sleep_until(next_bookmark), if self.bookmarks => {
                    next_bookmark += BOOKMARK_EVERY;
                    if frames.send(self.bookmark(false)).await.is_err() {
                        return;
                    }
                }
                () = sleep_until(self.deadline) => {
                    if self.bookmarks {
                        send_all(&frames, vec![self.bookmark(false)]).await;
                    }
                    return;
                }
            }
        }
    }

    /// What a change is to this watch: an object that begins to match is added, one that ceases to is deleted.
    fn change_frame(&mut self, change: &Change) -> Option<Bytes> {
        let before = change.before.as_ref().is_some_and(|object| self.selector.matches(object));
        let after = self.selector.matches(&change.after);
        match (before, after, change.deleted) {
            (_, true, true) | (true, false, _) => Some(self.frame("DELETED", &change.after)),
            (true, true, false) => Some(self.frame("MODIFIED", &change.after)),
            (false, true, false) => Some(self.frame("ADDED", &change.after)),
            (false, false, _) => None,
        }
    }

    fn frame(&mut self, event: &str, object: &Value) -> Bytes {
        let (value, schema_name) = self.client.shape_one(self.resource, object, !self.told_columns);
        self.told_columns = true;
        self.encode(event, &value, schema_name)
    }

    fn bookmark(&mut self, end_of_initial: bool) -> Bytes {
        let mut object = json!({"metadata": {"resourceVersion": self.cursor.to_string()}});
        if end_of_initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        if self.client.form.shape == Shape::Table {
            let none = std::iter::empty();
            let table =
                crate::table::table(self.resource, none, &object["metadata"], self.client.include, false);
            return self.encode("BOOKMARK", &table, "");
        }
        let (value, schema_name) = self.client.shape_one(self.resource, &object, false);
        self.encode("BOOKMARK", &value, schema_name)
    }

    fn error(&self, status: &Status) -> Bytes {
        self.encode("ERROR", &status.to_value(), "meta.v1.Status")
    }

    fn encode(&self, event: &str, object: &Value, schema_name: &str) -> Bytes {
        match self.client.form.encoding {
            Encoding::Protobuf => Bytes::from(protobuf::watch_frame(
                event,
                &protobuf::encode(object, schema().get(schema_name)),
            )),
            Encoding::Json | Encoding::Yaml => {
                Bytes::from(json_bytes(&json!({"type": event, "object": object}), false))
            }
        }
    }
}

async fn send_all(frames: &mpsc::Sender<Bytes>, all: Vec<Bytes>) -> bool {
    for frame in all {
        if frames.send(frame).await.is_err() {
            return false;
        }
    }
    true
}
