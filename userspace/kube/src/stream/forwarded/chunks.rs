//! The chunked transfer coding (RFC 9112, section 7.1), slice by slice.

use super::head::{Lines, NotHttp, is_blank};

/// Reads one chunked body.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    lines: Lines,
    state: State,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Size,
    Data(u64),
    /// The line end behind a chunk.
    DataEnd,
    Trailers,
}

/// What a slice of the body is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'i> {
    /// Bytes of the content.
    Data(&'i [u8]),
    /// The last chunk has come.
    Last,
    /// A whole line of the trailers.
    Trailer(Vec<u8>),
    /// The blank line at the end has come.
    End(Vec<u8>),
}

impl Chunks {
    /// The next part, or `None` when all of `input` has been taken.
    pub(super) fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Part<'i>>, NotHttp> {
        loop {
            if let State::Data(left) = self.state {
                if input.is_empty() {
                    return Ok(None);
                }
                let now = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let (data, rest) = input.split_at(now);
                *input = rest;
                let left = left - now as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                return Ok(Some(Part::Data(data)));
            }
            if input.is_empty() {
                return Ok(None);
            }
            let Some(line) = self.lines.next(input)? else { return Ok(None) };
            match self.state {
                State::Size => {
                    self.lines.end();
                    match size(&line) {
                        Ok(0) => {
                            self.state = State::Trailers;
                            return Ok(Some(Part::Last));
                        }
                        Ok(size) => self.state = State::Data(size),
                        Err(fault) => {
                            self.lines.put_back(line);
                            return Err(fault);
                        }
                    }
                }
                State::DataEnd if is_blank(&line) => self.state = State::Size,
                State::DataEnd | State::Data(_) => {
                    self.lines.put_back(line);
                    return Err(NotHttp);
                }
                State::Trailers if is_blank(&line) => return Ok(Some(Part::End(line))),
                State::Trailers => return Ok(Some(Part::Trailer(line))),
            }
        }
    }

    /// Gives away what there is of a line.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        self.lines.release(out);
    }
}

/// Appends a chunk; none for no data, since that would be the last.
pub(super) fn write(data: &[u8], out: &mut Vec<u8>) {
    if !data.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// A chunk's size; what stands behind a semicolon is for nobody.
fn size(line: &[u8]) -> Result<u64, NotHttp> {
    let digits = line.split(|b| matches!(b, b';' | b'\r' | b'\n')).next().unwrap_or_default().trim_ascii();
    let valid = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| valid).ok_or(NotHttp)?;
    u64::from_str_radix(digits, 16).map_err(|_| NotHttp)
}
