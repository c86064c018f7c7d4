//! The figures as they are read: medians, ratios, and what was to be reached.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::decide::{Decisions, Measured, Spread};
use super::fastmcp::FastMcp;
use super::lane::{Lane, Load, Size};
use super::masking::Masking;
use super::mcp::{Calls, Streams};
use super::measure::{ByLane, Connects, Exec, Held, STREAMS, Sample};
use super::table::table;
use super::{Bench, nginx};

/// All that was measured.
#[derive(Default)]
pub(crate) struct Report {
    machine: String,
    pub(crate) loads: Vec<(Load, ByLane)>,
    pub(crate) connects: Option<Connects>,
    /// Over HTTP/1.1, and over h2.
    pub(crate) watches: Option<Held>,
    pub(crate) h2_watches: Option<Held>,
    pub(crate) calls: Option<Calls>,
    pub(crate) streams: Option<Streams>,
    pub(crate) decisions: Option<Decisions>,
    pub(crate) masking: Option<Masking>,
    pub(crate) execs: Vec<Exec>,
}

impl Report {
    pub(crate) fn begin(bench: &Bench) -> Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo")?;
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
        let version = Command::new(bench.program.with_file_name("portcullis")).arg("--version").output()?;
        let fastmcp = bench.fastmcp.as_ref().map_or("no FastMCP", FastMcp::version);
        let machine = format!(
            "{} × {}, Linux {}; {}, {}, {fastmcp}, TLS 1.3 on both sides, HTTP/1.1 where h2 is not named",
            std::thread::available_parallelism()?,
            cpu.trim_start_matches(['\t', ' ', ':']).trim(),
            fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
            String::from_utf8_lossy(&version.stdout).trim(),
            nginx::version()?,
        );
        Ok(Self { machine, ..Self::default() })
    }

    pub(crate) fn print(&self, took: Duration) -> Result<()> {
        let busy = fs::read_to_string("/proc/loadavg")?;
        let busy = busy.split(' ').next().unwrap_or_default();
        let mut text =
            format!("\n{}\n{:.0} s; load average at the end {busy}\n", self.machine, took.as_secs_f64());
        if !self.loads.is_empty() {
            for (size, h2) in [(Size::Small, false), (Size::Small, true), (Size::Large, false)] {
                let (compared, over) = (self.compared(size, h2)?, if h2 { " over h2" } else { "" });
                text += &format!("\nGET of a {size} list{over}, kept-alive connections\n{compared}\n");
            }
            text +=
                &format!("\nGET of a {} list, one kept-alive connection\n{}\n", Size::Many, self.whole()?);
            text += &format!("\nAn exec that writes much, over WebSocket\n{}\n", streamed(&self.execs)?);
        }
        if let Some(calls) = &self.calls {
            let calls = calls.compared()?;
            text += &format!("\nMCP: a call of a tool that returns 1 KB, kept-alive connections\n{calls}\n");
        }
        if let Some(masking) = &self.masking {
            text += &format!("\nMasking on one core, GB/s\n{}\n", masked(masking));
        }
        if let Some(connects) = &self.connects {
            text += &format!(
                "\nKernel programs, ns for one connect (bpf_stats_enabled)\n{}\n",
                kernel(connects)?
            );
        }
        if let Some(decisions) = &self.decisions {
            text += &format!("\nDeciding, 1,000 roles and 100,000 grants\n{}\n", decided(decisions));
        }
        text += &format!("\nTo be reached\n{}\n", self.marks()?);
        std::io::stdout().lock().write_all(text.as_bytes()).context("cannot write to standard output")
    }

    fn compared(&self, size: Size, h2: bool) -> Result<String> {
        let (one, many) = (self.load(size, h2, 1)?, self.load(size, h2, 16)?);
        let lane = |lanes: &ByLane, lane: Lane| Medians::find(lanes, lane);
        let (direct1, direct16) = (lane(one, Lane::Direct)?, lane(many, Lane::Direct)?);
        let nginx16 = lane(many, Lane::Nginx)?;
        let rows = one
            .iter()
            .map(|(name, _)| {
                let (one, many) = (lane(one, *name)?, lane(many, *name)?);
                Ok(vec![
                    match name {
                        Lane::Nginx if h2 => "nginx, HTTP/1.1 upstream".to_owned(),
                        name => name.to_string(),
                    },
                    format!("{:.0} µs", one.p50),
                    format!("{:+.0} µs", one.p50 - direct1.p50),
                    format!("{:.0} µs", one.p99),
                    format!("{:.0} µs", one.cpu),
                    format!("{:.0}", many.rate),
                    format!("{:.0}", many.bytes / 1e6),
                    format!("{:.2}", many.rate / direct16.rate),
                    format!("{:.2}", many.rate / nginx16.rate),
                    format!("{:.0} µs", many.cpu),
                ])
            })
            .collect::<Result<Vec<_>>>()?;
        let headings = [
            "",
            "p50",
            "added",
            "p99",
            "cpu/req",
            "16 conns: req/s",
            "MB/s",
            "of direct",
            "of nginx",
            "cpu/req",
        ];
        Ok(table(&headings, &rows))
    }

    /// A list of many objects: there is no point in asking for it on many connections.
    fn whole(&self) -> Result<String> {
        let lanes = self.load(Size::Many, false, 1)?;
        let (direct, nginx) = (Medians::find(lanes, Lane::Direct)?, Medians::find(lanes, Lane::Nginx)?);
        let row = |(name, _): &(Lane, Vec<Sample>)| {
            let this = Medians::find(lanes, *name)?;
            Ok(vec![
                name.to_string(),
                format!("{:.1} ms", this.p50 / 1e3),
                format!("{:.0}", this.bytes / 1e6),
                format!("{:.2}", this.bytes / direct.bytes),
                format!("{:.2}", this.bytes / nginx.bytes),
                format!("{:.1} ms", this.cpu / 1e3),
            ])
        };
        let rows = lanes.iter().map(row).collect::<Result<Vec<_>>>()?;
        Ok(table(&["", "p50", "MB/s", "of direct", "of nginx", "cpu/req"], &rows))
    }

    /// What is to be reached in forwarding lists.
    fn forwarding(&self) -> Result<Vec<Vec<String>>> {
        let one = self.load(Size::Small, false, 1)?;
        let many = self.load(Size::Small, false, 16)?;
        let p50 = |lane| Medians::find(one, lane).map(|medians| medians.p50);
        let rate = |lane| Medians::find(many, lane).map(|medians| medians.rate);
        let direct = p50(Lane::Direct)?;
        let (added, nginx) = (p50(Lane::Recorded)? - direct, p50(Lane::Nginx)? - direct);
        let throughput = rate(Lane::Recorded)? / rate(Lane::Nginx)?;
        let recording = 100.0 * (1.0 - rate(Lane::Recorded)? / rate(Lane::Metadata)?);
        Ok(vec![
            mark("p50 added to a 4.9 KB GET", added, "µs", nginx, "as nginx"),
            mark("the same, at most", added, "µs", 100.0, ""),
            mark("throughput behind nginx's, 16 connections", 100.0 * (1.0 - throughput), "%", 0.0, ""),
            mark("throughput that recording bodies takes", recording, "%", 10.0, ""),
        ])
    }

    fn marks(&self) -> Result<String> {
        let mut rows = if self.loads.is_empty() { Vec::new() } else { self.forwarding()? };
        if let Some(connects) = &self.connects {
            let micros = |cost| Connects::nanoseconds(cost) / 1e3;
            rows.push(mark("gate, each intercepted connect", micros(&connects.intercepted), "µs", 1.5, ""));
            rows.push(mark("gate, each connect elsewhere", micros(&connects.elsewhere), "µs", 0.15, ""));
        }
        if let Some(decisions) = &self.decisions {
            let micros = |nanos| nanos / 1e3;
            let (plain, cel) =
                (micros(decisions.plain.allowed.p99_nanos), micros(decisions.cel.allowed.p99_nanos));
            rows.push(mark("decision, p99", plain, "µs", 2.0, ""));
            rows.push(mark("decision with conditions, p99", cel, "µs", 10.0, ""));
            rows.push(mark(
                "database queries while deciding",
                decisions.database_queries as f64,
                "",
                0.0,
                "",
            ));
        }
        if let Some(masking) = &self.masking {
            for row in &masking.rows {
                let Some(reach) = row.reach else { continue };
                rows.push(floor(&format!("masking {}", row.name), row.masker, "GB/s", reach));
            }
            let ratios = masking.rows.iter().filter_map(|row| Some(row.masker / row.serde_json?));
            let least = ratios.reduce(f64::min).context("no masking was measured beside serde_json")?;
            rows.push(floor("masking JSON beside serde_json's Value, the least", least, "×", 5.0));
            rows.push(mark("memory of a masker", masking.peak_bytes / 1e6, "MB", 4.0, ""));
        }
        let over_h2 = format!("h2, {STREAMS} a connection");
        for (watches, over) in [(&self.watches, "HTTP/1.1"), (&self.h2_watches, &over_h2)] {
            let Some(watches) = watches else { continue };
            let what = format!("each of {} idle watches over {over}", watches.count);
            let note = format!("daemon {:.1} MB without them", watches.before / 1e3);
            rows.push(mark(&what, watches.kilobytes_each(), "KB", 64.0, &note));
        }
        if let Some(calls) = &self.calls {
            rows.extend(calls.marks()?);
        }
        rows.extend(self.streams.as_ref().map(Streams::mark));
        Ok(table(&["", "measured", "to reach", "", ""], &rows))
    }

    fn load(&self, size: Size, h2: bool, connections: usize) -> Result<&ByLane> {
        let asked = (size, h2, connections);
        let found = self.loads.iter().find(|(load, _)| (load.size, load.h2, load.connections) == asked);
        Ok(&found.with_context(|| format!("{size} was not measured on {connections} connections"))?.1)
    }
}

/// The medians of some samples.
pub(crate) struct Medians {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) rate: f64,
    bytes: f64,
    pub(crate) cpu: f64,
}

impl Medians {
    fn find(lanes: &ByLane, lane: Lane) -> Result<Self> {
        let found = lanes.iter().find(|(name, _)| *name == lane);
        let (_, samples) = found.with_context(|| format!("{lane} was not measured"))?;
        Self::of(samples)
    }

    pub(crate) fn of(samples: &[Sample]) -> Result<Self> {
        let of = |figure: fn(&Sample) -> f64| {
            let mut figures: Vec<f64> = samples.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied().context("no samples")
        };
        Ok(Self {
            p50: of(|sample| sample.p50)?,
            p99: of(|sample| sample.p99)?,
            rate: of(|sample| sample.requests_per_second)?,
            bytes: of(|sample| sample.bytes_per_second)?,
            cpu: of(|sample| sample.cpu)?,
        })
    }
}

fn decided(decisions: &Decisions) -> String {
    let Decisions { plain, cel, .. } = decisions;
    let row =
        |name: &str, figure: &dyn Fn(&Measured) -> String| vec![name.to_owned(), figure(plain), figure(cel)];
    let spread = |Spread { p50_nanos, p99_nanos }: &Spread| {
        format!("{:.2} / {:.2} µs", p50_nanos / 1e3, p99_nanos / 1e3)
    };
    let rows = [
        row("allowed by a grant, p50 / p99", &|of| spread(&of.allowed)),
        row("denied by a rule", &|of| spread(&of.denied_by_rule)),
        row("denied, with advice", &|of| spread(&of.denied_with_advice)),
        row("rebuild the snapshot", &|of| format!("{:.1} ms", of.rebuild_millis)),
        row("memory of one more snapshot", &|of| format!("{:.1} MB", of.snapshot_bytes as f64 / 1e6)),
        row("publish an approval", &|of| format!("{:.0} µs", of.publish_approval_micros)),
        row("hold, approve and spend", &|of| format!("{:.0} µs", of.hold_micros)),
    ];
    table(&["", "without conditions", "with"], &rows)
}

fn kernel(connects: &Connects) -> Result<String> {
    let row = |name: &str, intercepted: f64, elsewhere: f64| {
        vec![name.to_owned(), format!("{intercepted:.0}"), format!("{elsewhere:.0}")]
    };
    let both = |(hook, cost): (&String, &f64)| {
        let elsewhere = connects.elsewhere.get(hook);
        Ok(row(hook, *cost, *elsewhere.with_context(|| format!("{hook} was not measured elsewhere"))?))
    };
    let mut rows = connects.intercepted.iter().map(both).collect::<Result<Vec<_>>>()?;
    let sums = (Connects::nanoseconds(&connects.intercepted), Connects::nanoseconds(&connects.elsewhere));
    rows.push(row("in all", sums.0, sums.1));
    Ok(table(&["", "to a target", "elsewhere"], &rows))
}

fn masked(masking: &Masking) -> String {
    let row = |row: &super::masking::Row| {
        let serde = row.serde_json.map_or_else(String::new, |serde| format!("{serde:.2}"));
        let ratio = row.serde_json.map_or_else(String::new, |serde| format!("{:.1}", row.masker / serde));
        vec![row.name.clone(), format!("{:.2}", row.masker), serde, ratio]
    };
    table(&["", "masker", "serde_json", "ratio"], &masking.rows.iter().map(row).collect::<Vec<_>>())
}

fn streamed(execs: &[Exec]) -> Result<String> {
    let of = |lane| {
        let found = execs.iter().find(|exec| exec.lane == lane);
        Ok::<_, anyhow::Error>(
            found.with_context(|| format!("{lane}: exec was not measured"))?.bytes_per_second,
        )
    };
    let (direct, nginx) = (of(Lane::Direct)?, of(Lane::Nginx)?);
    let row = |exec: &Exec| {
        let rate = exec.bytes_per_second;
        vec![
            exec.lane.to_string(),
            format!("{:.0}", rate / 1e6),
            format!("{:.2}", rate / direct),
            format!("{:.2}", rate / nginx),
        ]
    };
    Ok(table(&["", "MB/s", "of direct", "of nginx"], &execs.iter().map(row).collect::<Vec<_>>()))
}

/// What is to be at least so much.
fn floor(what: &str, measured: f64, unit: &str, reach: f64) -> Vec<String> {
    let verdict = if measured >= reach { "reached" } else { "missed" };
    let least = format!("≥ {reach:.1} {unit}");
    vec![what.to_owned(), format!("{measured:.2} {unit}"), least, verdict.to_owned(), String::new()]
}

/// What is to be at most so much.
pub(crate) fn mark(what: &str, measured: f64, unit: &str, reach: f64, note: &str) -> Vec<String> {
    let verdict = if measured <= reach { "reached" } else { "missed" };
    let digits = if reach.abs() < 10.0 { 2 } else { 0 };
    vec![
        what.to_owned(),
        format!("{measured:.digits$} {unit}"),
        format!("{reach:.digits$} {unit}"),
        verdict.to_owned(),
        note.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::lane::lanes;
    use super::*;

    /// Loads of the small list on which each lane takes 10 µs more than the one before.
    fn loads(h2: bool, direct: f64) -> impl Iterator<Item = (Load, ByLane)> {
        [1, 16].into_iter().map(move |connections| {
            let load = Load { size: Size::Small, h2, connections, counted: Duration::from_secs(1) };
            let sample = |number: usize| Sample {
                p50: direct + 10.0 * number as f64,
                p99: 200.0,
                requests_per_second: 1000.0,
                bytes_per_second: 5e6,
                cpu: 20.0,
            };
            let samples = lanes(h2).iter().enumerate().map(|(number, &lane)| (lane, vec![sample(number)]));
            (load, samples.collect())
        })
    }

    #[test]
    fn h2_is_compared_with_h2() {
        let report =
            Report { loads: loads(false, 50.0).chain(loads(true, 70.0)).collect(), ..Report::default() };
        let table = report.compared(Size::Small, true).unwrap();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .skip(1)
            .map(|row| row.split("  ").filter(|cell| !cell.is_empty()).collect())
            .collect();
        let told: Vec<_> = rows.iter().map(|row| (row[0], row[1].trim(), row[2].trim())).collect();
        assert_eq!(
            told,
            [
                ("direct", "70 µs", "+0 µs"),
                ("nginx, HTTP/1.1 upstream", "80 µs", "+10 µs"),
                ("portcullis", "90 µs", "+20 µs"),
                ("masked pods", "100 µs", "+30 µs"),
            ]
        );
    }

    #[test]
    fn each_row_of_watches_says_how_they_are_held() {
        let held = |count, with| Some(Held { count, before: 10_000.0, with });
        let report = Report {
            watches: held(9_900, 505_000.0),
            h2_watches: held(10_000, 730_000.0),
            ..Report::default()
        };
        let marks = report.marks().unwrap();
        let rows: Vec<String> =
            marks.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            rows,
            [
                "each of 9900 idle watches over HTTP/1.1 50 KB 64 KB reached daemon 10.0 MB without them",
                "each of 10000 idle watches over h2, 100 a connection 72 KB 64 KB missed daemon 10.0 MB without them",
            ]
        );
    }
}
