//! Loading, inspecting and removing the kernel programs.

use std::path::Path;

use anyhow::{Context, Result};
use portcullis_intercept::gate::{self, Loaded};
use portcullis_intercept::{Connection, Status};
use serde::Serialize;

use crate::cli::GateVerb;
use crate::config::Config;
use crate::daemon::resolver;
use crate::print::{self, Format};

pub(crate) fn run(verb: &GateVerb, config: &Path, format: Format) -> Result<()> {
    match verb {
        GateVerb::Load => {
            // What is to be guarded may have to be asked for first.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.context("cannot start the runtime")?;
            load(&runtime.block_on(Config::read_and_discover(config))?, format)
        }
        GateVerb::Status => print::data(format, &gate::status(&Config::read(config)?.gate)?, status),
        GateVerb::Unload => {
            let unloaded = gate::unload(&Config::read(config)?.gate)?;
            print::stdout(if unloaded {
                "The gate is unloaded: its targets can be reached around it from now on."
            } else {
                "No gate was loaded."
            })
        }
    }
}

/// What loading did, for scripts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    swapped: bool,
    endpoints_added: usize,
    endpoints_removed: usize,
    older_connections: Vec<Connection>,
}

/// Names that do not resolve yet (the network may not be up) are guarded as soon as the daemon resolves them.
fn load(config: &Config, format: Format) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("resolver")?;
    let (addresses, unresolved) = runtime.block_on(resolver(config).resolve());
    for name in unresolved {
        let (target, host, error) = (name.target, name.host, name.error);
        print::stderr(&format!("portcullis: warning: target {target}: {host} does not resolve yet: {error}"));
    }
    let Loaded { swapped, changes, older } = gate::load(&config.gate, &addresses)?;
    let report = Report {
        swapped,
        endpoints_added: changes.added,
        endpoints_removed: changes.removed,
        older_connections: older,
    };
    print::data(format, &report, |report| {
        let done = if report.swapped {
            "The gate was loaded already; its programs were swapped"
        } else {
            "The gate is loaded"
        };
        let mut lines = vec![format!("{done}. Its targets answer only while the daemon runs.")];
        if !report.older_connections.is_empty() {
            lines.push("Connections to targets that are older than the gate:".to_owned());
            lines.extend(report.older_connections.iter().map(|connection| {
                let Connection { local, remote, target, uid, .. } = connection;
                format!("  {local} to {remote} (target {target}), uid {uid}")
            }));
        }
        lines.join("\n")
    })
}

fn status(status: &Status) -> String {
    let mut lines = vec![
        format!(
            "gate      {}",
            if status.closed {
                "closed: every program is attached"
            } else {
                "OPEN: not every program is attached"
            }
        ),
        format!("cgroup    {}", status.cgroup.display()),
        format!("pins      {}", status.pin_dir.display()),
    ];
    for program in &status.programs {
        let attached = if program.attached { "attached" } else { "NOT ATTACHED" };
        let cost = match program.nanoseconds_per_run {
            Some(cost) => format!(", {} runs of {cost:.0} ns", program.runs),
            None => String::new(),
        };
        lines.push(format!("program   {:<14} {attached}{cost}", program.hook));
    }
    let Some(state) = &status.state else { return lines.join("\n") };
    for (address, listening) in &state.listeners {
        let state = if *listening { "the daemon listens" } else { "nobody listens: targets are refused" };
        lines.push(format!("listener  {address:<20} {state}"));
    }
    for (target, addresses) in &state.targets {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        lines.push(format!("target    {target:<14} {}", addresses.join(", ")));
    }
    for (counter, count) in &state.counters {
        let ago = count.seconds_ago.map_or(String::new(), |ago| format!(" (last {ago} s ago)"));
        lines.push(format!("count     {counter:<28} {}{ago}", count.count));
    }
    lines.join("\n")
}
