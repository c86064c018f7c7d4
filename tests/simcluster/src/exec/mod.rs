//! exec and attach: a local process behind the four streams of the remote command protocols.

mod process;
mod spdy;
mod websocket;

use std::sync::{Arc, Mutex};

use http::header::{CONNECTION, UPGRADE};
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{Call, Cluster};
use crate::kinds::Resource;
use crate::lifecycle;
use crate::logs;
use crate::object;
use crate::respond::{self, Body};
use crate::status::Status;
use crate::store::Next;
use crate::stream;
use crate::upgrade::{self, Connection};

pub(crate) use websocket::Protocol;

/// SPDY sub-protocols, best first.
const SPDY_VERSIONS: &[&str] =
    &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// Which streams a client wants.
#[derive(Debug, Clone, Copy)]
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

/// What the client sends to the process.
#[derive(Debug)]
enum Input {
    Stdin(Vec<u8>),
    StdinEnd,
    Resize { columns: u16, rows: u16 },
}

/// What the process sends to the client.
#[derive(Debug)]
enum Output {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
}

/// How the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Exited(i32),
    NotStarted(String),
}

/// A client on the line, whatever its protocol.
struct Client {
    input: mpsc::Receiver<Input>,
    output: mpsc::Sender<Output>,
    /// Takes the outcome once all output is sent.
    finish: oneshot::Sender<Outcome>,
}

/// The way to the process, remembering what went through for the journal.
#[derive(Clone)]
struct Inlet {
    sender: mpsc::Sender<Input>,
    seen: Arc<Mutex<Vec<u8>>>,
}

/// What stands behind the streams.
enum Work {
    /// A command, in a container or as its own process.
    Process(process::Spec),
    /// A container that is only listened to.
    Listen,
}

/// Answers `pods/exec` and `pods/attach`.
///
/// # Errors
/// 400 for a request that asks for no upgrade, a container that is not there, or a pod that has ended; 404.
pub(crate) fn serve(cluster: &Arc<Cluster>, call: Call) -> Result<Response<Body>, Status> {
    let pod = cluster.store.read(Resource::core("pods"), &call.info.namespace, &call.info.name)?;
    let container = logs::container(&pod, &call)?;
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        let message = format!("cannot exec into a container in a completed pod; current phase is {phase}");
        return Err(Status::bad_request(message));
    }
    let flag = |name: &str| call.query.is_true(name);
    let streams =
        Streams { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr"), tty: flag("tty") };
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    let attach = call.info.subresource == "attach";
    let work = work(cluster, &call, &pod, &container, streams, attach)?;
    let session = Session { cluster: cluster.clone(), id: call.id, pod: pod.clone(), work, attach };
    match stream::wants_upgrade(&call.headers) {
        Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => {
            Ok(over_websocket(call, streams, session))
        }
        Some(protocol) if protocol.eq_ignore_ascii_case("spdy/3.1") => Ok(over_spdy(call, streams, session)),
        _ => Err(Status::bad_request("Upgrade request required")),
    }
}

/// One exec or attach under way.
struct Session {
    cluster: Arc<Cluster>,
    id: u64,
    pod: Arc<Value>,
    work: Work,
    attach: bool,
}

impl Session {
    /// Runs the process for the client and tells it how it ended.
    async fn run(self, client: Client, seen: Arc<Mutex<Vec<u8>>>) {
        let outcome = match self.work {
            Work::Process(spec) => process::run(spec, client.input, client.output).await,
            Work::Listen => listen(client.input, client.output).await,
        };
        let stdin = std::mem::take(&mut *seen.lock().expect("no holder of the stdin record panics"));
        if !stdin.is_empty() {
            self.cluster.journal.stdin(self.id, &stdin);
        }
        if let (true, Outcome::Exited(code)) = (self.attach, &outcome) {
            end_pod(&self.cluster, &self.pod, *code);
        }
        // The client may have hung up: then nobody wants the outcome.
        client.finish.send(outcome).ok();
    }
}

fn over_websocket(call: Call, streams: Streams, session: Session) -> Response<Body> {
    if call.method != Method::GET {
        return respond::text(StatusCode::METHOD_NOT_ALLOWED, "bad method");
    }
    let offered: Vec<String> = stream::offered(&call.headers).into_iter().map(str::to_owned).collect();
    let Some(protocol) = websocket::Protocol::choose(&offered) else {
        return upgrade::bare(StatusCode::FORBIDDEN);
    };
    stream::accept(call, Some(protocol.name()), move |connection| async move {
        let (client, seen) = websocket::open(connection, protocol, streams);
        session.run(client, seen).await;
    })
}

fn over_spdy(call: Call, streams: Streams, session: Session) -> Response<Body> {
    let offered = call.headers.get_all("x-stream-protocol-version");
    let offered: Vec<&str> = offered.iter().filter_map(|value| value.to_str().ok()).collect();
    let Some(version) = SPDY_VERSIONS.iter().find(|version| offered.contains(version)) else {
        let mut response =
            respond::text(StatusCode::FORBIDDEN, "unable to upgrade: unable to negotiate protocol");
        let supported = http::HeaderValue::from_static("v4.channel.k8s.io");
        response.headers_mut().insert("x-accepted-stream-protocol-versions", supported);
        return response;
    };
    let headers = [
        (CONNECTION, "Upgrade".to_owned()),
        (UPGRADE, "SPDY/3.1".to_owned()),
        (http::HeaderName::from_static("x-stream-protocol-version"), (*version).to_owned()),
    ];
    upgrade::switch(call.upgrade, &headers, move |connection: Connection| async move {
        let opened = spdy::open(connection, version, streams, &session.work).await;
        if let Some((client, seen)) = opened {
            session.run(client, seen).await;
        }
    })
}

fn work(
    cluster: &Cluster,
    call: &Call,
    pod: &Value,
    container: &str,
    streams: Streams,
    attach: bool,
) -> Result<Work, Status> {
    let known =
        pod["spec"]["containers"].as_array().into_iter().flatten().find(|one| one["name"] == container);
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let argv = match (attach, known) {
        (false, _) => call.query.all("command").map(str::to_owned).collect(),
        (true, Some(known)) if known["stdin"] == json!(true) => {
            let mut argv = texts(&known["command"]);
            argv.extend(texts(&known["args"]));
            // An image's own command is not known here; a shell is what most have.
            if argv.is_empty() { vec!["sh".to_owned()] } else { argv }
        }
        (true, _) => return Ok(Work::Listen),
    };
    if argv.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    let environment = known.map(|known| known["env"].clone()).unwrap_or_default();
    let environment = environment.as_array().into_iter().flatten().filter_map(|variable| {
        Some((variable["name"].as_str()?.to_owned(), variable["value"].as_str()?.to_owned()))
    });
    Ok(Work::Process(process::Spec {
        argv,
        environment: environment.collect(),
        hostname: object::name(pod).to_owned(),
        dir: cluster.pod_dir(pod),
        streams,
    }))
}

/// A container that nobody types into: its log as it grows, until the client leaves.
async fn listen(mut input: mpsc::Receiver<Input>, output: mpsc::Sender<Output>) -> Outcome {
    let mut lines = logs::lines();
    loop {
        tokio::select! {
            line = lines.recv() => {
                let Some(line) = line else { return Outcome::Exited(0) };
                if output.send(Output::Stdout(line)).await.is_err() {
                    return Outcome::Exited(0);
                }
            }
            gone = input.recv() => if gone.is_none() { return Outcome::Exited(0) },
        }
    }
}

/// The kubelet's part when a container's own process ends in a pod that does not restart it.
fn end_pod(cluster: &Cluster, pod: &Value, code: i32) {
    if pod["spec"]["restartPolicy"] != "Never" {
        return;
    }
    let (resource, uid) = (Resource::core("pods"), object::meta(pod, "uid"));
    let ended = cluster.store.update(resource, object::namespace(pod), object::name(pod), |old| {
        let mut new = old.clone();
        if object::meta(old, "uid") == uid {
            lifecycle::finish_pod(&mut new, code);
        }
        Ok(Next::Put(new))
    });
    if let Err(status) = ended {
        tracing::debug!("pod ended after its deletion: {}", status.message);
    }
}

impl Outcome {
    /// The `Status` that ends the error stream. `exit` words a non-zero exit code.
    fn status(&self, exit: impl Fn(i32) -> String) -> Value {
        match self {
            Outcome::Exited(0) => json!({"metadata": {}, "status": "Success"}),
            Outcome::Exited(code) => json!({
                "metadata": {}, "status": "Failure",
                "message": format!("command terminated with non-zero exit code: {}", exit(*code)),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Outcome::NotStarted(why) => json!({
                "metadata": {}, "status": "Failure", "message": format!("Internal error occurred: {why}"),
                "reason": "InternalError", "details": {"causes": [{"message": why}]}, "code": 500,
            }),
        }
    }
}

impl Inlet {
    fn new() -> (Inlet, mpsc::Receiver<Input>) {
        let (sender, receiver) = mpsc::channel(16);
        (Inlet { sender, seen: Arc::default() }, receiver)
    }

    async fn send(&self, input: Input) -> bool {
        if let Input::Stdin(bytes) = &input {
            self.seen.lock().expect("no holder of the stdin record panics").extend_from_slice(bytes);
        }
        self.sender.send(input).await.is_ok()
    }
}

/// A resize message: `{"Width":80,"Height":24}`.
fn resize(bytes: &[u8]) -> Option<Input> {
    let size: Value = serde_json::from_slice(bytes).ok()?;
    let number = |key: &str| size[key].as_u64().and_then(|number| u16::try_from(number).ok());
    Some(Input::Resize { columns: number("Width")?, rows: number("Height")? })
}
