//! Ending a live session with a reason that its client prints, instead of a cut that looks like a broken network.
//!
//! The bytes made here go to the client in place of whatever the server would have sent next. That is only possible
//! between two frames of the server's; see `at_boundary` and `remaining` of the taps. After them the connection is
//! closed, both sides.

use portcullis_codec::spdy::{self, StreamId};
use portcullis_codec::websocket::{self, Kind};

use super::frames::{data, on_channel};
use super::port_forward::{LaneKind, Wire as PortWire};
use super::remote_command::Wire;
use super::{Channel, PortForwardTap, Protocol, RemoteCommandTap, Side, StreamError, Version};
use crate::Status;

/// RFC 6455, section 7.4.1. With another code kubectl prints the code instead of the reason.
pub(super) const NORMAL_CLOSURE: u16 = 1000;

impl RemoteCommandTap {
    /// Ends the session with `status`, whose message appears on the terminal or stderr, and as the exit status, with
    /// which kubectl exits 1.
    ///
    /// # Errors
    /// When the server's side is inside a frame or has failed, so that nothing can be put in.
    pub fn ending(&self, status: &Status) -> Result<Vec<u8>, StreamError> {
        if !self.at_boundary(Side::Server) {
            return Err(StreamError::InsideFrame);
        }
        // A terminal is in raw mode: it needs the carriage return.
        let (channel, text) = if self.tty {
            (Channel::Stdout, format!("\r\n{}\r\n", status.message))
        } else {
            (Channel::Stderr, format!("{}\n", status.message))
        };
        // A server that has begun to tell the exit status has the last word.
        let exit = if self.exiting() {
            Vec::new()
        } else if self.protocol.version() < Version::V4 {
            status.message.clone().into_bytes()
        } else {
            status.to_json()
        };
        let mut out = Vec::new();
        match (&self.wire, self.protocol) {
            (Wire::WebSocket(_), protocol) => {
                let base64 = matches!(protocol, Protocol::WebSocket { base64: true, .. });
                on_channel(&mut out, base64, channel as u8, text.as_bytes(), None);
                on_channel(&mut out, base64, Channel::Error as u8, &exit, None);
                websocket::close(&mut out, None, NORMAL_CLOSURE, &status.message);
            }
            (Wire::Spdy(streams), _) => {
                // Every stream is ended, or kubectl waits for the rest of its output; the error stream comes last, as it
                // does from the kubelet. Where stderr was not asked for, the exit status says it all.
                let mut open: Vec<_> = streams.open(Side::Server).collect();
                open.sort_by_key(|(_, of)| *of == Channel::Error);
                for (stream, of) in open {
                    let payload = match of {
                        Channel::Error => &exit[..],
                        of if of == channel => text.as_bytes(),
                        _ => b"",
                    };
                    data(&mut out, stream, payload, true)?;
                }
                go_away(&mut out, streams.newest())?;
            }
        }
        Ok(out)
    }
}

impl PortForwardTap {
    /// Ends the session with `status`, whose message kubectl prints for each connection that is open; those are ended
    /// too.
    ///
    /// # Errors
    /// When the server's side is inside a frame or has failed, so that nothing can be put in.
    pub fn ending(&self, status: &Status) -> Result<Vec<u8>, StreamError> {
        if !self.at_boundary(Side::Server) {
            return Err(StreamError::InsideFrame);
        }
        let mut out = Vec::new();
        match &self.wire {
            PortWire::Channels { base64, ports, .. } => {
                for (n, _) in ports.iter().enumerate().filter(|(_, port)| port.is_announced()) {
                    on_channel(&mut out, *base64, (2 * n + 1) as u8, status.message.as_bytes(), None);
                }
                websocket::close(&mut out, None, NORMAL_CLOSURE, &status.message);
            }
            PortWire::Spdy(streams) | PortWire::SpdyInWebSocket { streams, .. } => {
                let mut frames = Vec::new();
                for (stream, lane) in streams.open(Side::Server) {
                    let payload = if lane.kind == LaneKind::Error { status.message.as_bytes() } else { b"" };
                    data(&mut frames, stream, payload, true)?;
                }
                go_away(&mut frames, streams.newest())?;
                if let PortWire::Spdy(_) = &self.wire {
                    return Ok(frames);
                }
                websocket::message(&mut out, Kind::Binary, None, &[&frames]);
                websocket::close(&mut out, None, NORMAL_CLOSURE, &status.message);
            }
        }
        Ok(out)
    }
}

fn go_away(out: &mut Vec<u8>, last_good: StreamId) -> Result<(), StreamError> {
    Ok(spdy::Encoder::default().encode(&spdy::Frame::GoAway { last_good, status: 0 }, out)?)
}
