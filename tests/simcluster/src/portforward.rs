//! port-forward: pairs of streams to a pod's ports, behind each of which a small HTTP server says hello, or a real one
//! listens.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, Method, Response, StatusCode};
use portcullis_codec::spdy::StreamId;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, copy_bidirectional, duplex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::cluster::{Call, Cluster};
use crate::exec::Protocol;
use crate::kinds::Resource;
use crate::object;
use crate::respond::{self, Body};
use crate::spdy::{Event, Incoming, Outgoing, plain, tunnelled};
use crate::status::Status;
use crate::stream;
use crate::upgrade::{self, Connection, Writer};

const SPDY_PROTOCOL: &str = "portforward.k8s.io";
const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// Bytes in flight between a stream and the server behind it.
const WINDOW: usize = 64 * 1024;

/// The pod as seen from its streams: its name, its files, the ports something listens on, and what that is.
#[derive(Clone)]
struct Target {
    pod: String,
    dir: PathBuf,
    ports: Vec<u16>,
    behind: Option<SocketAddr>,
}

/// Answers `pods/portforward`.
///
/// # Errors
/// 400 for a request that asks for no upgrade, 404.
pub(crate) fn serve(cluster: &Arc<Cluster>, call: Call) -> Result<Response<Body>, Status> {
    let pod = cluster.store.read(Resource::core("pods"), &call.info.namespace, &call.info.name)?;
    let target = Target {
        pod: object::name(&pod).to_owned(),
        dir: cluster.pod_dir(&pod),
        ports: ports(&pod),
        behind: cluster.behind_ports,
    };
    match stream::wants_upgrade(&call.headers) {
        Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => Ok(over_websocket(call, target)),
        Some(protocol) if protocol.eq_ignore_ascii_case("spdy/3.1") => {
            let headers = [
                (CONNECTION, "Upgrade".to_owned()),
                (UPGRADE, "SPDY/3.1".to_owned()),
                (HeaderName::from_static("x-stream-protocol-version"), SPDY_PROTOCOL.to_owned()),
            ];
            Ok(upgrade::switch(call.upgrade, &headers, |connection: Connection| async move {
                let (incoming, outgoing) = plain(connection);
                over_spdy(incoming, outgoing, target).await;
            }))
        }
        _ => Err(Status::bad_request("Upgrade request required")),
    }
}

fn over_websocket(call: Call, target: Target) -> Response<Body> {
    if call.method != Method::GET {
        return respond::text(StatusCode::METHOD_NOT_ALLOWED, "bad method");
    }
    let offered: Vec<String> = stream::offered(&call.headers).into_iter().map(str::to_owned).collect();
    if offered.iter().any(|name| name == TUNNEL_PROTOCOL) {
        return stream::accept(call, Some(TUNNEL_PROTOCOL), |connection| async move {
            let (incoming, outgoing) = tunnelled(connection);
            over_spdy(incoming, outgoing, target).await;
        });
    }
    let Some(protocol) = Protocol::choose(&offered) else { return upgrade::bare(StatusCode::FORBIDDEN) };
    let wanted: Vec<u16> = call.query.all("ports").filter_map(|port| port.parse().ok()).collect();
    stream::accept(call, Some(protocol.name()), move |connection| {
        over_channels(connection, protocol, wanted, target)
    })
}

/// Each request of the client opens an error stream, then a data stream of the same `requestid`.
async fn over_spdy(mut incoming: Incoming, outgoing: Outgoing, target: Target) {
    let mut errors: HashMap<String, StreamId> = HashMap::new();
    let mut inlets: HashMap<StreamId, mpsc::Sender<Vec<u8>>> = HashMap::new();
    while let Some(event) = incoming.next().await {
        match event {
            Event::Opened { stream, headers } => {
                let request = headers.get("requestid").unwrap_or_default().to_owned();
                match headers.get("streamtype") {
                    Some("error") => {
                        errors.insert(request, stream);
                    }
                    Some("data") => {
                        let Some(error) = errors.remove(&request) else { continue };
                        let port = headers.get("port").and_then(|port| port.parse().ok()).unwrap_or_default();
                        let (inlet, bytes) = mpsc::channel(16);
                        inlets.insert(stream, inlet);
                        tokio::spawn(forward(outgoing.clone(), target.clone(), port, (stream, error), bytes));
                    }
                    _ => {}
                }
            }
            Event::Data { stream, bytes, fin } => {
                if let Some(inlet) = inlets.get(&stream)
                    && inlet.send(bytes).await.is_err()
                {
                    inlets.remove(&stream);
                }
                if fin {
                    inlets.remove(&stream);
                }
            }
            Event::Reset { stream } => drop(inlets.remove(&stream)),
        }
    }
}

/// Carries one connection to a port.
async fn forward(
    outgoing: Outgoing,
    target: Target,
    port: u16,
    (data, error): (StreamId, StreamId),
    bytes: mpsc::Receiver<Vec<u8>>,
) {
    match target.connect(port) {
        Err(why) => {
            outgoing.data(data, b"", true).await;
            outgoing.data(error, why.as_bytes(), false).await;
        }
        Ok(near) => {
            let mut far = fed(near, bytes);
            let mut buffer = vec![0_u8; 16 * 1024];
            while let Ok(read) = far.read(&mut buffer).await {
                if read == 0 || !outgoing.data(data, &buffer[..read], false).await {
                    break;
                }
            }
            outgoing.data(data, b"", true).await;
        }
    }
    outgoing.data(error, b"", true).await;
}

/// The old form: two channels for each port of the query, announced by the port's number, little endian.
async fn over_channels(connection: Connection, protocol: Protocol, wanted: Vec<u16>, target: Target) {
    let (chunks, socket) = connection.split();
    let mut messages = stream::messages(chunks, socket.clone());
    let mut inlets: HashMap<u8, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut streams = tokio::task::JoinSet::new();
    for (port, data) in wanted.iter().zip((0_u8..).step_by(2)) {
        for channel in [data, data + 1] {
            if !socket.send(protocol.message(channel, &port.to_le_bytes())).await {
                return;
            }
        }
        let (inlet, bytes) = mpsc::channel(16);
        inlets.insert(data, inlet);
        streams.spawn(forward_channel(socket.clone(), protocol, target.clone(), *port, data, bytes));
    }
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Some(message) = message else { return };
                if let Some((channel, bytes)) = protocol.parse(&message)
                    && let Some(inlet) = inlets.get(&channel)
                    && inlet.send(bytes).await.is_err()
                {
                    inlets.remove(&channel);
                }
            }
            ended = streams.join_next() => if ended.is_none() || streams.is_empty() { break },
        }
    }
    stream::close(&socket, Vec::new()).await;
}

async fn forward_channel(
    socket: Writer,
    protocol: Protocol,
    target: Target,
    port: u16,
    channel: u8,
    bytes: mpsc::Receiver<Vec<u8>>,
) {
    let near = match target.connect(port) {
        Ok(near) => near,
        Err(why) => {
            socket.send(protocol.message(channel + 1, why.as_bytes())).await;
            return;
        }
    };
    let mut far = fed(near, bytes);
    let mut buffer = vec![0_u8; 16 * 1024];
    while let Ok(read) = far.read(&mut buffer).await {
        if read == 0 || !socket.send(protocol.message(channel, &buffer[..read])).await {
            return;
        }
    }
}

/// Feeds what the client sends into a connection; the reading half remains.
fn fed(connection: DuplexStream, mut bytes: mpsc::Receiver<Vec<u8>>) -> ReadHalf<DuplexStream> {
    let (read, mut write) = tokio::io::split(connection);
    tokio::spawn(async move {
        while let Some(bytes) = bytes.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The other end may be gone first, which is as good an end.
        write.shutdown().await.ok();
    });
    read
}

impl Target {
    /// A connection to the port, or what the kubelet says when nobody listens.
    fn connect(&self, port: u16) -> Result<DuplexStream, String> {
        if !self.ports.contains(&port) {
            return Err(format!(
                "error forwarding port {port} to pod {}, uid : failed to execute portforward in network namespace \
                 \"simulated\": failed to connect to localhost:{port} inside namespace \"simulated\", IPv4: dial tcp4 \
                 127.0.0.1:{port}: connect: connection refused IPv6 dial tcp6 [::1]:{port}: connect: connection refused",
                self.pod
            ));
        }
        let (near, mut far) = duplex(WINDOW);
        match self.behind {
            None => drop(tokio::spawn(hello(far, self.clone()))),
            Some(address) => drop(tokio::spawn(async move {
                let mut server = TcpStream::connect(address).await?;
                copy_bidirectional(&mut far, &mut server).await
            })),
        }
        Ok(near)
    }
}

/// Answers one HTTP request with the pod's name, with what `/say/` is followed by, or with the pod's file whose name
/// `/file/` is followed by.
async fn hello(mut connection: DuplexStream, target: Target) {
    let mut head = Vec::new();
    let mut buffer = [0_u8; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match connection.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let body = if let Some(said) = path.strip_prefix("/say/") {
        format!("{said}\n").into_bytes()
    } else if let Some(name) = path.strip_prefix("/file/").filter(|name| !name.contains('/')) {
        std::fs::read(target.dir.join(name)).unwrap_or_default()
    } else {
        format!("hello-from-{}\n", target.pod).into_bytes()
    };
    let answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    if let Err(error) = connection.write_all(&[answer.as_bytes(), &body].concat()).await {
        tracing::debug!("hello: {error}");
    }
}

fn ports(pod: &Value) -> Vec<u16> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    ports
        .filter_map(|port| port["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok()))
        .collect()
}
