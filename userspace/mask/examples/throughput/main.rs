//! How fast the maskers are on one core, and how much memory they take:
//! `cargo run --release -p portcullis-mask --example throughput [-- --json]`.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod bodies;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use nix::time::{ClockId, clock_gettime};
use portcullis_mask::{
    DetectorConfig, Detectors, JsonMasker, MaskError, MaskKey, Personal, PlaceholderGuard, Profile,
    ProtobufMasker, Rules, TerminalMasker, TextMasker,
};
use serde::Serialize;

use bodies::{indented, list, log, pod, pods, secret, secrets};

const CHUNK: usize = 64 * 1024;
/// What goes through a masker while its memory is looked at, bytes.
const STREAMED: usize = 512 << 20;

/// One kind of body, through one masker.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    megabytes: f64,
    /// GB/s.
    masker: f64,
    /// GB/s of parsing into a `serde_json::Value` and writing that again, for JSON.
    serde_json: Option<f64>,
    /// GB/s that are to be reached.
    reach: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    rows: Vec<Row>,
    /// What masking half a gigabyte of JSON added to the process's memory.
    peak_bytes: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = MaskKey::generate()?;
    let profile = Profile::default();
    // First, while the process is small.
    let peak_bytes = peak(&profile, &key)?;
    let mut rows = json(&profile, &key)?;
    rows.extend(protobuf(&profile, &key)?);
    rows.extend(texts(&key)?);
    if std::env::args().any(|argument| argument == "--json") {
        println!("{}", serde_json::to_string(&Figures { rows, peak_bytes })?);
        return Ok(());
    }
    println!("{:<44} {:>8} {:>8} {:>16} {:>8}", "body", "MB", "GB/s", "serde_json GB/s", "reach");
    for Row { name, megabytes, masker, serde_json, reach } in rows {
        let shown = |figure: Option<f64>| figure.map_or_else(String::new, |figure| format!("{figure:.2}"));
        println!("{name:<44} {megabytes:>8.1} {masker:>8.2} {:>16} {:>8}", shown(serde_json), shown(reach));
    }
    println!("memory taken by masking {} MB: {:.2} MB", STREAMED >> 20, peak_bytes as f64 / 1e6);
    Ok(())
}

fn json(profile: &Profile, key: &MaskKey) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let mut rows = Vec::new();
    for (name, resource, body, reach) in [
        ("SecretList, values of 2 KB", "secrets", secrets(2048, false), Some(1.5)),
        ("SecretList, values of 300 B", "secrets", secrets(300, false), Some(1.5)),
        ("SecretList, values of 24 B", "secrets", secrets(24, false), None),
        ("SecretList, applied, 300 B", "secrets", secrets(300, true), None),
        ("PodList", "pods", pods(), Some(0.5)),
        ("PodList, indented", "pods", indented(&pods())?, None),
    ] {
        let rules = profile.for_request("", resource, "").ok_or("nothing is masked")?;
        let masker = rate(&body, || mask(&body, &rules, key).map_err(io::Error::other))?;
        let serde_json = Some(rate(&body, || {
            let value: serde_json::Value = serde_json::from_slice(&body)?;
            black_box(serde_json::to_vec(&value)?);
            Ok::<_, io::Error>(())
        })?);
        rows.push(Row { serde_json, reach, ..row(name, &body, masker) });
    }
    let body = secrets(300, false);
    let guard = rate(&body, || {
        black_box(PlaceholderGuard::find(&body));
        Ok::<_, io::Error>(())
    })?;
    rows.push(row("write-back guard, SecretList of 300 B", &body, guard));
    Ok(rows)
}

fn protobuf(profile: &Profile, key: &MaskKey) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let mut rows = Vec::new();
    for (name, resource, kind, item) in [
        ("protobuf SecretList, values of 2 KB", "secrets", "SecretList", secret(2048)),
        ("protobuf SecretList, values of 300 B", "secrets", "SecretList", secret(300)),
        ("protobuf SecretList, values of 24 B", "secrets", "SecretList", secret(24)),
        ("protobuf PodList", "pods", "PodList", pod()),
    ] {
        let rules = profile.for_request("", resource, "").ok_or("nothing is masked")?;
        let body = list(kind, &item);
        let masker = rate(&body, || mask_protobuf(&body, &rules, key).map_err(io::Error::other))?;
        rows.push(row(name, &body, masker));
    }
    Ok(rows)
}

/// Detectors over text, in chunks of 64 KiB and in the sizes of a terminal's.
fn texts(key: &MaskKey) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let personal = vec![Personal::Card, Personal::Iban, Personal::Ssn, Personal::Email];
    let personal = Arc::new(Detectors::new(&DetectorConfig { personal, ..Default::default() })?);
    let detectors = Arc::new(Detectors::default());
    let mut rows = Vec::new();
    for (name, text, size, reach) in [
        ("log", log(false), CHUNK, Some(0.4)),
        ("log, a secret in 50 lines", log(true), CHUNK, Some(0.4)),
        ("log, 200 B at a time", log(false), 200, None),
    ] {
        let as_text = rate(&text, || {
            let mut masker = TextMasker::new(Arc::clone(&detectors), key);
            chunks(&text, size, |chunk, out| masker.push(chunk, out))
        })?;
        let as_terminal = rate(&text, || {
            let mut masker = TerminalMasker::new(Arc::clone(&detectors), key);
            chunks(&text, size, |chunk, out| masker.push(chunk, out))
        })?;
        let with_personal = rate(&text, || {
            let mut masker = TextMasker::new(Arc::clone(&personal), key);
            chunks(&text, size, |chunk, out| masker.push(chunk, out))
        })?;
        rows.push(Row { reach, ..row(name, &text, as_text) });
        rows.push(row(&format!("{name}, as a terminal's"), &text, as_terminal));
        rows.push(row(&format!("{name}, personal data too"), &text, with_personal));
    }
    Ok(rows)
}

fn row(name: &str, body: &[u8], masker: f64) -> Row {
    Row { name: name.to_owned(), megabytes: body.len() as f64 / 1e6, masker, serde_json: None, reach: None }
}

fn mask(body: &[u8], rules: &Arc<Rules>, key: &MaskKey) -> Result<(), MaskError> {
    let mut masker = JsonMasker::new(Arc::clone(rules), key);
    let mut out = Vec::with_capacity(2 * CHUNK);
    for chunk in body.chunks(CHUNK) {
        masker.push(chunk, &mut out)?;
        black_box(&out);
        out.clear();
    }
    masker.finish(&mut out)
}

fn mask_protobuf(body: &[u8], rules: &Arc<Rules>, key: &MaskKey) -> Result<(), MaskError> {
    let mut masker = ProtobufMasker::object(Arc::clone(rules), key);
    let mut out = Vec::new();
    body.chunks(CHUNK).try_for_each(|chunk| masker.push(chunk, &mut out))?;
    masker.finish(&mut out)?;
    black_box(&out);
    Ok(())
}

fn chunks(text: &[u8], size: usize, mut push: impl FnMut(&[u8], &mut Vec<u8>)) -> io::Result<()> {
    let mut out = Vec::with_capacity(2 * CHUNK);
    for chunk in text.chunks(size) {
        push(chunk, &mut out);
        black_box(&out);
        out.clear();
    }
    Ok(())
}

/// How much more memory the process has needed at most once a long list of Secrets went through.
fn peak(profile: &Profile, key: &MaskKey) -> Result<u64, Box<dyn std::error::Error>> {
    let rules = profile.for_request("", "secrets", "").ok_or("nothing is masked")?;
    let item = format!(r#"{{"metadata":{{"name":"s"}},"data":{{"a":"{}"}}}},"#, "QUFB".repeat(256));
    let chunk = item.repeat(CHUNK / item.len());
    let before = high_water()?;
    let (mut masker, mut out) = (JsonMasker::new(rules, key), Vec::with_capacity(2 * CHUNK));
    masker.push(br#"{"items":["#, &mut out)?;
    for _ in 0..STREAMED / chunk.len() {
        masker.push(chunk.as_bytes(), &mut out)?;
        black_box(&out);
        out.clear();
    }
    Ok(high_water()?.saturating_sub(before))
}

/// The most memory that the process has had so far, bytes.
fn high_water() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok());
    kilobytes.map(|kilobytes: u64| kilobytes * 1024).ok_or_else(|| io::Error::other("no VmHWM"))
}

/// The best of five, in GB/s of time on the CPU: what else runs on the machine hardly counts.
fn rate<E: From<io::Error>>(body: &[u8], mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = on_cpu()?;
        run()?;
        best = best.min(on_cpu()? - start);
    }
    Ok(body.len() as f64 / 1e9 / best.as_secs_f64())
}

/// How long this thread has run. (`/proc/thread-self/schedstat` would tell it as of the last tick.)
fn on_cpu() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
