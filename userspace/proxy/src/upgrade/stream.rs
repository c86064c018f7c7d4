//! What an upgraded connection carries: decoded, masked, recorded.

use http::HeaderMap;
use portcullis_identity::redact;
use portcullis_kube::stream::{
    MessageProtocol, MessageStream, PortEvent, PortForwardProtocol, PortForwardRewriter, PortRewriting,
    Protocol, RemoteCommandRewriter, Said, Session, Side, StreamError, StreamEvent, Tell,
};
use portcullis_kube::{RequestInfo, Status, query_flag, query_values};
use portcullis_record::{Channel, Event, RecordError, StreamKind};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::TunnelError;
use super::masking::Masking;
use super::served::{Put, Served, Taken};
use super::typed::Typed;
use crate::record::RequestRecord;

/// A stream of one of the kinds that are understood.
pub(crate) struct Stream {
    session: Box<dyn Session>,
    typed: Typed,
    /// The connections of a port-forward that are served here.
    served: Option<Served>,
    opened: Opened,
}

/// What a stream is, for its record.
struct Opened {
    kind: StreamKind,
    protocol: String,
    command: Vec<String>,
    container: Option<String>,
    tty: bool,
}

impl Stream {
    /// The decoder for what `headers` of the 101 agreed to; `target` is the request target. Without `masking` everything
    /// passes and is recorded as it is.
    pub(crate) fn new(
        info: &RequestInfo,
        target: &str,
        headers: &HeaderMap,
        masking: Option<Masking>,
        served: Option<Served>,
    ) -> Result<Self, StreamError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let upgrade = text("upgrade").unwrap_or_default();
        let subprotocol = text("sec-websocket-protocol").or_else(|| text("x-stream-protocol-version"));
        if let Some(extensions) = text("sec-websocket-extensions") {
            // None was offered.
            let (upgrade, subprotocol) = (upgrade.to_owned(), format!("with {extensions}"));
            return Err(StreamError::Protocol { upgrade, subprotocol });
        }
        let tty = query_flag(target, "tty");
        let typed = Typed::new(masking.clone());
        let (kind, session): (_, Box<dyn Session>) = match info.subresource.as_str() {
            "portforward" => {
                let protocol = PortForwardProtocol::negotiated(upgrade, subprotocol, target)?;
                let rewriting = (masking.is_some() || served.is_some()).then(|| PortRewriting {
                    make: masking.map(Masking::ports),
                    key: rand::random,
                    taken: served.iter().flat_map(Served::ports).collect(),
                });
                let rewriter = PortForwardRewriter::new(protocol, rewriting);
                (StreamKind::PortForward, Box::new(rewriter))
            }
            "exec" | "attach" => {
                let protocol = Protocol::negotiated(upgrade, subprotocol)?;
                let maskers = masking.map(|masking| masking.outputs(tty));
                let kind = if info.subresource == "exec" { StreamKind::Exec } else { StreamKind::Attach };
                (kind, Box::new(RemoteCommandRewriter::new(protocol, tty, maskers)))
            }
            "log" => {
                let protocol = MessageProtocol::negotiated(upgrade, subprotocol, false)?;
                let cut_off = !query_values(target, "limitBytes").is_empty();
                let masker = masking.map(|masking| masking.log(cut_off));
                (StreamKind::Log, Box::new(MessageStream::new(protocol, masker)))
            }
            _ => {
                let protocol = MessageProtocol::negotiated(upgrade, subprotocol, true)?;
                let masker = masking.and_then(|masking| masking.events());
                (StreamKind::Watch, Box::new(MessageStream::new(protocol, masker)))
            }
        };
        let opened = Opened {
            kind,
            protocol: subprotocol.filter(|name| !name.is_empty()).unwrap_or(upgrade).to_owned(),
            command: redact(query_values(target, "command")),
            container: query_values(target, "container").into_iter().next(),
            tty,
        };
        Ok(Self { session, typed, served, opened })
    }

    /// The event with which the stream begins.
    pub(crate) fn opened(&self, request: u32) -> Event {
        let Opened { kind, protocol, command, container, tty } = &self.opened;
        Event::StreamOpened {
            request,
            kind: *kind,
            protocol: protocol.clone(),
            command: command.clone(),
            container: container.clone(),
            tty: *tty,
        }
    }

    /// Takes bytes of one side, records what they mean, and appends what goes to the other side to `out`.
    pub(super) fn feed(
        &mut self,
        side: Side,
        bytes: &[u8],
        record: &RequestRecord,
        out: &mut Vec<u8>,
    ) -> Result<(), TunnelError> {
        self.recorded(record, |session, tell| session.feed(side, bytes, out, tell))
    }

    /// What is to be put in from now on, by who is to say it.
    pub(super) fn puts(&mut self) -> [mpsc::Receiver<Put>; 2] {
        let none = || mpsc::channel(1).1;
        self.served.as_mut().map_or_else(|| [none(), none()], Served::puts)
    }

    /// Appends what `from` says on a connection that is served here to `out`.
    pub(super) fn put(
        &mut self,
        from: Side,
        put: &Put,
        record: &RequestRecord,
        out: &mut Vec<u8>,
    ) -> Result<(), TunnelError> {
        self.recorded(record, |session, tell| session.put(from, put.connection(), put.piece(), out, tell))
    }

    /// What was taken out of what `side` said.
    pub(super) fn taken(&mut self, side: Side) -> Taken {
        self.served.as_mut().map_or_else(Taken::default, |served| served.taken(side))
    }

    /// `side` says nothing any more: whoever serves a connection of its may only finish.
    pub(super) fn ended(&mut self, side: Side) {
        if let Some(served) = &mut self.served {
            served.end(side);
        }
    }

    /// Whether the server has closed the stream, and its client is not told yet.
    pub(super) fn is_closing(&self) -> bool {
        self.session.is_closing()
    }

    /// When the first of what is held back from the client is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.session.due().map(Instant::from_std)
    }

    /// Appends what has been held back long enough to `out`.
    pub(super) fn flush(&mut self, record: &RequestRecord, out: &mut Vec<u8>) -> Result<(), TunnelError> {
        self.recorded(record, |session, tell| session.flush(out, tell))
    }

    /// Appends what is held back to `out`: the server has ended its side.
    pub(super) fn finish(&mut self, record: &RequestRecord, out: &mut Vec<u8>) -> Result<(), TunnelError> {
        self.recorded(record, |session, tell| session.finish(out, tell))
    }

    /// Appends the bytes that end the session with a reason to `out`.
    pub(super) fn ending(
        &mut self,
        reason: &str,
        record: &RequestRecord,
        out: &mut Vec<u8>,
    ) -> Result<(), TunnelError> {
        let status = Status::forbidden(reason);
        self.recorded(record, |session, tell| session.ending(&status, out, tell))
    }

    /// Records what is held of what the client typed: nothing more comes.
    pub(super) fn end(&mut self, record: &RequestRecord) -> Result<(), RecordError> {
        self.typed.finish(record)
    }

    /// How many bytes the server's frame under way still needs, as far as is known; `None` between two frames.
    pub(super) fn remaining(&self) -> Option<u64> {
        (!self.session.at_boundary()).then(|| self.session.remaining())
    }

    /// Does something to the session and records what it tells. What could not be recorded fails, whatever else does.
    fn recorded(
        &mut self,
        record: &RequestRecord,
        act: impl FnOnce(&mut dyn Session, &mut Tell<'_>) -> Result<(), StreamError>,
    ) -> Result<(), TunnelError> {
        let Self { session, typed, served, .. } = self;
        let mut recorded = Ok(());
        let outcome = act(&mut **session, &mut |said| {
            // What is asked and answered in there is recorded as such.
            let elsewhere = match (served.as_mut(), &said) {
                (Some(served), Said::Port(event)) => served.hear(event),
                _ => false,
            };
            if recorded.is_ok() && !elsewhere {
                recorded = keep(record, typed, said);
            }
        });
        recorded?;
        Ok(outcome?)
    }
}

/// What was decoded into the recording.
fn keep(record: &RequestRecord, typed: &mut Typed, said: Said<'_>) -> Result<(), RecordError> {
    match said {
        Said::Command(event) => keep_command(record, typed, &event),
        Said::Port(event) => keep_port(record, typed, &event),
        Said::Body(bytes) => record.data(Channel::Body, bytes),
        _ => Ok(()),
    }
}

fn keep_command(
    record: &RequestRecord,
    typed: &mut Typed,
    event: &StreamEvent<'_>,
) -> Result<(), RecordError> {
    let request = record.number();
    match event {
        StreamEvent::Stdin(data) => typed.push((0, 0), Channel::Stdin, data, record),
        StreamEvent::Stdout(data) => record.data(Channel::Stdout, data),
        StreamEvent::Stderr(data) => record.data(Channel::Stderr, data),
        StreamEvent::Resize { width, height } => {
            record.event(&Event::Resize { request, width: *width, height: *height })
        }
        StreamEvent::Exit { code, message } => {
            record.event(&Event::Exit { request, code: *code, message: (*message).to_owned() })
        }
        StreamEvent::Closed(of) if of.sender() == Side::Client => typed.finish(record),
        _ => Ok(()),
    }
}

fn keep_port(record: &RequestRecord, typed: &mut Typed, event: &PortEvent<'_>) -> Result<(), RecordError> {
    match event {
        PortEvent::Opened { port, request } => {
            record.event(&Event::Note { text: format!("connection {request} forwarded to port {port}") })
        }
        PortEvent::Data { port, request, from: Side::Client, bytes } => {
            typed.push((*port, *request), Channel::Stdin, bytes, record)
        }
        PortEvent::Data { port, request, from: Side::Server, bytes } => {
            typed.push((*port, *request), Channel::Stdout, bytes, record)
        }
        PortEvent::Error { text, .. } => record.data(Channel::Error, text),
        PortEvent::Coded { port, request, coding } => {
            let coding = coding.escape_debug();
            let text = format!(
                "connection {request} to port {port}: an answer in coding \"{coding}\" was not masked"
            );
            record.event(&Event::Note { text })
        }
        PortEvent::Closed { port, request, side: Side::Client } => {
            typed.close((*port, *request), Channel::Stdin, record)
        }
        PortEvent::Closed { port, request, side: Side::Server } => {
            typed.close((*port, *request), Channel::Stdout, record)
        }
        _ => Ok(()),
    }
}
