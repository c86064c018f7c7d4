//! The command's side of the control socket.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use super::{Answer, Ask};

/// The daemon answers from memory or one short transaction.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks the daemon at `socket`.
///
/// # Errors
/// With the daemon's own words when it refuses; else saying why it could not be asked.
pub(crate) fn ask<T: DeserializeOwned>(socket: &Path, ask: &Ask) -> Result<T> {
    let asking = || format!("cannot ask the daemon at {} (is `portcullis run` running?)", socket.display());
    let mut stream = UnixStream::connect(socket).with_context(asking)?;
    stream.set_read_timeout(Some(TIMEOUT)).with_context(asking)?;
    let mut line = serde_json::to_string(ask).with_context(asking)?;
    line.push('\n');
    // A daemon that refuses to listen has said why before it closed.
    let sent = stream.write_all(line.as_bytes()).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = String::new();
    let told = BufReader::new(stream).read_line(&mut answer);
    if answer.is_empty() {
        sent.and(told).with_context(asking)?;
    }
    match serde_json::from_str(&answer)
        .context("the daemon's answer cannot be read; is it of another version?")?
    {
        Answer::Done(done) => Ok(done),
        Answer::Refused(reason) => bail!(reason),
    }
}
