//! One end of an HTTP/1.1 connection, without a library's opinion of what it should look like.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::soon;

/// The head of a message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Request line or status line.
    pub line: String,
    /// Fields in order, names in their own case.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// The value of the first field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The status code of an answer; 0 where there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
    }
}

/// A connection that is written and read by hand.
#[derive(Debug)]
pub struct Stream<IO> {
    io: IO,
    /// Read, and not asked for yet.
    rest: Vec<u8>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Stream<IO> {
    /// Over an open connection.
    pub fn new(io: IO) -> Self {
        Self { io, rest: Vec::new() }
    }

    /// The connection below.
    pub fn io(&mut self) -> &mut IO {
        &mut self.io
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        soon("the other side to take bytes", async {
            self.io.write_all(bytes.as_ref()).await?;
            Ok(self.io.flush().await?)
        })
        .await?
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn finish(&mut self) -> Result<()> {
        Ok(soon("the connection to close", self.io.shutdown()).await??)
    }

    /// Reads once; false at the end.
    async fn more(&mut self) -> Result<bool> {
        let read = soon("the other side to say something", self.io.read_buf(&mut self.rest)).await??;
        Ok(read > 0)
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.rest.len() < count {
            let have = self.rest.len();
            ensure!(self.more().await?, "closed after {have} of {count} bytes");
        }
        Ok(self.rest.drain(..count).collect())
    }

    /// The next bytes up to and including `end`.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn take_until(&mut self, end: &[u8]) -> Result<Vec<u8>> {
        loop {
            if let Some(at) = self.rest.windows(end.len()).position(|window| window == end) {
                return Ok(self.rest.drain(..at + end.len()).collect());
            }
            if !self.more().await? {
                bail!("closed before {:?}: {}", end.escape_ascii().to_string(), self.rest.escape_ascii());
            }
        }
    }

    /// The next bytes, as many as there are; none at the end of the connection.
    ///
    /// # Errors
    /// When the connection breaks off.
    pub async fn some(&mut self) -> Result<Vec<u8>> {
        if self.rest.is_empty() {
            self.more().await?;
        }
        Ok(std::mem::take(&mut self.rest))
    }

    /// Everything up to the end of the connection, and whether that was a clean one (with TLS's `close_notify`).
    pub async fn take_rest(&mut self) -> (Vec<u8>, bool) {
        loop {
            match self.more().await {
                Ok(true) => {}
                Ok(false) => return (std::mem::take(&mut self.rest), true),
                Err(_) => return (std::mem::take(&mut self.rest), false),
            }
        }
    }

    /// The next head, however long nothing comes before it.
    pub(crate) async fn idle_head(&mut self) -> Result<Head> {
        if self.rest.is_empty() {
            let mut first = [0];
            ensure!(self.io.read(&mut first).await? == 1, "closed");
            self.rest.push(first[0]);
        }
        self.head().await
    }

    /// The next head.
    ///
    /// # Errors
    /// When the connection ends before, or it is none.
    pub async fn head(&mut self) -> Result<Head> {
        let bytes = self.take_until(b"\r\n\r\n").await?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.trim_end().split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .map(|line| {
                let (name, value) = line.split_once(':').with_context(|| format!("no field: {line:?}"))?;
                Ok((name.to_owned(), value.trim().to_owned()))
            })
            .collect::<Result<_>>()?;
        Ok(Head { line, fields })
    }

    /// The body behind a head that says how long it is; what says nothing has none.
    ///
    /// # Errors
    /// When the connection ends before, or the framing is broken.
    pub async fn body(&mut self, head: &Head) -> Result<Vec<u8>> {
        if head.field("transfer-encoding").is_some() {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk().await? {
                body.extend_from_slice(&chunk);
            }
            return Ok(body);
        }
        match head.field("content-length") {
            Some(length) => self.take(length.parse()?).await,
            None => Ok(Vec::new()),
        }
    }

    /// The next chunk; `None` for the last, whose trailers have been read past.
    ///
    /// # Errors
    /// As [`Stream::body`].
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let line = self.take_until(b"\r\n").await?;
        let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16)?;
        if size == 0 {
            while self.take_until(b"\r\n").await? != b"\r\n" {}
            return Ok(None);
        }
        let mut data = self.take(size + 2).await?;
        ensure!(data.ends_with(b"\r\n"), "a chunk of {size} bytes ends otherwise");
        data.truncate(size);
        Ok(Some(data))
    }
}
