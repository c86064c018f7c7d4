//! What recording costs, on the disk under the directory given (or a temporary one):
//! `cargo run --release -p portcullis-record --example throughput [DIR]`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use common::{begin, config};
use portcullis_record::{
    Action, Channel, Event, Filter, Fsync, RecordConfig, Recorder, Recordings, SessionHandle,
};

const RUN: Duration = Duration::from_secs(2);

fn main() {
    let dir = match std::env::args_os().nth(1) {
        Some(parent) => tempfile::tempdir_in(parent).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let decided = Event::RequestDecided {
        request: 1,
        connection: 1,
        audit_id: format!("portcullis-{:032x}", 7),
        method: "GET".to_owned(),
        path: "/api/v1/namespaces/default/pods?limit=500".to_owned(),
        verb: "list".to_owned(),
        api_group: String::new(),
        resource: "pods".to_owned(),
        subresource: String::new(),
        namespace: "default".to_owned(),
        name: String::new(),
        command: Vec::new(),
        call: None,
        decision: Action::Allow,
        role: Some("reader".to_owned()),
        rule: Some(0),
        grant: Some("g-20261123-7f3a9c".to_owned()),
        reason: None,
        denial: None,
    };
    let ended = Event::RequestEnded {
        request: 1,
        status: Some(200),
        bytes_in: 0,
        bytes_out: 4900,
        duration_us: 900,
        left_out: 0,
        error: None,
    };
    let answer = Event::ResponseStarted {
        request: 1,
        status: 200,
        content_type: Some("application/json".to_owned()),
        masked: false,
    };
    let (small, large) = (vec![b'x'; 4096], vec![b'x'; 65536]);

    for size in [&small, &large] {
        let mut file = File::create(dir.path().join("raw")).unwrap();
        let mut left = 64 << 20;
        measure("write(2) alone, new file each 64 MiB", size.len(), || {
            file.write_all(size).unwrap();
            left -= size.len() as i64;
            if left < 0 {
                file = File::create(dir.path().join("raw")).unwrap();
                left = 64 << 20;
            }
        });
        std::fs::remove_file(dir.path().join("raw")).unwrap();
    }
    with_session(dir.path(), |session| {
        measure("data()", small.len(), || session.data(1, Channel::Body, &small).unwrap());
    });
    with_session(dir.path(), |session| {
        measure("data()", large.len(), || session.data(1, Channel::Body, &large).unwrap());
    });
    with_session(dir.path(), |session| {
        measure("event(requestDecided)", 0, || session.event(&decided).unwrap());
    });
    with_session(dir.path(), |session| {
        measure("a GET of 4.9 KB: 3 events, 1 data()", 4900, || {
            session.event(&decided).unwrap();
            session.event(&answer).unwrap();
            session.data(1, Channel::Body, &large[..4900]).unwrap();
            session.event(&ended).unwrap();
        });
    });
    let always = RecordConfig { fsync: Fsync::Always, ..config(dir.path()) };
    let recorder = Recorder::open(&always).unwrap();
    let session = begin(&recorder, 1).unwrap();
    measure("event(requestDecided), fsync always", 0, || session.event(&decided).unwrap());
    drop((recorder, session));
    std::fs::remove_dir_all(config(dir.path()).dir).unwrap();

    let mut recorder = Recorder::open(&config(dir.path())).unwrap();
    let mut pid = 0;
    measure("a new session and its first event", 0, || {
        pid += 1;
        begin(&recorder, pid).unwrap();
        if pid % 256 == 0 {
            recorder = Recorder::open(&config(dir.path())).unwrap(); // the last one syncs, and lets its files go
        }
    });
    drop(recorder);
    let start = Instant::now();
    let listed = Recordings::new(config(dir.path()).dir).list(&Filter::default()).unwrap().len();
    println!("{:45} {:>12.1} µs each, of {listed}", "list", micros(start.elapsed()) / listed as f64);
}

fn with_session(dir: &std::path::Path, run: impl FnOnce(&SessionHandle)) {
    let recorder = Recorder::open(&config(dir)).unwrap();
    run(&begin(&recorder, 1).unwrap());
    drop(recorder);
    std::fs::remove_dir_all(config(dir).dir).unwrap();
}

fn measure(what: &str, bytes: usize, mut call: impl FnMut()) {
    let start = Instant::now();
    let mut calls = 0_u32;
    let mut each = Vec::with_capacity(1 << 22);
    while start.elapsed() < RUN {
        let before = Instant::now();
        call();
        each.push(before.elapsed());
        calls += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    each.sort_unstable();
    let rate = f64::from(calls) / seconds;
    println!(
        "{:45} {:>9.0}/s {:>8.1} MB/s   p50 {:>7.2} µs   p99 {:>8.2} µs",
        if bytes > 0 { format!("{what}, {bytes} B") } else { what.to_owned() },
        rate,
        rate * bytes as f64 / 1e6,
        micros(each[each.len() / 2]),
        micros(each[each.len() * 99 / 100]),
    );
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
