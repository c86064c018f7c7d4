//! One forwarded connection. When it begins with an HTTP/1 request, the text in the bodies of its answers is masked;
//! everything else passes as it is.
//!
//! The masks used here keep the length of what they replace, so that `Content-Length`, ranges and files stay what they
//! are; chunks are cut anew. Answers are asked for uncompressed. Where either side cannot be followed as HTTP any
//! further, nothing breaks: from there on everything that the server sends is masked as one text.

mod chunks;
mod head;
mod requests;
mod responses;

use std::collections::VecDeque;
use std::time::Instant;

use self::head::NotHttp;
use self::requests::Requests;
use self::responses::Responses;
use super::{Masker, StreamError};

/// Most requests that may wait for their answers.
const MAX_PIPELINED: usize = 256;

/// Makes the masker of a body.
pub type MakeMasker = dyn Fn() -> Box<dyn Masker> + Send;

/// Whether a connection whose client begins with `bytes` speaks HTTP/1; `None` before its first line can tell.
#[must_use]
pub fn begins_http(bytes: &[u8]) -> Option<bool> {
    let (mut line, mut rest) = head::split_line(bytes);
    while head::is_blank(line) {
        (line, rest) = head::split_line(rest);
    }
    match line {
        b"" | b"\r" => None,
        line if !head::may_be_request(line) => Some(false),
        line => line.ends_with(b"\n").then(|| head::method(line).is_ok()),
    }
}

/// Where a connection stands.
pub(super) enum Forwarded {
    /// The client has not finished its first line; what it has of it.
    Unknown(Vec<u8>),
    Http(Box<Http>),
    /// Not to be looked into.
    Other,
}

/// A connection that speaks HTTP/1.
pub(super) struct Http {
    requests: Requests,
    responses: Responses,
    asked: VecDeque<Asked>,
}

/// What the answer to a request depends on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Asked {
    /// Its answer has no body.
    head: bool,
    /// With its answer the connection becomes something else.
    connect: bool,
}

impl Forwarded {
    pub(super) fn new() -> Self {
        Self::Unknown(Vec::new())
    }

    /// Takes what the client sent and appends what goes to the pod to `out`.
    pub(super) fn client(&mut self, bytes: &[u8], fin: bool, out: &mut Vec<u8>) {
        let mut bytes = bytes;
        while let Self::Unknown(line) = self
            && !bytes.is_empty()
        {
            let (piece, rest) = head::split_line(bytes);
            line.extend_from_slice(piece);
            // The first line passes as it comes, whatever it turns out to be.
            out.extend_from_slice(piece);
            bytes = rest;
            if head::is_blank(line) {
                // Servers skip empty lines before a request (RFC 9112, section 2.2).
                line.clear();
            } else if line != b"\r" && !head::may_be_request(line) {
                *self = Self::Other;
            } else if line.ends_with(b"\n") {
                *self = Self::Http(Box::new(Http::begun_by(line)));
            }
        }
        match self {
            Self::Http(http) => http.client(bytes, fin, out),
            Self::Unknown(_) | Self::Other => out.extend_from_slice(bytes),
        }
    }

    /// Takes what the pod sent and appends what the client gets to `out`. Tells of each answer that passes without
    /// being looked into, in which content coding it is.
    pub(super) fn server(
        &mut self,
        bytes: &[u8],
        fin: bool,
        make: &MakeMasker,
        out: &mut Vec<u8>,
        coded: &mut dyn FnMut(&str),
    ) -> Result<(), StreamError> {
        match self {
            Self::Http(http) => http.server(bytes, fin, make, out, coded),
            // In HTTP/1 the server never has the first word.
            Self::Unknown(_) if !bytes.is_empty() => {
                *self = Self::Other;
                out.extend_from_slice(bytes);
                Ok(())
            }
            Self::Unknown(_) | Self::Other => {
                out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// When what of an answer is held back is due.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Http(http) => http.responses.due(),
            Self::Unknown(_) | Self::Other => None,
        }
    }

    /// Appends what of an answer is held back and due to `out`.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError> {
        match self {
            Self::Http(http) => http.responses.flush(out),
            Self::Unknown(_) | Self::Other => Ok(()),
        }
    }

    /// Appends everything of an answer that has come to `out`.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError> {
        match self {
            Self::Http(http) => http.responses.finish(out),
            Self::Unknown(_) | Self::Other => Ok(()),
        }
    }
}

impl Http {
    /// A connection whose first line has gone to the pod. One that some servers may take for a request, and that cannot be
    /// followed as one, is masked as one text.
    fn begun_by(line: &[u8]) -> Self {
        let mut responses = Responses::new();
        let (requests, asked) = Requests::begun_by(line).unwrap_or_else(|NotHttp| {
            responses.give_up();
            (Requests::passing(), Asked::default())
        });
        Self { requests, responses, asked: VecDeque::from([asked]) }
    }

    fn client(&mut self, bytes: &[u8], fin: bool, out: &mut Vec<u8>) {
        if self.requests.push(bytes, &mut self.asked, out).is_err() {
            self.responses.give_up();
        }
        if fin {
            self.requests.release(out);
        }
    }

    fn server(
        &mut self,
        bytes: &[u8],
        fin: bool,
        make: &MakeMasker,
        out: &mut Vec<u8>,
        coded: &mut dyn FnMut(&str),
    ) -> Result<(), StreamError> {
        let Self { requests, responses, asked } = self;
        responses.push(bytes, make, asked, out, coded)?;
        if responses.has_switched() {
            requests.pass();
        }
        if fin { responses.finish(out) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http1_is_told_by_its_first_line() {
        for (bytes, is) in [
            ("", None),
            ("\r\n\r", None),
            ("POS", None),
            ("\r\nGET / HTTP/1.1", None),
            ("GET / HTTP/1.1\r\n", Some(true)),
            ("M-SEARCH * HTTP/1.0\nrest", Some(true)),
            ("PRI * HTTP/2.0\r\n", Some(false)),
            ("get / HTTP/1.1", Some(false)),
            ("GET /\r\n", Some(false)),
            ("\u{16}\u{3}\u{1}", Some(false)),
        ] {
            assert_eq!(begins_http(bytes.as_bytes()), is, "{bytes:?}");
        }
    }
}
