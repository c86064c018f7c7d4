//! `cargo xtask bench`: what stands between kubectl and the API server costs, and between an MCP client and its server.
//! Side by side in one run: no proxy at all, nginx, another gateway, Portcullis; in alternating rounds, so that what else
//! the machine does is everybody's share; medians.

mod decide;
mod fastmcp;
mod lane;
mod masking;
mod mcp;
mod measure;
mod nginx;
mod report;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{ALICE, McpTarget, Running, Stage, StageOptions, Upstream};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::{build, step, workspace};
use decide::Decisions;
use fastmcp::FastMcp;
use lane::{Load, Size, lanes};
use masking::Masking;
use mcp::{Calls, Streams, Way};
use measure::{ByLane, Connects, Exec, Held, Sample};
use nginx::Nginx;
use report::Report;

/// Measure what Portcullis costs beside a direct connection, nginx and FastMCP
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// How many watches to hold open, over HTTP/1.1 and over h2
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    watches: usize,
    /// How many streams of MCP sessions to hold open
    #[arg(long, default_value_t = 5000, value_name = "N")]
    streams: usize,
    /// Measure MCP alone
    #[arg(long)]
    mcp: bool,
    /// Measure nothing: leave everything running until Ctrl-C, to profile the daemon
    #[arg(long)]
    keep: bool,
}

impl Args {
    /// How many rounds there are, and the time that counts of each sample.
    fn rounds(&self) -> (usize, Duration) {
        let (rounds, counted) = if self.quick { (3, 300) } else { (7, 600) };
        (rounds, Duration::from_millis(counted))
    }
}

const LIMIT: Duration = Duration::from_secs(60);
const CONNECTS: u64 = 2000;
/// What the command of an exec writes.
const EXEC_BYTES: u64 = 1 << 30;

/// What is in `recorded` is recorded with its bodies, what is in `quiet` by its events alone, neither masked; what is in
/// `masked` is both recorded and masked, and so is what the tools of the MCP server return.
const ROLES: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: recorded}
spec:
  description: Recorded in full
  targets: [demo]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 4h
  obligations: {mask: none}
  rules:
  - {apiGroups: [""], resources: [pods], verbs: [get, list, watch], namespaces: [recorded]}
  - {apiGroups: [""], resources: [pods/exec], verbs: [create], namespaces: [recorded]}
---
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: masked}
spec:
  description: Recorded and masked
  targets: [demo]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 4h
  rules:
  - {apiGroups: [""], resources: [pods, secrets], verbs: [get, list, watch], namespaces: [masked]}
  - {apiGroups: [""], resources: [pods/exec], verbs: [create], namespaces: [masked]}
---
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: quiet}
spec:
  description: Recorded by events alone
  targets: [demo]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 4h
  obligations: {record: metadata, mask: none}
  rules:
  - {apiGroups: [""], resources: [pods], verbs: [get, list, watch], namespaces: [quiet]}
---
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: tools}
spec:
  description: Tools of an MCP server, recorded and masked
  targets: [tools]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 4h
  rules:
  - mcp: {methods: [tools/call], tools: ["report*"]}
"#;

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot watch for Ctrl-C")?;
    }
    nginx::ensure_installed()?;
    let mut bench = Bench::set(&build_programs()?, interrupted)?;
    if args.keep {
        return bench.keep();
    }
    let mut report = Report::begin(&bench)?;
    if !args.mcp {
        bench.measure_kubernetes(args, &mut report)?;
    }
    bench.measure_mcp(args, &mut report)?;
    report.print(began.elapsed())
}

/// Files that the daemon has open beside the streams that it holds: a few dozen.
const OTHER_FILES: u64 = 200;

/// As many of the streams as the daemon may have files open for: each takes two of them, the client's connection and its
/// own.
fn affordable(streams: usize) -> Result<usize> {
    let (_, files) = getrlimit(Resource::RLIMIT_NOFILE).context("RLIMIT_NOFILE")?;
    let most = usize::try_from(files.saturating_sub(OTHER_FILES) / 2).unwrap_or(usize::MAX);
    if most < streams {
        step::note(&format!("Not {streams} streams but {most}: {files} files may be open here (ulimit -Hn)"));
    }
    Ok(streams.min(most))
}

/// Everything that is measured, running.
pub(crate) struct Bench {
    stage: Stage,
    nginx: Nginx,
    upstream: String,
    /// The same before the MCP server, and that itself.
    mcp_nginx: Nginx,
    mcp_upstream: String,
    /// Where it can be installed.
    fastmcp: Option<FastMcp>,
    /// Kept so that it ends with the bench.
    _upstream: Running,
    program: PathBuf,
    interrupted: Arc<AtomicBool>,
    scratch: Scratch,
}

impl Bench {
    fn set(programs: &Path, interrupted: Arc<AtomicBool>) -> Result<Self> {
        let scratch = Scratch::make()?;
        let program = programs.join("bench");
        let mut upstream = Running::start(Command::new(&program).arg("serve").arg("--dir").arg(&scratch.0))?;
        upstream.wait_for_stdout("\n", LIMIT)?;
        let said: Value = serde_json::from_str(&upstream.stdout()).context("the upstream's addresses")?;
        let address =
            |of: &str| said[of].as_str().map(str::to_owned).with_context(|| format!("no {of} in {said}"));
        let (address, mcp) = (address("address")?, address("mcp")?);
        let token = scratch.0.join("token");
        std::fs::write(&token, "token-of-the-bench")?;
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let nginx = Nginx::start(&scratch.0, "nginx", &address)?;
        let mcp_nginx = Nginx::start(&scratch.0, "nginx-mcp", &mcp)?;
        let fastmcp = match fastmcp::ensure_installed() {
            Ok(python) => Some(FastMcp::start(&python, &scratch.0, &mcp)?),
            Err(error) => {
                step::note(&format!("Without FastMCP, which cannot be installed here: {error:#}"));
                None
            }
        };
        let options = StageOptions {
            upstream: Some(Upstream {
                endpoint: format!("https://{address}"),
                certificate_authority: scratch.0.join("ca.crt"),
                credential: json!({ "bearerTokenFile": token }),
            }),
            mcp_targets: vec![McpTarget {
                name: "tools",
                url: format!("https://{mcp}/mcp"),
                settings: json!({ "certificateAuthority": scratch.0.join("ca.crt") }),
            }],
            // All watches are one engineer's here.
            config: json!({ "limits": { "connectionsPerUid": 65_536 } }),
            ..StageOptions::with_roles(ROLES)
        };
        let stage = Stage::set(programs, &options)?;
        for role in ["recorded", "masked", "quiet", "tools"] {
            stage.grant(ALICE, role, "4h")?;
        }
        std::fs::copy(stage.dir().join("state/ca.crt"), scratch.0.join("gate.crt"))
            .context("the gate's CA")?;
        Ok(Self {
            stage,
            nginx,
            upstream: address,
            mcp_nginx,
            mcp_upstream: mcp,
            fastmcp,
            _upstream: upstream,
            program,
            interrupted,
            scratch,
        })
    }

    fn measure_kubernetes(&mut self, args: &Args, report: &mut Report) -> Result<()> {
        let watches = affordable(args.watches)?;
        step::note(&format!("Hold {watches} watches open"));
        report.watches = Some(Held::watches(self, watches, false)?);
        self.restart_daemon()?;
        step::note(&format!("Hold {} watches open over h2", args.watches));
        report.h2_watches = Some(Held::watches(self, args.watches, true)?);
        step::note("Decide, with 1,000 roles and 100,000 grants");
        report.decisions = Some(Decisions::measure()?);
        step::note("Mask on one core");
        report.masking = Some(Masking::measure()?);
        step::note("Count what the kernel programs take for a connect");
        report.connects = Some(Connects::measure(self)?);
        let (rounds, counted) = args.rounds();
        for (size, h2, all) in [
            (Size::Small, false, &[1, 16][..]),
            (Size::Small, true, &[1, 16]),
            (Size::Large, false, &[1, 16]),
            (Size::Many, false, &[1]),
        ] {
            for &connections in all {
                let load = Load { size, h2, connections, counted };
                step::note(&format!("{load}, {rounds} rounds"));
                report.loads.push((load, self.alternate(load, rounds)?));
            }
        }
        let (rounds, bytes) = if args.quick { (1, EXEC_BYTES / 8) } else { (3, EXEC_BYTES) };
        step::note(&format!("An exec that writes {} MB, {rounds} rounds", bytes >> 20));
        report.execs = Exec::measure(self, bytes, rounds)?;
        Ok(())
    }

    fn measure_mcp(&mut self, args: &Args, report: &mut Report) -> Result<()> {
        let (rounds, counted) = args.rounds();
        step::note(&format!("Calls of tools on 1 and 16 connections, {rounds} rounds"));
        report.calls = Some(Calls::measure(self, rounds, counted)?);
        let streams = affordable(args.streams)?;
        self.restart_daemon()?;
        step::note(&format!("Hold {streams} streams of MCP sessions open"));
        report.streams = Some(Streams::measure(self, streams)?);
        Ok(())
    }

    /// One sample of each lane a round; by lane.
    fn alternate(&self, load: Load, rounds: usize) -> Result<ByLane> {
        let mut samples: ByLane = lanes(load.h2).iter().map(|&lane| (lane, Vec::new())).collect();
        for _ in 0..rounds {
            for (lane, samples) in &mut samples {
                self.check_interrupt()?;
                samples.push(Sample::take(self, *lane, load).with_context(|| format!("{lane}, {load:?}"))?);
                self.stage_recordings_pruned()?;
            }
        }
        Ok(samples)
    }

    /// Memory is measured of a daemon that has not held anything before: what it was given once, it keeps.
    fn restart_daemon(&mut self) -> Result<()> {
        self.stage.daemon().stop()?;
        self.stage.start_daemon()
    }

    /// Recordings of full rounds are gigabytes: what has ended long enough ago to be on the disk goes.
    fn stage_recordings_pruned(&self) -> Result<()> {
        measure::prune(&self.stage.recordings(), Duration::from_secs(10))
    }

    fn keep(&self) -> Result<()> {
        step::note(&format!("The daemon is process {}. To put it under load:", self.daemon_pid()?));
        let lanes = [false, true].into_iter().flat_map(|h2| lanes(h2).iter().map(move |&lane| (lane, h2)));
        let lanes = lanes.map(|(lane, h2)| {
            let mut what = vec!["--path".to_owned(), lane.path(Size::Small)];
            let mut name = lane.to_string();
            if h2 {
                what.push("--h2".to_owned());
                name += " over h2";
            }
            (name, lane.through_gate(), self.address(lane), what)
        });
        let mut ways = Vec::new();
        for way in Way::all(self) {
            let what = way.call().iter().map(|&word| word.to_owned()).collect();
            ways.push((way.to_string(), way.through_gate(), way.address(self)?, what));
        }
        for (name, through_gate, address, what) in lanes.chain(ways) {
            let asked = [self.asked(through_gate, "load", address), what].concat().join(" ");
            let asked = format!("{} {asked} --connections 16 --milliseconds 10000", self.program.display());
            step::note(&match through_gate {
                true => format!(
                    "{name}: sh -c 'echo $$ > {}/cgroup.procs && exec setpriv --reuid={uid} --regid={uid} \
                     --clear-groups {asked}'",
                    self.stage.engineers().path().display(),
                    uid = ALICE.uid,
                ),
                false => format!("{name}: {asked}"),
            });
        }
        while self.check_interrupt().is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn check_interrupt(&self) -> Result<()> {
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}

/// Builds what runs, optimised, unless `PORTCULLIS_PROGRAMS` names a folder with another build to measure; returns the
/// folder it is in.
fn build_programs() -> Result<PathBuf> {
    if let Some(programs) = std::env::var_os("PORTCULLIS_PROGRAMS") {
        return Ok(programs.into());
    }
    build::gate()?;
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root());
    cargo.args(["build", "--release", "--package", "portcullis", "--package", "bench"]);
    step::openly("Compile Portcullis and the bench", &mut cargo)?;
    Ok(workspace::target_dir().join("release"))
}

/// The bench's own folder, gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("portcullis-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the temporary folder is the system's to clean.
        std::fs::remove_dir_all(&self.0).ok();
    }
}
