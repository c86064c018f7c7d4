//! What a reader makes of a recording, against one that was written once and must stay readable for ever.
//!
//! `golden/` holds the recording and what is to be made of it. `cargo test -p portcullis-record --test reading --
//! --ignored` writes all of it anew; do so only with a new version of the format, beside the old one.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{ManualClock, begin, config, process};
use portcullis_record::{
    Action, Channel, Event, Filter, Format, PlayOptions, RecordConfig, RecordError, Recorder, Recording,
    Recordings, SessionHandle, State, StreamKind, Verdict, render_list,
};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn recording() -> Recording {
    Recordings::new(golden()).find("s-").unwrap()
}

/// Compares with a file of `golden/`.
fn assert_golden(name: &str, actual: &[u8]) {
    let expected = std::fs::read_to_string(golden().join(name)).unwrap();
    assert!(expected.as_bytes() == actual, "{name} is now:\n{}", String::from_utf8_lossy(actual));
}

fn text(recording: &Recording) -> Vec<u8> {
    let mut out = Vec::new();
    recording.render_text(&mut out, true).unwrap();
    out
}

fn export(recording: &Recording, format: Format, request: Option<u32>) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::new();
    recording.export(format, request, &mut out).map(|()| out)
}

#[test]
fn transcript() {
    assert_golden("transcript.txt", &text(&recording()));
}

#[test]
fn transcript_without_bodies() {
    let mut out = Vec::new();
    recording().render_text(&mut out, false).unwrap();
    let without = String::from_utf8(out).unwrap();
    assert!(without.contains("stdout") && !without.contains("kind"), "{without}");
}

#[test]
fn json_lines() {
    assert_golden("entries.jsonl", &export(&recording(), Format::Jsonl, None).unwrap());
}

#[test]
fn json_is_one_document_with_the_same_entries() {
    let recording = recording();
    let mut out = Vec::new();
    recording.render_json(&mut out).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(document["session"]["start"]["subject"]["name"], "alice");
    let lines = String::from_utf8(export(&recording, Format::Jsonl, None).unwrap()).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(document["entries"], serde_json::Value::from(lines));
}

#[test]
fn asciicast() {
    let cast = export(&recording(), Format::Asciicast, Some(3)).unwrap();
    assert_golden("exec.cast", &cast);
    // https://docs.asciinema.org/manual/asciicast/v2/
    let cast = String::from_utf8(cast).unwrap();
    let mut lines = cast.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let header = lines.next().unwrap();
    assert_eq!(
        (&header["version"], &header["width"], &header["height"]),
        (&2.into(), &120.into(), &40.into())
    );
    let mut last = 0.0;
    for event in lines {
        let event = event.as_array().unwrap();
        let time = event[0].as_f64().unwrap();
        assert!(time >= last, "{event:?}");
        last = time;
        let data = event[2].as_str().unwrap();
        match event[1].as_str().unwrap() {
            "o" | "i" | "m" => {}
            "r" => assert_eq!(data, "100x30"),
            code => panic!("{code} is no asciicast event"),
        }
        assert_eq!(event.len(), 3);
    }
}

#[test]
fn a_log_is_played_like_a_terminal() {
    let cast = String::from_utf8(export(&recording(), Format::Asciicast, Some(4)).unwrap()).unwrap();
    assert!(cast.contains(r#""o","line one\r\n""#), "{cast}");
    assert!(cast.contains(r#""m","cut: grant g-1 was revoked by carol""#), "{cast}");
}

#[test]
fn play_repeats_bytes_and_pauses() {
    let play = |options| {
        let (mut out, mut pauses) = (Vec::new(), Vec::new());
        let damage = recording().play(&options, &mut out, |pause| pauses.push(pause)).unwrap();
        assert!(damage.is_empty());
        (out, pauses)
    };
    let exec = PlayOptions { request: Some(3), ..PlayOptions::default() };
    let (out, pauses) = play(exec);
    assert_eq!(out, "# ls\r\n\x1b]0;owned\x07caf\u{e9} \u{6f22}\r\n\u{9b}2Jsh: no\r\n".as_bytes());
    assert_eq!(pauses.iter().sum::<Duration>(), Duration::from_millis(5650), "{pauses:?}");
    let (_, pauses) = play(PlayOptions { speed: 2.0, max_idle: Some(Duration::from_secs(1)), ..exec });
    assert_eq!(pauses.iter().max(), Some(&Duration::from_millis(500)));
    for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let (again, pauses) = play(PlayOptions { speed, ..exec });
        assert_eq!((again, pauses), (out.clone(), vec![]), "speed {speed}");
    }
}

#[test]
fn a_stream_is_chosen_if_there_are_several() {
    let recording = recording();
    let Err(RecordError::ManyStreams { streams, .. }) = export(&recording, Format::Asciicast, None) else {
        panic!("chose one")
    };
    assert_eq!(streams, [3, 4]);
    let error = export(&recording, Format::Asciicast, Some(1)).unwrap_err();
    assert!(matches!(error, RecordError::NotAStream { request: 1, .. }), "{error}");
}

#[test]
fn summary() {
    let summary = recording().summary().unwrap();
    assert_eq!((summary.state, summary.damaged), (State::Ended, false));
    assert_eq!((summary.requests, summary.denied), (5, 2));
    assert_eq!(summary.duration().unwrap().as_millis(), 11_352);
    assert_eq!(summary.start.unwrap().attestation, process(4242));
    assert_eq!(recording().verify().unwrap().verdict, Verdict::Intact);
}

#[test]
fn list_filters() {
    let recordings = Recordings::new(golden());
    let count = |filter: Filter| recordings.list(&filter).unwrap().len();
    let at = |time: &str| Some(time.parse().unwrap());
    assert_eq!(count(Filter::default()), 1);
    assert_eq!(count(Filter { subject: Some("alice".to_owned()), ..Filter::default() }), 1);
    assert_eq!(count(Filter { subject: Some("1001".to_owned()), denied: true, ..Filter::default() }), 1);
    assert_eq!(count(Filter { subject: Some("bob".to_owned()), ..Filter::default() }), 0);
    assert_eq!(count(Filter { target: Some("test".to_owned()), ..Filter::default() }), 0);
    assert_eq!(count(Filter { since: at("2026-11-23T17:01:02Z"), ..Filter::default() }), 1);
    assert_eq!(count(Filter { since: at("2026-11-23T17:01:03Z"), ..Filter::default() }), 0);
    assert_eq!(count(Filter { until: at("2026-11-23T17:01:02Z"), ..Filter::default() }), 0);
    let mut table = Vec::new();
    render_list(&recordings.list(&Filter::default()).unwrap(), &mut table).unwrap();
    let table = String::from_utf8(table).unwrap();
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().skip(1).collect();
    assert_eq!(row[..6], ["ended", "11.4s", "alice", "prod", "5", "2"], "{table}");
    assert!(table.ends_with("kubectl exec -it web-0 -- sh\n"), "{table}");
}

#[test]
fn recordings_are_found_by_a_unique_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let recorder = Recorder::with_clock(&config, ManualClock::new()).unwrap();
    let sessions = [1, 2].map(|pid| begin(&recorder, pid).unwrap());
    let recordings = Recordings::new(&config.dir);
    for session in &sessions {
        assert_eq!(recordings.find(session.id().as_str()).unwrap().id(), session.id());
        assert_eq!(recordings.find(&session.id().as_str()[19..]).unwrap().id(), session.id());
    }
    let Err(RecordError::Ambiguous { matches, .. }) = recordings.find("s-20261123T170102Z") else {
        panic!("chose one")
    };
    assert!(matches.is_sorted() && matches.len() == 2, "{matches:?}");
    assert!(matches!(recordings.find("../.."), Err(RecordError::NotFound { .. })));
    assert!(matches!(
        Recordings::new(dir.path().join("none")).list(&Filter::default()),
        Err(RecordError::Io { .. })
    ));
}

#[test]
#[ignore = "writes golden/ anew"]
fn write_golden() {
    let dir = golden();
    let old = Recordings::new(&dir).all().unwrap();
    old.iter().for_each(|recording| std::fs::remove_dir_all(recording.dir().parent().unwrap()).unwrap());
    let temporary = tempfile::tempdir().unwrap();
    let config = RecordConfig { segment_bytes: 4096, ..config(temporary.path()) };
    let clock = ManualClock::new();
    let recorder = Recorder::with_clock(&config, clock.clone()).unwrap();
    let session = begin(&recorder, 4242).unwrap();
    tell(&session, &clock).unwrap();
    recorder.shutdown();
    let written = common::recording(&config, &session);
    let day = dir.join("2026-11-23").join(session.id().as_str());
    std::fs::create_dir_all(&day).unwrap();
    for segment in std::fs::read_dir(written.dir()).unwrap() {
        let segment = segment.unwrap();
        std::fs::copy(segment.path(), day.join(segment.file_name())).unwrap();
    }
    std::fs::write(dir.join("transcript.txt"), text(&written)).unwrap();
    std::fs::write(dir.join("entries.jsonl"), export(&written, Format::Jsonl, None).unwrap()).unwrap();
    std::fs::write(dir.join("exec.cast"), export(&written, Format::Asciicast, Some(3)).unwrap()).unwrap();
}

/// A session in which everything happens.
fn tell(session: &SessionHandle, clock: &ManualClock) -> Result<(), RecordError> {
    let wait = |ms| clock.advance(Duration::from_millis(ms));
    let decided = |request, path: &str, verb: &str, decision, reason: Option<&str>| Event::RequestDecided {
        request,
        connection: 1,
        audit_id: format!("portcullis-{request}"),
        method: "GET".to_owned(),
        path: path.to_owned(),
        verb: verb.to_owned(),
        api_group: String::new(),
        resource: "pods".to_owned(),
        subresource: String::new(),
        namespace: "default".to_owned(),
        name: String::new(),
        command: Vec::new(),
        call: None,
        decision,
        role: Some("debugger".to_owned()),
        rule: Some(0),
        grant: (decision == Action::Allow).then(|| "g-1".to_owned()),
        reason: reason.map(str::to_owned),
        denial: None,
    };
    let ended = |request, bytes_out, error: Option<&str>| Event::RequestEnded {
        request,
        status: Some(200),
        bytes_in: 0,
        bytes_out,
        duration_us: 1500,
        left_out: 0,
        error: error.map(str::to_owned),
    };
    session.event(&Event::ConnectionOpened {
        connection: 1,
        peer: "10.0.0.9:40000".parse().unwrap(),
        original_dst: "10.0.0.1:443".parse().unwrap(),
        alpn: Some("h2".to_owned()),
    })?;

    // 1: a list.
    wait(2);
    session.event(&decided(1, "/api/v1/namespaces/default/pods?limit=500", "list", Action::Allow, None))?;
    let content_type = Some("application/json".to_owned());
    session.event(&Event::ResponseStarted { request: 1, status: 200, content_type, masked: true })?;
    session.data(1, Channel::Body, b"{\"kind\":\"PodList\",")?;
    session.data(1, Channel::Body, b"\"items\":[]}\n")?;
    session.event(&ended(1, 30, None))?;

    // 2: denied.
    wait(100);
    let reason = "portcullis: no role of yours allows delete of pods in kube-system";
    session.event(&decided(
        2,
        "/api/v1/namespaces/kube-system/pods/x",
        "delete",
        Action::Deny,
        Some(reason),
    ))?;

    // 3: a shell, in which somebody tries to fool the auditor's terminal.
    wait(100);
    let path = "/api/v1/namespaces/default/pods/web-0/exec?command=sh&stdin=true&tty=true";
    session.event(&decided(3, path, "create", Action::Allow, None))?;
    session.event(&Event::StreamOpened {
        request: 3,
        kind: StreamKind::Exec,
        protocol: "v5.channel.k8s.io".to_owned(),
        command: vec!["sh".to_owned(), "-c".to_owned(), "echo \x1b[2J".to_owned()],
        container: Some("web".to_owned()),
        tty: true,
    })?;
    session.event(&Event::Resize { request: 3, width: 120, height: 40 })?;
    wait(150);
    session.data(3, Channel::Stdout, b"# ")?;
    wait(3000);
    for key in ["l", "s", "\r"] {
        session.data(3, Channel::Stdin, key.as_bytes())?;
        wait(200);
        session.data(3, Channel::Stdout, if key == "\r" { b"\r\n" } else { key.as_bytes() })?;
    }
    session.event(&Event::Resize { request: 3, width: 100, height: 30 })?;
    let output = "\x1b]0;owned\x07caf\u{e9} \u{6f22}\r\n\u{9b}2J".as_bytes();
    wait(1900);
    let (first, second) = output.split_at(14); // within a character
    session.data(3, Channel::Stdout, first)?;
    session.data(3, Channel::Stdout, second)?;
    session.data(3, Channel::Stderr, b"sh: no\r\n")?;
    session.event(&Event::Exit { request: 3, code: Some(1), message: "command terminated".to_owned() })?;
    session.event(&Event::StreamClosed { request: 3 })?;
    session.event(&ended(3, 40, None))?;

    // 4: a log that is cut.
    wait(500);
    session.event(&decided(
        4,
        "/api/v1/namespaces/default/pods/web-0/log?follow=true",
        "get",
        Action::Allow,
        None,
    ))?;
    session.event(&Event::StreamOpened {
        request: 4,
        kind: StreamKind::Log,
        protocol: String::new(),
        command: Vec::new(),
        container: None,
        tty: false,
    })?;
    session.data(4, Channel::Body, b"line one\n")?;
    wait(5000);
    session.data(4, Channel::Body, b"not utf-8: \xff\n")?;
    session.event(&Event::Cut { request: 4, reason: "grant g-1 was revoked by carol".to_owned() })?;
    session.event(&ended(4, 22, Some("grant g-1 was revoked by carol")))?;

    session.event(&Event::Refused { request: None, reason: "the path has an encoded slash".to_owned() })?;
    session.event(&Event::Note { text: "the masker withheld an answer".to_owned() })?;
    session.event(&Event::ConnectionClosed { connection: 1, error: None })?;
    wait(3000);
    Ok(())
}
