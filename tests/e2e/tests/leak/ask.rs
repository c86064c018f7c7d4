//! Requests with curl, many in one process: what the API server can be asked, in every form of it.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Person, Stage, output};
use flate2::read::MultiGzDecoder;

use crate::common::own;
use crate::look::Shown;

/// How long a thousand requests may take where other tests run beside.
const LIMIT: Duration = Duration::from_secs(180);

/// One request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
    /// HTTP/1.1 instead of h2.
    pub(crate) old: bool,
}

/// What came of one.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// It came compressed.
    pub(crate) packed: bool,
    pub(crate) shown: Shown,
}

impl Ask {
    pub(crate) fn get(target: impl Into<String>, accept: &str) -> Self {
        Self { method: "GET", target: target.into(), ..Self::default() }.with(&format!("Accept: {accept}"))
    }

    pub(crate) fn with(mut self, header: &str) -> Self {
        self.headers.push(header.to_owned());
        self
    }

    pub(crate) fn title(&self) -> String {
        let protocol = if self.old { "HTTP/1.1" } else { "h2" };
        let body: String = self.body.chars().take(60).collect();
        format!("{} {} {protocol} [{}] {body}", self.method, self.target, self.headers.join(" | "))
    }
}

/// Asks all of it as `person`, `at_once` at a time. `origin` is the gate's target or a `kubectl proxy`.
///
/// # Errors
/// When curl cannot be run, or answers are missing.
pub(crate) fn ask(
    stage: &Stage,
    person: Person,
    origin: &str,
    asks: &[Ask],
    at_once: usize,
) -> Result<Vec<Answered>> {
    let dir = stage.home(person).join(format!("asked-{}", fresh()));
    fs::create_dir(&dir)?;
    let sections: Vec<String> = asks
        .iter()
        .enumerate()
        .map(|(number, ask)| section(ask, origin, number, &dir))
        .collect::<Result<_>>()?;
    fs::write(dir.join("config"), sections.join("\nnext\n"))?;
    own(&dir, person)?;
    let mut curl = stage.command(person, Path::new("/usr/bin/curl"));
    curl.args([
        "--no-progress-meter",
        "--parallel",
        "--parallel-immediate",
        "--parallel-max",
        &at_once.to_string(),
        "-K",
    ]);
    let ran = output(curl.arg(dir.join("config")), LIMIT)?;
    let mut answered = Vec::new();
    for (number, ask) in asks.iter().enumerate() {
        // A request that came to nothing (a refused connection) leaves no files.
        let head = fs::read(dir.join(format!("{number}.head"))).unwrap_or_default();
        let body = fs::read(dir.join(format!("{number}.body"))).unwrap_or_default();
        let head_text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let status = head_text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("{} came to nothing: {}", ask.title(), ran.all()))?;
        let mut bytes = head;
        let packed = head_text.contains("content-encoding: gzip");
        if packed {
            MultiGzDecoder::new(body.as_slice()).read_to_end(&mut bytes).ok();
        }
        bytes.extend(body);
        answered.push(Answered { status, packed, shown: Shown { what: ask.title(), bytes } });
    }
    fs::remove_dir_all(&dir)?;
    Ok(answered)
}

fn section(ask: &Ask, origin: &str, number: usize, dir: &Path) -> Result<String> {
    let mut section = String::new();
    let mut option = |name: &str, value: &str| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(section, "{name} = \"{value}\"");
    };
    option("url", &format!("{origin}{}", ask.target));
    option("request", ask.method);
    for header in &ask.headers {
        option("header", header);
    }
    if !ask.body.is_empty() {
        let file = dir.join(format!("{number}.sent"));
        fs::write(&file, &ask.body)?;
        option("data-binary", &format!("@{}", file.display()));
    }
    option("output", &dir.join(format!("{number}.body")).display().to_string());
    option("dump-header", &dir.join(format!("{number}.head")).display().to_string());
    option("max-time", "8");
    let version = if ask.old { "http1.1" } else { "http2" };
    let _ = write!(section, "{version}\npath-as-is\ninsecure\nsilent\nshow-error");
    Ok(section)
}

fn fresh() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
