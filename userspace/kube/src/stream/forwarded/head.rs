//! Lines of HTTP/1 heads (RFC 9112).

use std::borrow::Cow;

/// Longest line and longest head, in bytes. Servers take 8 KiB to 64 KiB.
const MAX_LINE: usize = 16 << 10;
const MAX_HEAD: usize = 64 << 10;
/// Longest method, in bytes.
const MAX_METHOD: usize = 24;

/// What cannot be followed as HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotHttp;

/// Collects the lines of a head.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    /// Bytes of the head so far.
    head: usize,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// So many bytes.
    Bytes(u64),
    Chunked,
    /// To the end of the connection.
    Open,
}

/// The fields of a head that say how long its body is.
#[derive(Debug, Default)]
pub(super) struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Lines {
    /// The next line with its end, once all of it has come.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, NotHttp> {
        let (line, rest) = split_line(input);
        *input = rest;
        self.line.extend_from_slice(line);
        self.head += line.len();
        if self.line.len() > MAX_LINE || self.head > MAX_HEAD {
            return Err(NotHttp);
        }
        Ok(self.line.ends_with(b"\n").then(|| std::mem::take(&mut self.line)))
    }

    /// What there is of a line that has not ended.
    pub(super) fn partial(&self) -> &[u8] {
        &self.line
    }

    /// A line that was none after all.
    pub(super) fn put_back(&mut self, line: Vec<u8>) {
        self.line = line;
    }

    /// Gives away what there is of a line.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.line);
    }

    /// A head has ended.
    pub(super) fn end(&mut self) {
        self.head = 0;
    }
}

impl Framing {
    /// Takes a field into account.
    pub(super) fn note(&mut self, name: &str, value: &str) -> Result<(), NotHttp> {
        if name == "content-length" {
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            let length = value.parse().ok().filter(|_| digits).ok_or(NotHttp)?;
            if self.length.replace(length).is_some_and(|other| other != length) {
                return Err(NotHttp);
            }
        } else if name == "transfer-encoding" {
            if self.chunked || !value.eq_ignore_ascii_case("chunked") {
                return Err(NotHttp);
            }
            self.chunked = true;
        }
        Ok(())
    }

    /// The body's length; two readers could take two different ones for it if there are both.
    pub(super) fn length(&self, otherwise: Length) -> Result<Length, NotHttp> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(NotHttp),
            (true, None) => Ok(Length::Chunked),
            (false, Some(length)) => Ok(Length::Bytes(length)),
            (false, None) => Ok(otherwise),
        }
    }
}

/// Splits `input` behind its first line feed.
pub(super) fn split_line(input: &[u8]) -> (&[u8], &[u8]) {
    input.split_at(input.iter().position(|b| *b == b'\n').map_or(input.len(), |at| at + 1))
}

/// Whether more could make an HTTP/1 request line of it.
pub(super) fn may_be_request(line: &[u8]) -> bool {
    let method = line.iter().position(|b| !b.is_ascii_uppercase() && *b != b'-');
    let begins = match method {
        None => line.len() <= MAX_METHOD,
        Some(end) => (1..=MAX_METHOD).contains(&end) && line[end] == b' ',
    };
    begins && line.len() <= MAX_LINE
}

/// The method of a request line of HTTP/1.
pub(super) fn method(line: &[u8]) -> Result<String, NotHttp> {
    if !may_be_request(line) {
        return Err(NotHttp);
    }
    let line = text(line);
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(_), Some("HTTP/1.1" | "HTTP/1.0"), None) => Ok(method.to_owned()),
        _ => Err(NotHttp),
    }
}

/// The status of a status line of HTTP/1.
pub(super) fn status(line: &[u8]) -> Result<u16, NotHttp> {
    let line = text(line);
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 ")).ok_or(NotHttp)?;
    let status = rest.split(' ').next().filter(|status| status.len() == 3);
    status.and_then(|status| status.parse().ok()).filter(|status| *status >= 100).ok_or(NotHttp)
}

/// A field's name, in lower case, and its value.
pub(super) fn field(line: &[u8]) -> Result<(String, String), NotHttp> {
    let line = text(line);
    let (name, value) = line.split_once(':').ok_or(NotHttp)?;
    // A name with a blank before the colon, or a line that goes on with the one before, means different things to
    // different readers (RFC 9112, section 5.1 and 5.2).
    if name.is_empty() || name.contains(|c: char| c.is_whitespace()) {
        return Err(NotHttp);
    }
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

pub(super) fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// A line without its end. Only what is ASCII is of interest here.
fn text(line: &[u8]) -> Cow<'_, str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
}
