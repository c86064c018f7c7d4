//! Forwarded connections to MCP servers, which are not passed on but served here: what either side says is taken out of the
//! port-forward and goes to a task of its own, and what that says is put in.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use portcullis_kube::RequestInfo;
use portcullis_kube::stream::{PortEvent, PortPiece, Side};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use tokio_util::task::AbortOnDropHandle;

use super::READ_SIZE;
use super::typed::Connection;
use crate::caller::Person;
use crate::forwarded;
use crate::mcp::{self, McpServer};

/// Reads' worths of bytes that are under way at each end of a connection.
const AHEAD: usize = 8;

/// The connections of one port-forward that are served here.
pub(crate) struct Served {
    /// Who forwards ports.
    person: Arc<Person>,
    servers: BTreeMap<u16, Arc<McpServer>>,
    open: BTreeMap<Connection, Open>,
    /// What was taken out, by who said it.
    taken: [Taken; 2],
    /// Where it is said what is to be put in, by who is to say it; nothing any more once the server has ended its side.
    put: Option<[mpsc::Sender<Put>; 2]>,
}

/// A connection that is served.
struct Open {
    /// Where it goes what each side says, for as long as it may say something.
    heard: [Option<mpsc::Sender<Bytes>>; 2],
    /// Which sides of it have ended in the port-forward.
    ended: [bool; 2],
    _task: AbortOnDropHandle<()>,
}

/// What is to be put into a port-forward, on one of its connections.
pub(super) struct Put {
    connection: Connection,
    piece: Piece,
}

enum Piece {
    Data(Bytes),
    End,
    Refused(String),
}

/// What was taken out and has not been delivered yet.
#[derive(Default)]
pub(super) struct Taken(VecDeque<(mpsc::Sender<Bytes>, Bytes)>);

impl Served {
    /// Those of a port-forward to the pod that `info` is about; nothing where no port of it is that of an MCP server.
    pub(crate) fn of(person: &Arc<Person>, info: &RequestInfo) -> Option<Self> {
        let is_forward = (info.resource.as_str(), info.subresource.as_str()) == ("pods", "portforward");
        let servers = mcp::forwarded_to(&person.connection.route.target, info);
        let (open, taken) = Default::default();
        (is_forward && !servers.is_empty()).then(|| Self {
            person: Arc::clone(person),
            servers,
            open,
            taken,
            put: None,
        })
    }

    /// The ports that they are to.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.servers.keys().copied()
    }

    /// What is to be put in from now on, by who is to say it.
    pub(super) fn puts(&mut self) -> [mpsc::Receiver<Put>; 2] {
        let [(client, from_client), (server, from_server)] = [(); 2].map(|()| mpsc::channel(AHEAD));
        self.put = Some([client, server]);
        [from_client, from_server]
    }

    /// Hears what happens in the port-forward; returns whether it is about what is carried here, and so is told elsewhere.
    pub(super) fn hear(&mut self, event: &PortEvent<'_>) -> bool {
        match *event {
            PortEvent::Opened { port, request } => {
                self.open((port, request));
                false
            }
            PortEvent::Taken { port, request, from, bytes, last } => {
                self.take((port, request), from, bytes, last);
                true
            }
            PortEvent::Closed { port, request, side } => {
                self.close((port, request), side);
                false
            }
            PortEvent::Data { port, .. } => self.servers.contains_key(&port),
            _ => false,
        }
    }

    /// What was taken out of what `side` said.
    pub(super) fn taken(&mut self, side: Side) -> Taken {
        std::mem::take(&mut self.taken[side as usize])
    }

    /// `side` says nothing any more, on any connection.
    pub(super) fn end(&mut self, side: Side) {
        for open in self.open.values_mut() {
            open.heard[side as usize] = None;
        }
        if side == Side::Server {
            self.put = None;
        }
    }

    fn open(&mut self, connection: Connection) -> Option<&mut Open> {
        let (Some(server), Some(put)) = (self.servers.get(&connection.0), &self.put) else { return None };
        let (person, server) = (&self.person, Arc::clone(server));
        Some(
            self.open.entry(connection).or_insert_with(|| Open::new(connection, person, server, put.clone())),
        )
    }

    fn take(&mut self, connection: Connection, from: Side, bytes: &[u8], last: bool) {
        let Some(open) = self.open(connection) else { return };
        let heard = &mut open.heard[from as usize];
        let to = if last { heard.take() } else { heard.clone() };
        // An end is heard once all before it is, and then this is gone.
        if let Some(to) = to {
            self.taken[from as usize].0.push_back((to, Bytes::copy_from_slice(bytes)));
        }
    }

    fn close(&mut self, connection: Connection, side: Side) {
        let Some(open) = self.open.get_mut(&connection) else { return };
        open.heard[side as usize] = None;
        open.ended[side as usize] = true;
        if open.ended == [true; 2] {
            self.open.remove(&connection);
        }
    }
}

impl Open {
    fn new(
        connection: Connection,
        person: &Arc<Person>,
        server: Arc<McpServer>,
        put: [mpsc::Sender<Put>; 2],
    ) -> Self {
        let person = Arc::clone(person);
        let [up, down] = put;
        let (from_client, client) = End::new(connection, &down);
        let (from_pod, pod) = End::new(connection, &up);
        let task = tokio::spawn(async move {
            let last = match forwarded::serve(&person, server, client, pod).await {
                Ok(()) => Piece::End,
                Err(unserved) => Piece::Refused(unserved.to_string()),
            };
            // Where nobody takes it any more, the port-forward is over.
            up.send(Put { connection, piece: Piece::End }).await.ok();
            down.send(Put { connection, piece: last }).await.ok();
        });
        let heard = [Some(from_client), Some(from_pod)];
        Self { heard, ended: [false; 2], _task: AbortOnDropHandle::new(task) }
    }
}

impl Put {
    pub(super) fn connection(&self) -> Connection {
        self.connection
    }

    pub(super) fn piece(&self) -> PortPiece<'_> {
        match &self.piece {
            Piece::Data(bytes) => PortPiece::Data(bytes),
            Piece::End => PortPiece::End,
            Piece::Refused(why) => PortPiece::Refused(why),
        }
    }
}

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Delivers all of it, as it is taken. May be dropped at any time and called again.
    pub(super) async fn deliver(&mut self) {
        while let Some((to, _)) = self.0.front() {
            // Whoever hears nothing any more has ended the connection.
            let room = to.clone().reserve_owned().await;
            if let (Some((_, bytes)), Ok(room)) = (self.0.pop_front(), room)
                && !bytes.is_empty()
            {
                room.send(bytes);
            }
        }
    }
}

/// One end of a connection that is served, as a stream of bytes.
struct End {
    connection: Connection,
    heard: mpsc::Receiver<Bytes>,
    rest: Bytes,
    put: PollSender<Put>,
}

impl End {
    /// The end at which `put` is said what is written, and where it goes what is to be read.
    fn new(connection: Connection, put: &mpsc::Sender<Put>) -> (mpsc::Sender<Bytes>, Self) {
        let (hear, heard) = mpsc::channel(AHEAD);
        (hear, Self { connection, heard, rest: Bytes::new(), put: PollSender::new(put.clone()) })
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match ready!(self.heard.poll_recv(cx)) {
                Some(bytes) => self.rest = bytes,
                None => return Poll::Ready(Ok(())),
            }
        }
        let read = self.rest.len().min(out.remaining());
        out.put_slice(&self.rest[..read]);
        self.rest.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let over = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.put.poll_reserve(cx)).map_err(over)?;
        let bytes = &bytes[..bytes.len().min(READ_SIZE)];
        let put = Put { connection: self.connection, piece: Piece::Data(Bytes::copy_from_slice(bytes)) };
        self.put.send_item(put).map_err(over)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The end is said by who serves the connection.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
