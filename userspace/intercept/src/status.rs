//! `gate status`: what is pinned, attached and counted, for people and for scripts.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use aya::maps::{HashMap, MapData, MapError};
use nix::time::{ClockId, clock_gettime};
use portcullis_abi::maps::HANDOFF;
use portcullis_abi::{Counter, Record, Tuple};
use portcullis_identity::{CgroupId, NetnsCookie};
use serde::Serialize;

use crate::config::GateConfig;
use crate::counters::Counters;
use crate::exempt::Exemptions;
use crate::pins::{EGRESS, HOOKS, Pins};
use crate::targets::{TargetName, Targets};
use crate::{GateError, connections, gate, sys};

/// The kernel keeps run-time figures of programs when this holds 1.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The state of the gate.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether every program of the configuration is attached: connects to targets are redirected.
    pub closed: bool,
    /// The configured cgroup.
    pub cgroup: PathBuf,
    /// The pin directory.
    pub pin_dir: PathBuf,
    /// The programs.
    pub programs: Vec<ProgramStatus>,
    /// Whether the kernel keeps run-time figures (`sysctl kernel.bpf_stats_enabled=1`).
    pub statistics: bool,
    /// What the maps say; `None` when the gate is not loaded.
    pub state: Option<State>,
}

/// One program.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramStatus {
    /// Its hook.
    pub hook: &'static str,
    /// Whether it is attached to the configured cgroup.
    pub attached: bool,
    /// The program's id, as `bpftool prog` shows it.
    pub id: Option<u32>,
    /// Runs, while statistics were on.
    pub runs: u64,
    /// Average nanoseconds a run, while statistics were on.
    pub nanoseconds_per_run: Option<f64>,
}

/// What the maps say.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The network namespace that the proxy listens in.
    pub netns: NetnsCookie,
    /// Where the proxy listens, and whether anybody does now.
    pub listeners: BTreeMap<SocketAddr, bool>,
    /// What is intercepted.
    pub targets: BTreeMap<TargetName, Vec<SocketAddr>>,
    /// Whose connects pass.
    pub exempt: Vec<CgroupId>,
    /// Connections between `connect(2)` and accepted.
    pub handoffs: usize,
    /// What the programs counted.
    pub counters: BTreeMap<&'static str, Count>,
}

/// One counter.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// Since the gate was loaded.
    pub count: u64,
    /// Seconds since the last one; of refusals and failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_ago: Option<u64>,
}

/// The state of the gate. Needs the privileges of [`load`](crate::gate::load) where anything is pinned.
///
/// # Errors
/// [`GateError`], when something is pinned that cannot be read.
pub fn status(config: &GateConfig) -> Result<Status, GateError> {
    let cgroup = gate::attach_point(config)?;
    let pins = Pins::new(&config.pin_dir);
    let mut programs = Vec::new();
    for hook in HOOKS {
        let mut program =
            ProgramStatus { hook, attached: false, id: None, runs: 0, nanoseconds_per_run: None };
        if let Some(link) = pins.link(hook)? {
            let info = sys::link_info(link.as_fd()).map_err(GateError::system("ask about a link"))?;
            let time = sys::run_time(info.program).map_err(GateError::system("ask about a program"))?;
            program.attached = info.cgroup == cgroup.id.0;
            program.id = Some(info.program);
            program.runs = time.runs;
            program.nanoseconds_per_run = (time.runs > 0).then(|| time.nanoseconds as f64 / time.runs as f64);
        }
        programs.push(program);
    }
    let expected = |program: &&ProgramStatus| config.egress_guard || program.hook != EGRESS;
    Ok(Status {
        closed: programs.iter().filter(expected).all(|program| program.attached),
        statistics: fs::read_to_string(STATISTICS).is_ok_and(|text| text.trim() != "0"),
        state: if pins.is_empty()? { None } else { Some(state(&pins)?) },
        cgroup: cgroup.path,
        pin_dir: config.pin_dir.clone(),
        programs,
    })
}

fn state(pins: &Pins) -> Result<State, GateError> {
    let settings = pins.settings()?;
    let listening = connections::listening()?;
    let listeners = [settings.listen4, settings.listen6].into_iter().filter(|address| address.port != 0);
    let handoff: HashMap<MapData, Tuple, Record> = pins.map(HANDOFF)?;
    let mut exempt: Vec<CgroupId> = Exemptions::open(pins)?.ids()?.into_iter().collect();
    exempt.sort();
    Ok(State {
        netns: NetnsCookie(settings.netns),
        listeners: listeners.map(SocketAddr::from).map(|at| (at, listening.contains(&at))).collect(),
        targets: Targets::open(pins)?.addresses(),
        exempt,
        handoffs: handoff
            .keys()
            .collect::<Result<Vec<_>, MapError>>()
            .map_err(GateError::map(HANDOFF))?
            .len(),
        counters: counts(&Counters::open(pins)?)?,
    })
}

fn counts(counters: &Counters) -> Result<BTreeMap<&'static str, Count>, GateError> {
    let now =
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(|errno| GateError::system("clock")(errno.into()))?;
    let now = Duration::from(now);
    let count = |&counter: &Counter| {
        let tally = counters.read(counter)?;
        let ago = now.saturating_sub(Duration::from_nanos(tally.last)).as_secs();
        Ok((counter.name(), Count { count: tally.count, seconds_ago: (tally.last > 0).then_some(ago) }))
    };
    Counter::ALL.iter().map(count).collect()
}
