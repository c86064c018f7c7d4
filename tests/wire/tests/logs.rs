//! A log that is followed does not lag behind, though it is masked. Nothing is written until what was written before has
//! been seen, so that whatever is kept for longer is waited for in vain.

use anyhow::{Result, ensure};
use tokio::io::{AsyncRead, AsyncWrite};
use wire::{Gate, Stream, Upstream};

const LOG: &str = "GET /api/v1/namespaces/demo/pods/web/log?follow=true HTTP/1.1\r\nHost: a\r\n\r\n";
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

/// Reads chunks until what is shown of them ends with `end`.
async fn show<IO>(client: &mut Stream<IO>, shown: &mut String, end: &str) -> Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let before = shown.len();
    while !shown[before..].ends_with(end) {
        let chunk = client.chunk().await?;
        ensure!(chunk.is_some(), "the log ends before {end:?}: {shown:?}");
        shown.push_str(std::str::from_utf8(&chunk.unwrap_or_default())?);
    }
    Ok(())
}

#[tokio::test]
async fn a_line_is_shown_before_the_next_one_is_written() -> Result<()> {
    let upstream = Upstream::listen().await?;
    let gate = Gate::masking(&upstream).await?;
    let mut arrivals = upstream.arrivals();
    let mut client = gate.http1().await?;
    client.write(LOG).await?;
    let mut log = arrivals.http1().await?.stream;
    log.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    ensure!(client.head().await?.status() == 200, "no log");

    let (start, rest) = KEY.split_at(8);
    let mut shown = String::new();
    for (written, seen) in [
        ("listening on :8080\n", "listening on :8080\n"),
        // No line yet.
        ("progress: 10%", "progress: 10%"),
        (", 20%\n", ", 20%\n"),
        (&*format!("token {TOKEN}\n"), "\n"),
        // What may be the beginning of a secret: a line, and less than one.
        ("Authorization: Bearer \n", "Authorization: Bearer \n"),
        ("-----BEGIN \n", "-----BEGIN \n"),
        (start, start),
        (&*format!("{rest}\n"), "\n"),
        ("bye\n", "bye\n"),
    ] {
        log.write(format!("{:x}\r\n{written}\r\n", written.len())).await?;
        show(&mut client, &mut shown, seen).await?;
    }
    ensure!(shown.contains("\ntoken portcullis-masked:") && !shown.contains(TOKEN), "{shown}");
    ensure!(!shown.contains(KEY), "what comes after a pause is still masked: {shown}");
    Ok(())
}
