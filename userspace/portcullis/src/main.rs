//! `portcullis`: the gate loader, the daemon and the engineer's commands in one binary.

mod cli;
mod config;
mod control;
mod daemon;
mod print;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

/// Exit code of a command that was refused or failed. Wrong usage is 2, clap's own.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // For the libraries that speak TLS with identity providers, AWS and webhooks; nothing else can have been installed.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    match verbs::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain on one line: each cause says what and where.
            let message = format!("{error:#}");
            let prefix = if message.starts_with("portcullis:") { "" } else { "portcullis: " };
            print::stderr(&format!("{prefix}{message}"));
            ExitCode::from(FAILED)
        }
    }
}
