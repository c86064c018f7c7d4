//! Header blocks: name/value pairs, deflated in one zlib stream per direction that starts from a preset dictionary.
//! Each block depends on all before it, so every control frame that carries one has to be inflated.

use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Limits;
use crate::{Error, take};

/// Name/value pairs in the order sent. Names are lower case; several values of one name are joined by NUL bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The whole value of `name`, which is given in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Parses an inflated block.
    fn parse(mut block: &[u8], limits: &Limits) -> Result<Self, Error> {
        let count = length(&mut block)?;
        if count as usize > limits.headers {
            return Err(Error::SpdyTooManyHeaders(count));
        }
        let mut pairs: Vec<(String, String)> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let name = text(&mut block)?;
            if name.is_empty() || name.bytes().any(|b| b.is_ascii_uppercase()) {
                return Err(Error::SpdyHeaders("a name is empty or has upper-case letters"));
            }
            if pairs.iter().any(|(seen, _)| *seen == name) {
                return Err(Error::SpdyHeaders("a name occurs twice"));
            }
            let value = text(&mut block)?;
            pairs.push((name, value));
        }
        // Go's decoder would read what is left over as the start of the next block.
        if !block.is_empty() {
            return Err(Error::SpdyHeaders("bytes are left over"));
        }
        Ok(Self(pairs))
    }

    fn write(&self) -> Vec<u8> {
        let mut block = Vec::new();
        let mut number = |n: usize, bytes: &[u8]| {
            block.extend_from_slice(&(n as u32).to_be_bytes());
            block.extend_from_slice(bytes);
        };
        number(self.0.len(), b"");
        for (name, value) in self.iter() {
            number(name.len(), name.as_bytes());
            number(value.len(), value.as_bytes());
        }
        block
    }
}

/// Names are lower-cased on the way in, as the specification demands.
impl<N: AsRef<str>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(n, v)| (n.as_ref().to_ascii_lowercase(), v.into())).collect())
    }
}

/// The reading end of one direction's zlib stream.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Inflates and parses one header block.
    pub(super) fn read(&mut self, mut deflated: &[u8], limits: &Limits) -> Result<Headers, Error> {
        let mut block = Vec::with_capacity(512);
        loop {
            let before = (self.0.total_in(), block.len());
            let outcome = self.0.decompress_vec(deflated, &mut block, FlushDecompress::Sync);
            deflated = &deflated[(self.0.total_in() - before.0) as usize..];
            match outcome {
                Ok(Status::StreamEnd) => return Err(Error::SpdyInflateEnded),
                Ok(_) if block.len() > limits.header_block => {
                    return Err(Error::SpdyHeadersTooLong(limits.header_block));
                }
                // A full buffer may hide more output; anything less means that this block has given all.
                Ok(_) if block.len() == block.capacity() => {
                    block.reserve(limits.header_block + 1 - block.len());
                }
                Ok(_) if deflated.is_empty() => return Headers::parse(&block, limits),
                Ok(_) if before == (self.0.total_in(), block.len()) => {
                    return Err(Error::SpdyHeaders("zlib takes no more of it"));
                }
                Ok(_) => {}
                Err(e) if e.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(Error::SpdyInflate)?;
                }
                Err(e) => return Err(Error::SpdyInflate(e)),
            }
        }
    }
}

/// The writing end of one direction's zlib stream.
#[derive(Debug)]
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Result<Self, Error> {
        let mut compress = Compress::new(Compression::default(), true);
        compress.set_dictionary(&DICTIONARY).map_err(Error::SpdyDeflate)?;
        Ok(Self(compress))
    }

    /// Appends one deflated header block to `out`.
    pub(super) fn write(&mut self, headers: &Headers, out: &mut Vec<u8>) -> Result<(), Error> {
        let block = headers.write();
        let mut rest = &block[..];
        loop {
            out.reserve(rest.len() + 64);
            let before = self.0.total_in();
            self.0.compress_vec(rest, out, FlushCompress::Sync).map_err(Error::SpdyDeflate)?;
            rest = &rest[(self.0.total_in() - before) as usize..];
            if rest.is_empty() && out.len() < out.capacity() {
                return Ok(());
            }
        }
    }
}

fn length(block: &mut &[u8]) -> Result<u32, Error> {
    let bytes = take(block, 4).try_into().map_err(|_| Error::SpdyHeaders("it ends inside a length"))?;
    Ok(u32::from_be_bytes(bytes))
}

fn text(block: &mut &[u8]) -> Result<String, Error> {
    let wanted = length(block)? as usize;
    let bytes = take(block, wanted);
    if bytes.len() < wanted {
        return Err(Error::SpdyHeaders("it ends inside a text"));
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::SpdyHeaders("a text is not UTF-8"))
}

/// The preset dictionary of the specification: length-prefixed words, then a tail of plain text. 1,423 bytes.
static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let words = WORDS.split(',').flat_map(|w| (w.len() as u32).to_be_bytes().into_iter().chain(w.bytes()));
    words.chain(TAIL.bytes()).collect()
});

const WORDS: &str = "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,accept-ranges,\
age,allow,authorization,cache-control,connection,content-base,content-encoding,content-language,\
content-length,content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,\
host,if-match,if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,\
max-forwards,pragma,proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,\
transfer-encoding,upgrade,user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,\
HTTP/1.1,url,public,set-cookie,keep-alive,origin";

const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_one_that_real_peers_name() {
        assert_eq!(DICTIONARY.len(), 1423);
        // The first block of a captured connection: zlib's head carries the dictionary's checksum.
        let captured = [0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2, 0x62, 0x60, 0x60, 0x60, 0, 0, 0, 0, 0xff, 0xff];
        assert_eq!(Inflater::new().read(&captured, &Limits::default()).unwrap(), Headers::default());
    }

    #[test]
    fn blocks_share_their_context() {
        let headers: Headers = [("streamType", "stdin"), ("port", "8080")].into_iter().collect();
        let (mut deflater, mut inflater) = (Deflater::new().unwrap(), Inflater::new());
        let mut sizes = Vec::new();
        for _ in 0..3 {
            let mut out = Vec::new();
            deflater.write(&headers, &mut out).unwrap();
            sizes.push(out.len());
            assert_eq!(inflater.read(&out, &Limits::default()).unwrap(), headers);
        }
        assert!(sizes[1] < sizes[0], "a repeated block is shorter: {sizes:?}");
    }

    #[test]
    fn a_bomb_is_refused() {
        let headers: Headers = [("bomb", "x".repeat(10 << 20))].into_iter().collect();
        let mut out = Vec::new();
        Deflater::new().unwrap().write(&headers, &mut out).unwrap();
        let error = Inflater::new().read(&out, &Limits::default()).unwrap_err();
        assert!(matches!(error, Error::SpdyHeadersTooLong(_)), "{error}");
    }

    #[test]
    fn malformed_blocks_are_refused() {
        for (block, why) in [
            (&b"\0\0\0"[..], "inside a length"),
            (b"\0\0\0\x01\0\0\0\x09short", "inside a text"),
            (b"\0\0\0\x01\0\0\0\x01A\0\0\0\x01b", "upper-case"),
            (b"\0\0\0\x01\0\0\0\0\0\0\0\x01b", "empty"),
            (b"\0\0\0\x02\0\0\0\x01a\0\0\0\0\0\0\0\x01a\0\0\0\0", "twice"),
            (b"\0\0\0\0left", "left over"),
            (b"\0\0\0\x01\0\0\0\x01\xff\0\0\0\0", "UTF-8"),
            (b"\xff\xff\xff\xff", "4294967295 pairs"),
        ] {
            let error = Headers::parse(block, &Limits::default()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
