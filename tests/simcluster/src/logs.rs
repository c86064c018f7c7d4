//! Container logs: what stands in the pod's file `<container>.log`, or else numbered lines, so that tests know what to
//! expect; `follow` adds one every 100 ms.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::cluster::{Call, Cluster};
use crate::kinds::Resource;
use crate::respond::Body;
use crate::status::Status;
use crate::stream;

/// Lines that every container has written when it is first asked.
const LINES: u64 = 20;
/// The annotation of a pod with what its containers say in every line.
const SAYS: &str = "simcluster/says";
/// Time between two lines of a followed log.
const PACE: Duration = Duration::from_millis(100);

/// Answers `pods/log`.
///
/// # Errors
/// 400 for a container that is not there or has no previous run, 404.
pub(crate) fn serve(cluster: &Arc<Cluster>, call: Call) -> Result<Response<Body>, Status> {
    let pod = cluster.store.read(Resource::core("pods"), &call.info.namespace, &call.info.name)?;
    let container = container(&pod, &call)?;
    if call.query.is_true("previous") {
        let message =
            format!("previous terminated container {container:?} in pod {:?} not found", call.info.name);
        return Err(Status::bad_request(message));
    }
    let log = Log::of(cluster, &pod, &container, call.query.is_true("timestamps"));
    let written = log.written();
    let tail = call.query.number::<u64>("tailLines").unwrap_or(written).min(written);
    let mut limit = call.query.number::<usize>("limitBytes");
    let follow = call.query.is_true("follow");
    let (lines, receiver) = mpsc::channel::<Bytes>(16);
    let shutdown = cluster.shutdown.clone();
    tokio::spawn(async move {
        for number in written - tail + 1.. {
            if number > written {
                if !follow {
                    return;
                }
                tokio::select! {
                    () = lines.closed() => return,
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(PACE) => {}
                }
            }
            let mut line = log.line(number);
            if let Some(left) = &mut limit {
                line.truncate(*left);
                *left -= line.len();
            }
            if line.is_empty() || lines.send(Bytes::from(line)).await.is_err() {
                return;
            }
        }
    });
    if stream::wants_websocket(&call.headers) {
        return Ok(stream::serve_log(call, receiver));
    }
    let mut response = Response::new(stream::body(receiver));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// The lines that every container goes on to write, for those who attach to one.
pub(crate) fn lines() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for number in LINES + 1.. {
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(PACE) => {}
            }
            if sender.send(format!("line {number}\n").into_bytes()).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// The container a request names, or the pod's only one.
///
/// # Errors
/// 400 when there is no such container, or more than one and none named.
pub(crate) fn container(pod: &Value, call: &Call) -> Result<String, Status> {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let all = lists.iter().flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
    let names: Vec<&str> = all.filter_map(|container| container["name"].as_str()).collect();
    let name = &call.info.name;
    match (call.query.filled("container"), &names[..]) {
        (Some(wanted), names) if names.contains(&wanted) => Ok(wanted.to_owned()),
        (Some(wanted), _) => {
            Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}")))
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, names) => Err(Status::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            names.join(" ")
        ))),
    }
}

struct Log {
    /// What the pod's file has, line by line.
    file: Option<Vec<Vec<u8>>>,
    timestamps: bool,
    says: String,
}

impl Log {
    fn of(cluster: &Cluster, pod: &Value, container: &str, timestamps: bool) -> Log {
        let path = cluster.pod_dir(pod).join(format!("{container}.log"));
        let lines = |file: Vec<u8>| file.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let says = pod["metadata"]["annotations"][SAYS].as_str().unwrap_or_default().to_owned();
        Log { file: std::fs::read(path).ok().map(lines), timestamps, says }
    }

    /// How many lines there are when it is first asked for.
    fn written(&self) -> u64 {
        self.file.as_ref().map_or(LINES, |lines| lines.len() as u64)
    }

    fn line(&self, number: u64) -> Vec<u8> {
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let known = self.file.as_ref().and_then(|lines| lines.get(index));
        let line = known.cloned().unwrap_or_else(|| {
            let space = if self.says.is_empty() { "" } else { " " };
            format!("line {number}{space}{}\n", self.says).into_bytes()
        });
        if !self.timestamps {
            return line;
        }
        let ago = i64::try_from(self.written().saturating_sub(number)).unwrap_or_default();
        let at = Timestamp::now() - SignedDuration::from_secs(ago);
        let stamp = format!("{} ", at.strftime("%Y-%m-%dT%H:%M:%S%.9fZ"));
        [stamp.into_bytes(), line].concat()
    }
}
