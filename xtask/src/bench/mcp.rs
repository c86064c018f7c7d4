//! What stands between an MCP client and its server costs: calls of a tool, side by side with nothing between, with nginx,
//! which reads none of it, and with FastMCP, a gateway that many use; and idle streams of sessions.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::measure::{Held, Sample};
use super::report::{Medians, mark};
use super::table::table;
use super::{Bench, fastmcp};

/// One way to call a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing between.
    Direct,
    /// nginx, TLS on both sides.
    Nginx,
    /// Portcullis: decided, masked and recorded with its bodies.
    Gate,
    /// The same in the revision of 2026-07-28.
    Modern,
    /// FastMCP, TLS on both sides.
    FastMcp,
    /// Nothing between, and the answer comes as an event.
    DirectEvent,
    /// Portcullis, and the answer comes as an event.
    GateEvent,
}

/// In the order in which a round takes them.
const WAYS: [Way; 7] =
    [Way::Direct, Way::Nginx, Way::Gate, Way::Modern, Way::FastMcp, Way::DirectEvent, Way::GateEvent];

impl Way {
    /// All that can be gone here.
    pub(crate) fn all(bench: &Bench) -> impl Iterator<Item = Self> {
        WAYS.into_iter().filter(|way| *way != Self::FastMcp || bench.fastmcp.is_some())
    }

    pub(crate) fn through_gate(self) -> bool {
        matches!(self, Self::Gate | Self::Modern | Self::GateEvent)
    }

    /// What the load generator calls on it.
    pub(crate) fn call(self) -> &'static [&'static str] {
        match self {
            Self::Direct | Self::Nginx | Self::Gate | Self::FastMcp => &["--call", "report"],
            Self::Modern => &["--call", "report", "--modern"],
            Self::DirectEvent | Self::GateEvent => &["--call", "report_events"],
        }
    }

    pub(crate) fn address(self, bench: &Bench) -> Result<&str> {
        Ok(match self {
            Self::Nginx => bench.mcp_nginx.address(),
            Self::FastMcp => bench.fastmcp.as_ref().context("there is no FastMCP")?.address(),
            _ => &bench.mcp_upstream,
        })
    }

    /// The processes between.
    fn proxy(self, bench: &Bench) -> Result<Vec<u32>> {
        Ok(match self {
            Self::Direct | Self::DirectEvent => Vec::new(),
            Self::Nginx => bench.mcp_nginx.workers()?,
            Self::FastMcp => bench.fastmcp.iter().map(fastmcp::FastMcp::pid).collect(),
            Self::Gate | Self::Modern | Self::GateEvent => vec![bench.daemon_pid()?],
        })
    }

    fn sample(self, bench: &Bench, connections: usize, counted: Duration) -> Result<Sample> {
        let mut command = bench.client(self.through_gate(), "load", self.address(bench)?);
        Sample::of(command.args(self.call()), connections, counted, &self.proxy(bench)?)
    }

    /// The same without anything between.
    fn direct(self) -> Self {
        match self {
            Self::DirectEvent | Self::GateEvent => Self::DirectEvent,
            _ => Self::Direct,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Gate => "portcullis",
            Self::Modern => "  2026-07-28",
            Self::FastMcp => "FastMCP",
            Self::DirectEvent => "direct, by an event",
            Self::GateEvent => "portcullis, by an event",
        })
    }
}

/// Calls of a tool on one connection and on 16, by way.
pub(crate) struct Calls(Vec<(Way, Vec<Sample>, Vec<Sample>)>);

impl Calls {
    /// Connections of the load that throughput is told of.
    const MANY: usize = 16;

    /// One sample of each way a round.
    pub(crate) fn measure(bench: &Bench, rounds: usize, counted: Duration) -> Result<Self> {
        let mut calls: Vec<_> = Way::all(bench).map(|way| (way, Vec::new(), Vec::new())).collect();
        for _ in 0..rounds {
            for (way, one, many) in &mut calls {
                bench.check_interrupt()?;
                let sample = |connections| {
                    way.sample(bench, connections, counted).with_context(|| format!("{way:?}, {connections}"))
                };
                one.push(sample(1)?);
                many.push(sample(Self::MANY)?);
                bench.stage_recordings_pruned()?;
            }
        }
        Ok(Self(calls))
    }

    /// The figures of all ways.
    pub(crate) fn compared(&self) -> Result<String> {
        let row = |(way, one, many): &(Way, Vec<Sample>, Vec<Sample>)| {
            let (one, many) = (Medians::of(one)?, Medians::of(many)?);
            let (direct, direct_many) = self.medians(way.direct())?;
            Ok(vec![
                way.to_string(),
                format!("{:.0} µs", one.p50),
                format!("{:+.0} µs", one.p50 - direct.p50),
                format!("{:.0} µs", one.p99),
                format!("{:.0} µs", one.cpu),
                format!("{:.0}", many.rate),
                format!("{:.2}", many.rate / direct_many.rate),
                format!("{:.0} µs", many.cpu),
            ])
        };
        let rows = self.0.iter().map(row).collect::<Result<Vec<_>>>()?;
        let headings = ["", "p50", "added", "p99", "cpu/call", "16 conns: calls/s", "of direct", "cpu/call"];
        Ok(table(&headings, &rows))
    }

    /// What is to be reached.
    pub(crate) fn marks(&self) -> Result<Vec<Vec<String>>> {
        let added =
            |way: Way| Ok::<_, anyhow::Error>(self.medians(way)?.0.p50 - self.medians(way.direct())?.0.p50);
        let nginx = format!("nginx {:.0} µs", added(Way::Nginx)?);
        Ok(vec![
            mark("p50 added to a call of a tool", added(Way::Gate)?, "µs", 150.0, &nginx),
            mark("the same, answered by an event", added(Way::GateEvent)?, "µs", 150.0, ""),
        ])
    }

    fn medians(&self, way: Way) -> Result<(Medians, Medians)> {
        let found = self.0.iter().find(|(known, ..)| *known == way);
        let (_, one, many) = found.with_context(|| format!("{way} was not measured"))?;
        Ok((Medians::of(one)?, Medians::of(many)?))
    }
}

/// What idle streams of sessions cost the gate, and what FastMCP.
pub(crate) struct Streams {
    gate: Held,
    fastmcp: Option<Held>,
}

impl Streams {
    /// Streams that FastMCP holds: it takes seconds for a few hundred.
    const FEW: usize = 200;

    pub(crate) fn measure(bench: &Bench, count: usize) -> Result<Self> {
        let held = |way: Way, count| -> Result<Held> {
            way.sample(bench, 4, Duration::from_millis(200))?; // so that what every process has is there
            let [pid] = way.proxy(bench)?[..] else { anyhow::bail!("{way} is several processes") };
            let command: Command = bench.client(way.through_gate(), "hold", way.address(bench)?);
            Held::measure(pid, command, count)
        };
        let fastmcp = match bench.fastmcp {
            Some(_) => Some(held(Way::FastMcp, Self::FEW).context("streams that FastMCP holds")?),
            None => None,
        };
        Ok(Self { gate: held(Way::Gate, count)?, fastmcp })
    }

    /// What is to be reached.
    pub(crate) fn mark(&self) -> Vec<String> {
        let note = self.fastmcp.as_ref().map_or(String::new(), |held| {
            format!("FastMCP {:.0} KB each of {}", held.kilobytes_each(), held.count)
        });
        let what = format!("each of {} idle streams of MCP sessions", self.gate.count);
        mark(&what, self.gate.kilobytes_each(), "KB", 64.0, &note)
    }
}
