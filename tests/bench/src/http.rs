//! As much of HTTP/1.1 as the two ends need: heads, bodies of known length, chunks.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail, ensure};

/// No head of either side is longer.
const BUFFER: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;
/// Names a session of MCP (2025-11-25, transports, session management).
pub(crate) const SESSION: &str = "Mcp-Session-Id";

/// One end of a kept-alive connection.
pub(crate) struct Wire<S> {
    stream: S,
    buffer: Box<[u8]>,
    /// What was read and not yet consumed.
    start: usize,
    end: usize,
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The same connection without its buffer, for one that is only held.
    pub(crate) fn parked(self) -> S {
        self.stream
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("cannot send")?;
        self.stream.flush().context("cannot send")
    }

    /// The next request; `None` when the client has gone.
    pub(crate) fn request(&mut self) -> Result<Option<Request>> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut request = httparse::Request::new(&mut headers);
            if let httparse::Status::Complete(length) = request.parse(&self.buffer[self.start..self.end])? {
                let method = request.method.context("a request without a method")?.to_owned();
                let target = request.path.context("a request without a target")?.to_owned();
                let body = match Framing::of(request.headers)? {
                    None => 0,
                    Some(Framing::Length(length)) => usize::try_from(length)?,
                    Some(Framing::Chunked) => bail!("a request in chunks"),
                };
                ensure!(body <= BUFFER, "a request of {body} bytes");
                let mut request = Request { method, target, body: vec![0; body] };
                self.start += length;
                self.read_exact(&mut request.body)?;
                return Ok(Some(request));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads an answer to its end and returns its size, body only.
    ///
    /// # Errors
    /// For anything but success, with the beginning of what came instead.
    pub(crate) fn response(&mut self) -> Result<u64> {
        let framing = self.response_head()?.framing;
        self.body(framing)
    }

    /// Reads an answer to its end and returns the session of MCP that it names, if it does.
    pub(crate) fn session(&mut self) -> Result<Option<String>> {
        let Head { framing, session } = self.response_head()?;
        self.body(framing)?;
        Ok(session)
    }

    fn body(&mut self, framing: Framing) -> Result<u64> {
        match framing {
            Framing::Length(length) => {
                self.skip(length)?;
                Ok(length)
            }
            Framing::Chunked => {
                let mut total = 0;
                loop {
                    let length = self.chunk()?;
                    total += length;
                    self.skip(length + 2)?;
                    if length == 0 {
                        return Ok(total);
                    }
                }
            }
        }
    }

    /// Reads the head of an answer that goes on for ever.
    pub(crate) fn endless(&mut self) -> Result<()> {
        ensure!(self.response_head()?.framing == Framing::Chunked, "an endless answer with a length");
        Ok(())
    }

    /// The same, and its first chunk.
    pub(crate) fn first_chunk(&mut self) -> Result<u64> {
        self.endless()?;
        let length = self.chunk()?;
        self.skip(length + 2)?;
        Ok(length)
    }

    /// Reads the head of an answer that switches protocols.
    pub(crate) fn switched(&mut self) -> Result<()> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let seen = &self.buffer[self.start..self.end];
            if let httparse::Status::Complete(length) = response.parse(seen)? {
                ensure!(
                    response.code == Some(101),
                    "the answer was {}",
                    String::from_utf8_lossy(seen).escape_debug()
                );
                self.start += length;
                return Ok(());
            }
            ensure!(self.fill()?, "the connection was closed before the answer");
        }
    }

    /// Fills `out` with what comes next.
    pub(crate) fn read_exact(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            if self.start == self.end {
                ensure!(self.fill()?, "the connection was closed within a frame");
            }
            let here = out.len().min(self.end - self.start);
            let (now, later) = out.split_at_mut(here);
            now.copy_from_slice(&self.buffer[self.start..self.start + here]);
            self.start += here;
            out = later;
        }
        Ok(())
    }

    fn response_head(&mut self) -> Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let seen = &self.buffer[self.start..self.end];
            if let httparse::Status::Complete(length) = response.parse(seen)? {
                if !matches!(response.code, Some(200 | 202)) {
                    bail!("the answer was {}", String::from_utf8_lossy(seen).escape_debug());
                }
                let framing = Framing::of(response.headers)?.context("an answer without a length")?;
                let session =
                    response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(SESSION));
                let session = session.map(|session| str::from_utf8(session.value).map(str::to_owned));
                let session = session.transpose().context(SESSION)?;
                self.start += length;
                return Ok(Head { framing, session });
            }
            ensure!(self.fill()?, "the connection was closed before the answer");
        }
    }

    fn chunk(&mut self) -> Result<u64> {
        loop {
            match httparse::parse_chunk_size(&self.buffer[self.start..self.end]) {
                Ok(httparse::Status::Complete((length, size))) => {
                    self.start += length;
                    return Ok(size);
                }
                Ok(httparse::Status::Partial) => {
                    ensure!(self.fill()?, "the connection was closed within a body");
                }
                Err(_) => bail!("a chunk without a size"),
            }
        }
    }

    fn skip(&mut self, mut length: u64) -> Result<()> {
        loop {
            let here = ((self.end - self.start) as u64).min(length);
            self.start += here as usize; // at most the buffer's length
            length -= here;
            if length == 0 {
                return Ok(());
            }
            ensure!(self.fill()?, "the connection was closed within a body");
        }
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        ensure!(self.end < self.buffer.len(), "a head of more than {BUFFER} bytes");
        let read = self.stream.read(&mut self.buffer[self.end..]).context("cannot read")?;
        self.end += read;
        Ok(read > 0)
    }
}

/// A request as far as answers depend on it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
}

/// What clients read of an answer's head.
struct Head {
    framing: Framing,
    session: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
}

impl Framing {
    fn of(headers: &[httparse::Header<'_>]) -> Result<Option<Self>> {
        for header in headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                return Ok(Some(Self::Length(str::from_utf8(header.value)?.parse()?)));
            }
            if header.name.eq_ignore_ascii_case("transfer-encoding") && header.value == b"chunked" {
                return Ok(Some(Self::Chunked));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Gives a byte at a time.
    struct Slow(&'static [u8]);

    impl Read for Slow {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(1);
            self.0.read(&mut out[..length])
        }
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn reads_answers_one_after_the_other() {
        let mut wire = Wire::new(Slow(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
              HTTP/1.1 202 Accepted\r\nmcp-session-id: s1\r\nContent-Length: 0\r\n\r\n\
              HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n\
              HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        ));
        assert_eq!(wire.response().unwrap(), 5);
        assert_eq!(wire.session().unwrap().as_deref(), Some("s1"));
        assert_eq!(wire.response().unwrap(), 13);
        assert!(wire.response().unwrap_err().to_string().contains("403"));
    }

    #[test]
    fn reads_requests_until_the_client_goes() {
        let mut wire = Wire::new(Slow(
            b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        ));
        let asked = wire.request().unwrap().unwrap();
        assert_eq!((&*asked.method, &*asked.target, &*asked.body), ("GET", "/a", &b""[..]));
        let asked = wire.request().unwrap().unwrap();
        assert_eq!((&*asked.method, &*asked.target, &*asked.body), ("POST", "/b", &b"{}"[..]));
        assert!(wire.request().unwrap().is_none());
    }
}
