//! Chunked bodies (RFC 9112 §7.1), followed to their end without being decoded.

use super::Fault;
use super::head::field;

/// Extensions and trailers of one body, bytes; nobody sends any.
const ASIDE: usize = 16 * 1024;
/// Digits of a size that fits 64 bits.
const DIGITS: u8 = 16;

/// Where in a chunked body we are.
#[derive(Debug, Default)]
pub struct Chunks {
    at: At,
    /// Extensions and trailers so far.
    aside: usize,
    /// The line of a trailer so far.
    line: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum At {
    /// In a size, of which this was read.
    Size { size: u64, digits: u8 },
    /// Behind a size.
    Extension { size: u64 },
    /// At the line feed behind a size.
    SizeEnd { size: u64 },
    /// In a chunk of which this much is left.
    Data { left: u64 },
    /// At the carriage return behind a chunk.
    DataCr,
    /// At the line feed behind it.
    DataLf,
    /// Behind the last chunk.
    Trailer,
    /// Behind all of it.
    End,
}

const NEXT: At = At::Size { size: 0, digits: 0 };

impl Default for At {
    fn default() -> Self {
        NEXT
    }
}

impl Chunks {
    /// Follows the next bytes; returns how many of them belong to the body.
    ///
    /// # Errors
    /// The fault, and how many bytes were good before it. Nothing can be followed after that.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<usize, (usize, Fault)> {
        let mut at = 0;
        while at < bytes.len() {
            if let At::Data { left } = self.at {
                let given = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += given;
                let left = left - given as u64;
                self.at = if left == 0 { At::DataCr } else { At::Data { left } };
                continue;
            }
            if self.has_ended() {
                break;
            }
            self.at = self.byte(bytes[at]).map_err(|fault| (at, fault))?;
            at += 1;
        }
        Ok(at)
    }

    /// Whether the last byte of the body has been followed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.at, At::End)
    }

    fn byte(&mut self, byte: u8) -> Result<At, Fault> {
        match (self.at, byte) {
            (At::Size { digits: 0, .. }, b'\r' | b'\n' | b';') => Err(Fault::ChunkSize),
            (At::Size { size, .. }, b'\r') => Ok(At::SizeEnd { size }),
            (At::Size { size, .. }, b';') => Ok(At::Extension { size }),
            (At::Size { digits: DIGITS, .. }, _) => Err(Fault::ChunkSize),
            (At::Size { size, digits }, byte) => {
                let digit = (byte as char).to_digit(16).ok_or(Fault::ChunkSize)?;
                Ok(At::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (At::Extension { size }, b'\r') => Ok(At::SizeEnd { size }),
            (At::Extension { .. }, byte) if byte.is_ascii_control() && byte != b'\t' => Err(Fault::ChunkSize),
            (At::Extension { size }, _) => self.beside().map(|()| At::Extension { size }),
            (At::SizeEnd { size: 0 }, b'\n') => Ok(At::Trailer),
            (At::SizeEnd { size }, b'\n') => Ok(At::Data { left: size }),
            (At::SizeEnd { .. }, _) => Err(Fault::ChunkSize),
            (At::DataCr, b'\r') => Ok(At::DataLf),
            (At::DataLf, b'\n') => Ok(NEXT),
            (At::DataCr | At::DataLf | At::Data { .. } | At::End, _) => Err(Fault::ChunkEnd),
            (At::Trailer, byte) => self.trailer(byte),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<At, Fault> {
        self.beside()?;
        if byte != b'\n' {
            self.line.push(byte);
            return Ok(At::Trailer);
        }
        let line = self.line.strip_suffix(b"\r").filter(|line| !line.contains(&b'\r'));
        let line = line.ok_or(Fault::LineEnd)?;
        if line.is_empty() {
            return Ok(At::End);
        }
        field(line)?;
        self.line.clear();
        Ok(At::Trailer)
    }

    fn beside(&mut self) -> Result<(), Fault> {
        self.aside += 1;
        if self.aside > ASIDE { Err(Fault::ChunkAside) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same in whatever pieces.
    fn follow(bytes: &[u8]) -> Result<usize, (usize, Fault)> {
        let whole = Chunks::default().follow(bytes);
        for piece in 1..bytes.len().min(40) {
            let mut chunks = Chunks::default();
            let mut done = 0;
            let mut outcome = Ok(());
            for part in bytes.chunks(piece) {
                match chunks.follow(part) {
                    Ok(count) => done += count,
                    Err((count, fault)) => {
                        done += count;
                        outcome = Err(fault);
                        break;
                    }
                }
            }
            let pieced = outcome.map(|()| done).map_err(|fault| (done, fault));
            assert_eq!(pieced, whole, "in pieces of {piece}: {}", bytes.escape_ascii());
        }
        whole
    }

    #[test]
    fn a_body_is_followed_to_its_end() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "3;name=value\r\nabc\r\nA;\"x; y\"\r\n0123456789\r\n0;last\r\n\r\n",
            "0000000000000003\r\na\r\n\r\n00\r\n\r\n",
            "0\r\nDigest: x\r\nX:\r\n\r\n",
        ] {
            let bytes = [body, "GET / HTTP/1.1\r\n"].concat();
            assert_eq!(follow(bytes.as_bytes()), Ok(body.len()), "{body:?}");
            let mut chunks = Chunks::default();
            chunks.follow(&body.as_bytes()[..body.len() - 1]).unwrap();
            assert!(!chunks.has_ended());
        }
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways() {
        use Fault::*;
        for (body, good, fault) in [
            ("+3\r\nabc\r\n", 0, ChunkSize),
            ("-1\r\n", 0, ChunkSize),
            (" 3\r\nabc\r\n", 0, ChunkSize),
            ("3 \r\nabc\r\n", 1, ChunkSize),
            ("3\t;a\r\nabc\r\n", 1, ChunkSize),
            ("0x3\r\nabc\r\n", 1, ChunkSize),
            ("\r\n0\r\n\r\n", 0, ChunkSize),
            (";a\r\n", 0, ChunkSize),
            ("3\nabc\r\n", 1, ChunkSize),
            ("3\rabc\r\n", 2, ChunkSize),
            ("3;a\nabc\r\n", 3, ChunkSize),
            ("3;a\0\r\nabc\r\n", 3, ChunkSize),
            ("00000000000000003\r\nabc\r\n", 16, ChunkSize),
            ("10000000000000000\r\n", 16, ChunkSize),
            ("g\r\n", 0, ChunkSize),
            ("3\r\nabcd\r\n", 6, ChunkEnd),
            ("3\r\nabc\n0\r\n\r\n", 6, ChunkEnd),
            ("3\r\nabc\r0\r\n\r\n", 7, ChunkEnd),
            ("0\r\n\n", 3, LineEnd),
            ("0\r\nX: y\n\r\n", 7, LineEnd),
            ("0\r\nX : y\r\n\r\n", 9, Name),
            ("0\r\n x\r\n\r\n", 6, Folded),
        ] {
            assert_eq!(follow(body.as_bytes()), Err((good, fault)), "{body:?}");
        }
        let endless = format!("1;{}", "x".repeat(ASIDE + 1));
        assert_eq!(follow(endless.as_bytes()), Err((2 + ASIDE, ChunkAside)));
        let endless = format!("0\r\n{}", "x: y\r\n".repeat(ASIDE));
        assert_eq!(follow(endless.as_bytes()), Err((3 + ASIDE, ChunkAside)));
    }
}
