//! The two ends of the bench: an API server and an MCP server that answer as fast as can be, and clients that ask as fast
//! as they are answered. Threads that block, or for h2 a runtime on each, and buffers that are ready: what is measured is
//! what stands between the two.

mod bodies;
mod exec;
mod hold;
mod http;
mod http2;
mod load;
mod mcp;
mod serve;
mod tls;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;

/// Upstreams and load generator of `cargo xtask bench`.
#[derive(Debug, Parser)]
enum Verb {
    Serve(serve::Args),
    Load(load::Args),
    Hold(hold::Args),
    Dial(hold::DialArgs),
    Exec(exec::Args),
}

fn main() -> ExitCode {
    let result = match Verb::parse() {
        Verb::Serve(args) => serve::run(&args),
        Verb::Load(args) => load::run(&args),
        Verb::Hold(args) => hold::run(&args),
        Verb::Dial(args) => hold::dial(&args),
        Verb::Exec(args) => exec::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // When stderr is closed, the exit code says it.
            writeln!(io::stderr(), "bench: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

/// One line of JSON for whoever started this.
fn report(value: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).context("cannot write to standard output")?;
    out.write_all(b"\n").context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h2_is_for_paths_of_the_api_server() {
        let is_read = |line: &str| Verb::try_parse_from(line.split(' ')).is_ok();
        let at = "--address 127.0.0.1:1 --ca ca.crt";
        assert!(is_read(&format!("bench load {at} --path /a --h2")));
        assert!(is_read(&format!("bench hold {at} --path /a --streams 200 --h2-connections 2")));
        for refused in
            ["load --call report --h2", "hold --h2-connections 2", "hold --path /a --h2-connections 0"]
        {
            assert!(!is_read(&format!("bench {refused} {at}")), "{refused}");
        }
    }
}
