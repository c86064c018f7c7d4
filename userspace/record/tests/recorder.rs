//! Sessions begin, are shared, rotate and end as they should.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use common::{ManualClock, begin, config, data, entries, person, process, recording};
use jiff::SignedDuration;
use portcullis_record::{
    Body, Channel, EndReason, Event, Filter, Fsync, RecordConfig, RecordError, Recorder, Recordings,
    SessionStart, State, Verdict,
};

#[test]
fn connections_of_a_process_share_a_session() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(&config(dir.path())).unwrap();
    let first = begin(&recorder, 7).unwrap();
    let second = begin(&recorder, 7).unwrap();
    assert_eq!(first.id(), second.id());
    assert_eq!((first.next_request(), second.next_request()), (1, 2));
    assert_eq!((first.next_connection(), second.next_connection()), (1, 2));

    let (alice, same) = (person("alice"), process(7));
    let mut later = same.clone();
    later.process.start_time += 1;
    let mut bob = person("bob");
    bob.id = "1002".to_owned();
    for (what, start) in [
        ("process", SessionStart { subject: &alice, attestation: &process(8), target: "prod" }),
        (
            "process that reuses the pid",
            SessionStart { subject: &alice, attestation: &later, target: "prod" },
        ),
        ("target", SessionStart { subject: &alice, attestation: &same, target: "test" }),
        ("subject", SessionStart { subject: &bob, attestation: &same, target: "prod" }),
    ] {
        assert_ne!(recorder.session(start).unwrap().id(), first.id(), "another {what}");
    }
}

#[test]
fn a_session_ends_some_time_after_its_last_connection() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let config = RecordConfig { linger: SignedDuration::from_secs(2), ..config(dir.path()) };
    let recorder = Recorder::with_clock(&config, clock.clone()).unwrap();
    let session = begin(&recorder, 7).unwrap();
    let id = session.id().clone();
    let recording = recording(&config, &session);
    let tick_after = |seconds| {
        clock.advance(Duration::from_secs(seconds));
        recorder.tick();
        recording.summary().unwrap().state
    };

    assert_eq!(tick_after(60), State::Live, "it has a connection");
    drop(session);
    assert_eq!(tick_after(1), State::Live, "seen without connections");
    assert_eq!(tick_after(1), State::Live);
    let again = begin(&recorder, 7).unwrap();
    assert_eq!(*again.id(), id, "it is still there for the next connection");
    drop(again);
    assert_eq!(tick_after(1), State::Live, "the time counts from the last connection");
    assert_eq!(tick_after(1), State::Live);
    assert_eq!(tick_after(1), State::Ended);
    let last = entries(&recording).pop().unwrap().body;
    assert_eq!(last, Body::Event(Event::SessionEnded { reason: EndReason::Idle }));
    assert_eq!(recording.verify().unwrap().verdict, Verdict::Intact);
    assert_ne!(*begin(&recorder, 7).unwrap().id(), id);
}

#[test]
fn a_closed_recorder_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let recorder = Recorder::open(&config).unwrap();
    let session = begin(&recorder, 7).unwrap();
    drop(recorder);
    let refused = session.event(&Event::Note { text: "late".to_owned() });
    assert!(matches!(refused, Err(RecordError::Ended(_))), "{refused:?}");
    let last = entries(&recording(&config, &session)).pop().unwrap().body;
    assert_eq!(last, Body::Event(Event::SessionEnded { reason: EndReason::Shutdown }));
}

#[test]
fn both_policies_record_the_same() {
    for fsync in [Fsync::Always, Fsync::Interval(SignedDuration::from_millis(5))] {
        let dir = tempfile::tempdir().unwrap();
        let config = RecordConfig { fsync, segment_bytes: 4096, ..config(dir.path()) };
        let recorder = Recorder::open(&config).unwrap();
        let session = begin(&recorder, 7).unwrap();
        for byte in 0..50 {
            session.data(1, Channel::Stdout, &[byte; 300]).unwrap();
        }
        recorder.shutdown();
        let recording = recording(&config, &session);
        assert_eq!(data(&recording), (0..50).map(|byte| vec![byte; 300]).collect::<Vec<_>>());
        assert_eq!(recording.verify().unwrap().verdict, Verdict::Intact);
        let segments = std::fs::read_dir(recording.dir()).unwrap().map(|entry| entry.unwrap());
        let sizes: Vec<_> = segments.map(|segment| segment.metadata().unwrap().len()).collect();
        assert!(sizes.len() > 4 && sizes.iter().all(|size| *size <= 4096), "{fsync:?}: {sizes:?}");
    }
}

#[test]
fn any_length_of_data_fits_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let config = RecordConfig { segment_bytes: 4096, ..config(dir.path()) };
    let recorder = Recorder::open(&config).unwrap();
    let session = begin(&recorder, 7).unwrap();
    let large: Vec<u8> = (0..(17 << 20) + 3).map(|at| (at / 7) as u8).collect();
    session.data(1, Channel::Body, b"").unwrap();
    session.data(1, Channel::Body, &large).unwrap();
    let huge = Event::Note { text: "x".repeat(17 << 20) };
    assert!(matches!(session.event(&huge), Err(RecordError::TooLarge(_))));
    session.data(1, Channel::Body, b"goes on").unwrap();
    recorder.shutdown();
    let recorded = data(&recording(&config, &session));
    assert_eq!(recorded.len(), 4);
    assert!(recorded.concat() == [&large[..], b"goes on"].concat());
}

#[test]
fn only_the_owner_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let recorder = Recorder::open(&config).unwrap();
    let session = begin(&recorder, 7).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    let recording = recording(&config, &session);
    for dir in [&config.dir, recording.dir().parent().unwrap(), recording.dir()] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
    assert_eq!(mode(&recording.dir().join("00000001.seg")), 0o600);
    drop(recorder);

    std::fs::set_permissions(&config.dir, PermissionsExt::from_mode(0o750)).unwrap();
    let error = Recorder::open(&config).unwrap_err();
    assert!(error.to_string().contains("has mode 0750"), "{error}");
}

#[test]
fn what_another_recorder_left_is_never_touched() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let recorder = Recorder::open(&config).unwrap();
    let session = begin(&recorder, 7).unwrap();
    let torn = recording(&config, &session).dir().join("00000001.seg");
    drop((recorder, session));
    let whole = std::fs::read(&torn).unwrap();
    std::fs::write(&torn, &whole[..whole.len() - 3]).unwrap();

    let recorder = Recorder::open(&config).unwrap();
    let session = begin(&recorder, 7).unwrap();
    session.data(1, Channel::Stdout, b"new").unwrap();
    drop(recorder);
    assert_eq!(std::fs::read(&torn).unwrap(), &whole[..whole.len() - 3]);
    let all = Recordings::new(&config.dir).all().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(recording(&config, &session).verify().unwrap().verdict, Verdict::Intact);
}

#[test]
fn no_session_begins_on_a_nearly_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let recorder = Recorder::open(&RecordConfig { min_free_bytes: u64::MAX, ..config.clone() }).unwrap();
    assert!(matches!(recorder.ready(), Err(RecordError::NearlyFull { .. })));
    assert!(matches!(begin(&recorder, 7), Err(RecordError::NearlyFull { .. })));
    assert!(Recordings::new(&config.dir).all().unwrap().is_empty(), "a refused session left a trace");
}

#[test]
fn a_hundred_sessions_by_eight_threads() {
    const SESSIONS: u32 = 100;
    const THREADS: u32 = 8;
    const ROUNDS: u32 = 20;
    let dir = tempfile::tempdir().unwrap();
    let config = RecordConfig { segment_bytes: 16 * 1024, ..config(dir.path()) };
    let recorder = Recorder::open(&config).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let recorder = &recorder;
            scope.spawn(move || {
                // Every thread opens every session for itself, as connections do.
                let sessions: Vec<_> = (0..SESSIONS).map(|pid| begin(recorder, pid).unwrap()).collect();
                for round in 0..ROUNDS {
                    for (session, pid) in sessions.iter().zip(0..) {
                        let bytes = [pid, thread, round].map(u32::to_be_bytes).concat();
                        session.data(thread, Channel::Body, &bytes).unwrap();
                        session.event(&Event::StreamClosed { request: thread }).unwrap();
                        recorder.tick();
                    }
                }
            });
        }
    });
    recorder.shutdown();

    let recordings = Recordings::new(&config.dir);
    let all = recordings.all().unwrap();
    assert_eq!(all.len(), SESSIONS as usize, "one session for each process");
    assert_eq!(recordings.list(&Filter::default()).unwrap().len(), SESSIONS as usize);
    for recording in all {
        let verification = recording.verify().unwrap();
        assert_eq!(verification.verdict, Verdict::Intact, "{verification:?}");
        assert_eq!(verification.frames, u64::from(THREADS * ROUNDS * 2 + 2));
        let pid = recording.summary().unwrap().start.unwrap().attestation.pid.0;
        let recorded = data(&recording);
        for thread in 0..THREADS {
            // What one thread wrote is there in the order in which it wrote it.
            let expected = (0..ROUNDS).map(|round| [pid, thread, round].map(u32::to_be_bytes).concat());
            let of_thread = recorded.iter().filter(|bytes| bytes[4..8] == thread.to_be_bytes()).cloned();
            assert!(expected.eq(of_thread), "session of pid {pid}, thread {thread}");
        }
    }
}
