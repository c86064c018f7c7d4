//! `cargo xtask bench`: what stands between kubectl and the API server costs. Side by side in one run: no proxy at
//! all, nginx, Portcullis; in alternating rounds, so that what else the machine does is everybody's share; medians.

mod decide;
mod lane;
mod masking;
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
use e2e::{ALICE, Running, Stage, StageOptions, Upstream};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::{build, step, workspace};
use decide::Decisions;
use lane::{LANES, Load, Size};
use masking::Masking;
use measure::{ByLane, Connects, Exec, Sample, Watches};
use nginx::Nginx;
use report::Report;

/// Measure what Portcullis costs beside a direct connection and nginx
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// How many watches to hold open
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    watches: usize,
    /// Measure nothing: leave everything running until Ctrl-C, to profile the daemon
    #[arg(long)]
    keep: bool,
}

const LIMIT: Duration = Duration::from_secs(60);
const CONNECTS: u64 = 2000;
/// What the command of an exec writes.
const EXEC_BYTES: u64 = 1 << 30;

/// What is in `recorded` is recorded with its bodies, what is in `quiet` by its events alone, neither masked; what is in
/// `masked` is both recorded and masked.
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
"#;

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot watch for Ctrl-C")?;
    }
    nginx::ensure_installed()?;
    let bench = Bench::set(&build_programs()?, interrupted)?;
    if args.keep {
        return bench.keep();
    }
    let mut report = Report::begin(&bench)?;

    let watches = affordable(args.watches)?;
    step::note(&format!("Hold {watches} watches open"));
    report.watches = Some(Watches::measure(&bench, watches)?);
    step::note("Decide, with 1,000 roles and 100,000 grants");
    report.decisions = Some(Decisions::measure()?);
    step::note("Mask on one core");
    report.masking = Some(Masking::measure()?);
    step::note("Count what the kernel programs take for a connect");
    report.connects = Some(Connects::measure(&bench)?);
    let (rounds, counted) = if args.quick { (3, 300) } else { (7, 600) };
    for (size, all) in [(Size::Small, &[1, 16][..]), (Size::Large, &[1, 16]), (Size::Many, &[1])] {
        for &connections in all {
            step::note(&format!("{size} lists on {connections} connections, {rounds} rounds"));
            let load = Load { size, connections, counted: Duration::from_millis(counted) };
            report.loads.push((load, bench.alternate(load, rounds)?));
        }
    }
    let (rounds, bytes) = if args.quick { (1, EXEC_BYTES / 8) } else { (3, EXEC_BYTES) };
    step::note(&format!("An exec that writes {} MB, {rounds} rounds", bytes >> 20));
    report.execs = Exec::measure(&bench, bytes, rounds)?;
    report.print(began.elapsed())
}

/// As many of the watches as the daemon may have files open for: each takes three of them.
fn affordable(watches: usize) -> Result<usize> {
    let (_, files) = getrlimit(Resource::RLIMIT_NOFILE).context("RLIMIT_NOFILE")?;
    let most = usize::try_from(files.saturating_sub(1000) / 3).unwrap_or(usize::MAX);
    if most < watches {
        step::note(&format!("Not {watches} watches but {most}: {files} files may be open here (ulimit -Hn)"));
    }
    Ok(watches.min(most))
}

/// Everything that is measured, running.
pub(crate) struct Bench {
    stage: Stage,
    nginx: Nginx,
    upstream: String,
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
        let said: Value = serde_json::from_str(&upstream.stdout()).context("the upstream's address")?;
        let address = said["address"].as_str().context("the upstream named no address")?.to_owned();
        let token = scratch.0.join("token");
        std::fs::write(&token, "token-of-the-bench")?;
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let nginx = Nginx::start(&scratch.0, &address)?;
        let options = StageOptions {
            upstream: Some(Upstream {
                endpoint: format!("https://{address}"),
                certificate_authority: scratch.0.join("ca.crt"),
                credential: json!({ "bearerTokenFile": token }),
            }),
            // All watches are one engineer's here.
            config: json!({ "limits": { "connectionsPerUid": 65_536 } }),
            ..StageOptions::with_roles(ROLES)
        };
        let stage = Stage::set(programs, &options)?;
        for role in ["recorded", "masked", "quiet"] {
            stage.grant(ALICE, role, "4h")?;
        }
        std::fs::copy(stage.dir().join("state/ca.crt"), scratch.0.join("gate.crt"))
            .context("the gate's CA")?;
        Ok(Self { stage, nginx, upstream: address, _upstream: upstream, program, interrupted, scratch })
    }

    /// One sample of each lane a round; by lane.
    fn alternate(&self, load: Load, rounds: usize) -> Result<ByLane> {
        let mut samples: ByLane = LANES.into_iter().map(|lane| (lane, Vec::new())).collect();
        for _ in 0..rounds {
            for (lane, samples) in &mut samples {
                self.check_interrupt()?;
                samples.push(Sample::take(self, *lane, load).with_context(|| format!("{lane}, {load:?}"))?);
                self.stage_recordings_pruned()?;
            }
        }
        Ok(samples)
    }

    /// Recordings of full rounds are gigabytes: what has ended long enough ago to be on the disk goes.
    fn stage_recordings_pruned(&self) -> Result<()> {
        measure::prune(&self.stage.recordings(), Duration::from_secs(10))
    }

    fn keep(&self) -> Result<()> {
        step::note(&format!("The daemon is process {}. To put it under load:", self.daemon_pid()?));
        for lane in LANES {
            let path = lane.path(Size::Small);
            let asked = self.asked(lane, "load", &path).join(" ");
            let asked = format!("{} {asked} --connections 16 --milliseconds 10000", self.program.display());
            step::note(&match lane.through_gate() {
                true => format!(
                    "{lane}: sh -c 'echo $$ > {}/cgroup.procs && exec setpriv --reuid={uid} --regid={uid} \
                     --clear-groups {asked}'",
                    self.stage.engineers().path().display(),
                    uid = ALICE.uid,
                ),
                false => format!("{lane}: {asked}"),
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
