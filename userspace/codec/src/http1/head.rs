//! The head of a request.

use super::Fault;

/// What fits the proxy's library with the buffers that it has. Go's servers, and so the API server, take 1 MiB.
pub const LONGEST_HEAD: usize = 400 << 10;
/// The longest target that the proxy's library can hold.
pub const LONGEST_TARGET: usize = 65_534;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// A body of this many bytes, and then the next head.
    Length(u64),
    /// A chunked body, and then the next head.
    Chunks,
    /// No HTTP any more, if the server agrees to an upgrade.
    Unknown,
}

/// Where the first head in `bytes` ends: behind the first empty line that is not before all others, bare line feeds and
/// all. `looked` bytes at the front were looked at already.
#[must_use]
pub fn end_of_head(bytes: &[u8], looked: usize) -> Option<usize> {
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let from = looked.saturating_sub(2).max(begin);
    (from..bytes.len()).filter(|at| bytes[*at] == b'\n').find_map(|at| match &bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Reads a whole head, as [`end_of_head`] found it.
///
/// # Errors
/// [`Fault`]: it can be read in two ways.
pub fn read_head(head: &[u8]) -> Result<Follows, Fault> {
    let mut lines = lines(head);
    // RFC 9112 §2.2: empty lines before a request are to be skipped.
    let request = lines.find(|line| !matches!(line, Ok(b"")));
    let old = request_line(request.transpose()?.unwrap_or_default())?;
    let (mut length, mut chunked, mut hosted, mut upgrade) = (None, false, false, false);
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(number(value)?).is_some() {
                return Err(Fault::RepeatedLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || old || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Coding);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosted = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade = true;
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(Fault::TwoLengths),
        _ if !hosted && !old => Err(Fault::NoHost),
        _ if upgrade => Ok(Follows::Unknown),
        (_, true) => Ok(Follows::Chunks),
        (length, false) => Ok(Follows::Length(length.unwrap_or_default())),
    }
}

/// The lines of a head, each of which has to end with CR LF.
fn lines(head: &[u8]) -> impl Iterator<Item = Result<&[u8], Fault>> {
    let head = head.strip_suffix(b"\n").unwrap_or(head);
    head.split(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").ok_or(Fault::LineEnd)?;
        if line.contains(&b'\r') { Err(Fault::LineEnd) } else { Ok(line) }
    })
}

/// Whether it is of HTTP/1.0.
fn request_line(line: &[u8]) -> Result<bool, Fault> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Fault::RequestLine);
    };
    let old = version == b"HTTP/1.0";
    if !is_word(method) || target.is_empty() || !old && version != b"HTTP/1.1" {
        return Err(Fault::RequestLine);
    }
    if target[0] != b'/' {
        return Err(Fault::NotAPath);
    }
    if target.contains(&b'#') {
        return Err(Fault::Fragment);
    }
    if !target.iter().all(|byte| byte.is_ascii_graphic() && !b"\"<>`".contains(byte)) {
        return Err(Fault::Target);
    }
    if target.len() > LONGEST_TARGET {
        return Err(Fault::TargetTooLong);
    }
    Ok(old)
}

/// Name and value of a field, without the white space around the value.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Fault::Folded);
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Fault::Name)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_word(name) {
        return Err(Fault::Name);
    }
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(Fault::Value);
    }
    Ok((name, value.trim_ascii()))
}

/// A `token` (RFC 9110 §5.6.2).
fn is_word(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn number(value: &[u8]) -> Result<u64, Fault> {
    let digits = str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(Fault::Length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(rest: &str) -> Vec<u8> {
        format!("POST /x HTTP/1.1\r\nHost: a\r\n{rest}\r\n").into_bytes()
    }

    fn line(line: &[u8]) -> Vec<u8> {
        [line, b"\r\nHost: a\r\n\r\n"].concat()
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways() {
        use Fault::*;
        for (bytes, fault) in [
            (head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), TwoLengths),
            (head("transfer-encoding:chunked\r\nCONTENT-LENGTH:5\r\n"), TwoLengths),
            (head("Content-Length: 5\r\nContent-Length: 5\r\n"), RepeatedLength),
            (head("Content-Length: 5\r\nContent-Length: 6\r\n"), RepeatedLength),
            (head("Content-Length: 5, 5\r\n"), Length),
            (head("Content-Length: +5\r\n"), Length),
            (head("Content-Length: -0\r\n"), Length),
            (head("Content-Length: 0x5\r\n"), Length),
            (head("Content-Length: \r\n"), Length),
            (head("Content-Length: 5 5\r\n"), Length),
            (head("Content-Length: 18446744073709551616\r\n"), Length),
            (head("Transfer-Encoding: gzip, chunked\r\n"), Coding),
            (head("Transfer-Encoding: chunked, identity\r\n"), Coding),
            (head("Transfer-Encoding: identity\r\n"), Coding),
            (head("Transfer-Encoding: xchunked\r\n"), Coding),
            (head("Transfer-Encoding: \"chunked\"\r\n"), Coding),
            (head("Transfer-Encoding: chunked;q=1\r\n"), Coding),
            (head("Transfer-Encoding:\r\n"), Coding),
            (head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Coding),
            (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), Coding),
            (head("Transfer-Encoding : chunked\r\n"), Name),
            (head("Transfer-Encoding\t: chunked\r\n"), Name),
            (head("Transfer\u{2010}Encoding: chunked\r\n"), Name),
            (head(": x\r\n"), Name),
            (head("X\r\n"), Name),
            (head("X\0: y\r\n"), Name),
            (head("X: y\nContent-Length: 5\r\n"), LineEnd),
            (head("X: y\rContent-Length: 5\r\n"), LineEnd),
            (head("X: y\r\r\n"), LineEnd),
            (b"GET /x HTTP/1.1\nHost: a\n\n".to_vec(), LineEnd),
            (b"\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), LineEnd),
            (head("X: y\r\n z\r\n"), Folded),
            (b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n".to_vec(), Folded),
            (head("X: a\0b\r\n"), Value),
            (head("X: a\x0bb\r\n"), Value),
            (head("X: \x7f\r\n"), Value),
            (line(b"GET /x#/../y HTTP/1.1"), Fragment),
            (line(b"GET  /x HTTP/1.1"), RequestLine),
            (line(b"GET /x  HTTP/1.1"), RequestLine),
            (line(b"GET /x HTTP/1.1 "), RequestLine),
            (line(b"GET\t/x HTTP/1.1"), RequestLine),
            (line(b"GET /a b HTTP/1.1"), RequestLine),
            (line(b"GET /x"), RequestLine),
            (line(b"GET /x HTTP/1.2"), RequestLine),
            (line(b"GET /x HTTP/01.1"), RequestLine),
            (line(b"GET /x http/1.1"), RequestLine),
            (line(b"G(T /x HTTP/1.1"), RequestLine),
            (line(b" GET /x HTTP/1.1"), RequestLine),
            (line(b"PRI * HTTP/2.0"), RequestLine),
            (line(b"GET https://elsewhere/x HTTP/1.1"), NotAPath),
            (line(b"CONNECT elsewhere:443 HTTP/1.1"), NotAPath),
            (line(b"OPTIONS * HTTP/1.1"), NotAPath),
            (line(b"GET ?x HTTP/1.1"), NotAPath),
            (line(b"GET /<x> HTTP/1.1"), Target),
            (line(b"GET /x?y=\"z\" HTTP/1.1"), Target),
            (line(b"GET /x\0 HTTP/1.1"), Target),
            (line(b"GET /\xc0\xae\xc0\xae/x HTTP/1.1"), Target),
            (line(b"GET /x\t HTTP/1.1"), Target),
            (
                line(&[b"GET /".to_vec(), vec![b'x'; LONGEST_TARGET], b" HTTP/1.1".to_vec()].concat()),
                TargetTooLong,
            ),
            (b"GET /x HTTP/1.1\r\n\r\n".to_vec(), NoHost),
        ] {
            assert_eq!(end_of_head(&bytes, 0), Some(bytes.len()), "{}", bytes.escape_ascii());
            assert_eq!(read_head(&bytes), Err(fault), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn how_far_a_request_is_followed() {
        use Follows::*;
        for (rest, follows) in [
            ("", Length(0)),
            ("Content-Length: 5\r\n", Length(5)),
            ("Content-Length:\t5 \r\n", Length(5)),
            ("Content-Length: 18446744073709551615\r\n", Length(u64::MAX)),
            ("Transfer-Encoding:\tChunked\r\n", Chunks),
            ("X:\r\nY: \u{fc}\tz\r\n", Length(0)),
            ("Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n", Unknown),
        ] {
            assert_eq!(read_head(&head(rest)), Ok(follows), "{rest:?}");
        }
        assert_eq!(read_head(b"\r\n\r\nGET /x HTTP/1.0\r\n\r\n"), Ok(Length(0)));
    }

    #[test]
    fn the_end_is_found_in_any_pieces() {
        for bytes in
            [head("X: y\r\n"), b"\r\n\r\nGET / HTTP/1.1\n\n".to_vec(), b"GET / HTTP/1.1\n\r\n".to_vec()]
        {
            let more = [&bytes[..], b"GET"].concat();
            assert_eq!(end_of_head(&more, 0), Some(bytes.len()));
            for looked in 0..bytes.len() {
                assert_eq!(end_of_head(&more[..looked], 0), None, "{looked}");
                assert_eq!(end_of_head(&more, looked), Some(bytes.len()), "{looked}");
            }
        }
    }
}
