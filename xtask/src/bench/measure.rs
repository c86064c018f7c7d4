//! Taking figures: of a load, of the kernel's programs, of memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::{ALICE, Running, output};
use serde_json::Value;

use super::lane::{Lane, Load, Size};
use super::{Bench, CONNECTS, LIMIT};

/// One run of the load generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Microseconds from the request to the last byte of its answer.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) bytes_per_second: f64,
    /// Microseconds of processor time of the proxy a request; 0 where there is none.
    pub(crate) cpu: f64,
}

impl Sample {
    pub(crate) fn take(bench: &Bench, lane: Lane, load: Load) -> Result<Self> {
        let mut command = bench.generator(lane, "load", &lane.path(load.size));
        if load.h2 {
            command.arg("--h2");
        }
        let proxy = match lane {
            Lane::Direct => Vec::new(),
            Lane::Nginx => bench.nginx.workers()?,
            _ => vec![bench.daemon_pid()?],
        };
        Self::of(&mut command, load.connections, load.counted, &proxy)
    }

    /// One run of `command`, the load generator, with the processes of `proxy` between.
    pub(crate) fn of(
        command: &mut Command,
        connections: usize,
        counted: Duration,
        proxy: &[u32],
    ) -> Result<Self> {
        command.arg("--connections").arg(connections.to_string());
        command.arg("--milliseconds").arg(counted.as_millis().to_string());
        let before = processor_time(proxy)?;
        let seen = answer(command)?;
        let spent = processor_time(proxy)?.saturating_sub(before);
        let figure = |name: &str| seen[name].as_f64().with_context(|| format!("no {name} in {seen}"));
        Ok(Self {
            p50: figure("p50Us")?,
            p99: figure("p99Us")?,
            requests_per_second: figure("requestsPerSecond")?,
            bytes_per_second: figure("bytesPerSecond")?,
            cpu: spent.as_secs_f64() * 1e6 / figure("all")?,
        })
    }
}

/// The samples of each lane.
pub(crate) type ByLane = Vec<(Lane, Vec<Sample>)>;

/// One exec whose command writes much, beside others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exec {
    pub(crate) lane: Lane,
    pub(crate) bytes_per_second: f64,
}

impl Exec {
    /// The lanes that exec is compared on.
    const LANES: [Lane; 4] = [Lane::Direct, Lane::Nginx, Lane::Recorded, Lane::MaskedPods];

    /// The best of `rounds` for each lane, in alternating rounds.
    pub(crate) fn measure(bench: &Bench, bytes: u64, rounds: usize) -> Result<Vec<Self>> {
        let mut best = Self::LANES.map(|lane| Self { lane, bytes_per_second: 0.0 });
        for _ in 0..rounds {
            for exec in &mut best {
                let seen = answer(&mut bench.generator(exec.lane, "exec", &exec.lane.exec(bytes)))?;
                ensure!(seen["bytes"] == bytes, "{}: of {bytes} bytes came {seen}", exec.lane);
                let seconds = seen["seconds"].as_f64().with_context(|| format!("no seconds in {seen}"))?;
                exec.bytes_per_second = exec.bytes_per_second.max(bytes as f64 / seconds);
                bench.stage_recordings_pruned()?;
            }
        }
        Ok(best.into())
    }
}

/// How often connects are measured.
const RUNS: usize = 5;

/// What the kernel's programs take, by its own clock.
#[derive(Debug)]
pub(crate) struct Connects {
    /// Nanoseconds of each program, and in all, for one connect to a target.
    pub(crate) intercepted: BTreeMap<String, f64>,
    /// The same for a connect to something else.
    pub(crate) elsewhere: BTreeMap<String, f64>,
}

impl Connects {
    pub(crate) fn measure(bench: &Bench) -> Result<Self> {
        let _statistics = Statistics::on()?;
        let cost = |address: &str| -> Result<BTreeMap<String, f64>> {
            let mut command = bench.stage.command(ALICE, &bench.program);
            command.args(["dial", "--address", address, "--connections"]).arg(CONNECTS.to_string());
            let before = bench.run_times()?;
            answer(&mut command)?;
            let after = bench.run_times()?;
            let each = |(hook, time): (String, f64)| {
                let before = before.get(&hook).copied().unwrap_or(0.0);
                (hook, (time - before) / CONNECTS as f64)
            };
            Ok(after.into_iter().map(each).collect())
        };
        // An interrupt during a run counts as the program's time: the least of several measurements is closest.
        let least = |address: &str| -> Result<BTreeMap<String, f64>> {
            let mut all = (0..RUNS).map(|_| cost(address)).collect::<Result<Vec<_>>>()?;
            all.sort_by(|one, other| Self::nanoseconds(one).total_cmp(&Self::nanoseconds(other)));
            all.into_iter().next().context("no measurement")
        };
        Ok(Self { intercepted: least(&bench.upstream)?, elsewhere: least(bench.nginx.address())? })
    }

    pub(crate) fn nanoseconds(cost: &BTreeMap<String, f64>) -> f64 {
        cost.values().sum()
    }
}

/// Watches on one h2 connection: as many as the gate and API servers allow.
pub(crate) const STREAMS: usize = 100;

/// What idle streams cost the process that they go through.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) count: usize,
    /// Kilobytes of the process before, and with them open.
    pub(crate) before: f64,
    pub(crate) with: f64,
}

impl Held {
    /// Idle watches, and the daemon.
    pub(crate) fn watches(bench: &Bench, count: usize, h2: bool) -> Result<Self> {
        let load = Load { size: Size::Small, h2, connections: 4, counted: Duration::from_millis(200) };
        Sample::take(bench, Lane::Recorded, load)?; // so that what every daemon has is there
        let mut command = bench.generator(Lane::Metadata, "hold", "/api/v1/namespaces/quiet/pods?watch=true");
        if h2 {
            command.arg("--h2-connections").arg(count.div_ceil(STREAMS).to_string());
        }
        Self::measure(bench.daemon_pid()?, command, count)
    }

    /// What `command`, the bench's client, holds open through the process `pid`.
    pub(crate) fn measure(pid: u32, mut command: Command, count: usize) -> Result<Self> {
        let before = memory(pid)?;
        command.arg("--streams").arg(count.to_string()).stdin(Stdio::piped());
        let mut holding = Running::start(&mut command)?;
        holding.wait_for_stdout("\n", 2 * LIMIT).with_context(|| holding.stderr())?;
        let with = memory(pid)?;
        drop(holding.child().stdin.take());
        ensure!(holding.wait(LIMIT)?.code == 0, "holding streams failed: {}", holding.stderr());
        Ok(Self { count, before, with })
    }

    pub(crate) fn kilobytes_each(&self) -> f64 {
        (self.with - self.before) / self.count as f64
    }
}

impl Bench {
    /// The bench's client on a lane.
    fn generator(&self, lane: Lane, verb: &str, path: &str) -> Command {
        let mut command = self.client(lane.through_gate(), verb, self.address(lane));
        command.args(["--path", path]);
        command
    }

    /// The bench's client at `address`: outside the gate's cgroup, or as an engineer in it.
    pub(crate) fn client(&self, through_gate: bool, verb: &str, address: &str) -> Command {
        let mut command = match through_gate {
            true => self.stage.command(ALICE, &self.program),
            false => Command::new(&self.program),
        };
        command.args(self.asked(through_gate, verb, address));
        command
    }

    /// Where a lane begins.
    pub(crate) fn address(&self, lane: Lane) -> &str {
        match lane {
            Lane::Nginx => self.nginx.address(),
            _ => &self.upstream,
        }
    }

    /// The client's arguments.
    pub(crate) fn asked(&self, through_gate: bool, verb: &str, address: &str) -> Vec<String> {
        let ca = self.scratch.0.join(if through_gate { "gate.crt" } else { "ca.crt" });
        [verb, "--address", address, "--ca", &ca.display().to_string()].map(str::to_owned).into()
    }

    /// The daemon: the one process in its cgroup.
    pub(crate) fn daemon_pid(&self) -> Result<u32> {
        let group = self.stage.engineers().path().with_file_name("gate");
        let listed = fs::read_to_string(group.join("cgroup.procs")).context("the daemon's cgroup")?;
        listed.trim().parse().with_context(|| format!("the daemon's cgroup has {listed:?}"))
    }

    /// Nanoseconds that each program of the gate ran, in all.
    fn run_times(&self) -> Result<BTreeMap<String, f64>> {
        let shown = self.stage.operator(&["gate", "status", "-o", "json"])?;
        let status: Value = serde_json::from_str(&shown.stdout).with_context(|| shown.all())?;
        let programs = status["programs"].as_array().context("no programs in the gate's status")?;
        let time = |program: &Value| -> Option<(String, f64)> {
            let each = program["nanosecondsPerRun"].as_f64().unwrap_or(0.0);
            Some((program["hook"].as_str()?.to_owned(), program["runs"].as_f64()? * each))
        };
        programs.iter().map(|program| time(program).context("a program without figures")).collect()
    }
}

/// Runs a program of the bench and reads the line that it prints.
fn answer(command: &mut Command) -> Result<Value> {
    let shown = output(command, LIMIT)?;
    ensure!(shown.code == 0, "{}", shown.all().trim_end());
    serde_json::from_str(&shown.stdout).with_context(|| shown.all())
}

/// Kilobytes of memory of a process's own.
fn memory(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    line.trim().trim_end_matches(" kB").parse().context("RssAnon")
}

/// Time on a processor of all threads of `processes` (`/proc/[pid]/schedstat`, sched-stats.rst).
fn processor_time(processes: &[u32]) -> Result<Duration> {
    let mut nanoseconds = 0;
    for pid in processes {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread that has just ended has nothing to say any more.
            let Ok(stat) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            let first = stat.split(' ').next().unwrap_or_default();
            nanoseconds += first.parse::<u64>().with_context(|| format!("schedstat: {stat:?}"))?;
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Removes recordings whose last byte is older than `age`.
pub(crate) fn prune(recordings: &Path, age: Duration) -> Result<()> {
    let now = SystemTime::now();
    for day in fs::read_dir(recordings)? {
        for session in fs::read_dir(day?.path())? {
            let session = session?.path();
            let mut newest = SystemTime::UNIX_EPOCH;
            for segment in fs::read_dir(&session)? {
                newest = newest.max(segment?.metadata()?.modified()?);
            }
            if now.duration_since(newest).is_ok_and(|since| since > age) {
                fs::remove_dir_all(&session)?;
            }
        }
    }
    Ok(())
}

/// The kernel's run-time figures of programs, switched on for as long as this lives.
struct Statistics(String);

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    fn on() -> Result<Self> {
        let before = fs::read_to_string(STATISTICS).context(STATISTICS)?;
        fs::write(STATISTICS, "1").context(STATISTICS)?;
        Ok(Self(before))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // Left on, they cost a few nanoseconds a run and nothing else.
        fs::write(STATISTICS, self.0.trim()).ok();
    }
}
