//! `cargo xtask demo`: the product's main job as a story, with real eBPF, real kubectl, a simulated cluster (or a real one)
//! and an MCP server. Everything runs in a cgroup of its own and is gone afterwards, also on Ctrl-C.

mod access;
mod evidence;
mod keep;
mod narration;
mod operations;
mod real;
mod set;
mod story;
mod workloads;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use e2e::installed;

use self::narration::{say, scene};
use self::operations::Operations;
use self::story::Story;
use crate::{build, machine, tools};

/// How long anything in the story may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Play the main job as a story
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Use the current context of this kubeconfig as upstream; only reads are sent to it
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Leave everything running to play with, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    machine::check()?;
    let python = tools::mcp_sdk()?;
    let programs = build::ensure_built(false)?.dir;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot watch for Ctrl-C")?;
    }
    let kubectl = installed()?.pop().context("no kubectl")?;
    let copies = real::Copies::make()?;
    let upstream = args.kubeconfig.as_deref().map(|file| copies.of_cluster(&kubectl, file)).transpose()?;

    scene(
        "Setting the stage: a cluster, an MCP server, an identity provider, the gate in the kernel, the daemon behind it",
    );
    let real = upstream.is_some();
    let operations = Operations::start(python)?;
    let idp = set::identity_provider()?;
    let stage = set::stage(&programs, upstream, idp.issuer(), operations.url())?;
    let story = Story { stage, idp, operations, kubectl, programs, interrupted };
    story.introduce()?;
    let started = Instant::now();
    let told = if real { story.tell_on_a_real_cluster()? } else { story.tell()? };
    say(&format!("\nThat was the story, in {} s.", started.elapsed().as_secs()));
    if args.keep {
        told.keep()?;
    }
    scene("Taking the stage down");
    Ok(())
}
