//! The disk fills up, turns read-only, or the recorder is killed: nothing that was acknowledged is lost, and nothing
//! more is acknowledged.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{ManualClock, begin, config, data, entries, recording};
use jiff::SignedDuration;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use portcullis_record::{
    Channel, Event, Fsync, RecordConfig, RecordError, Recorder, Recordings, State, Verdict,
};

/// Runs `test` with a small tmpfs of its own at `dir`, which no other thread sees and which goes with this thread.
/// Mounting takes root.
fn on_tmpfs(test: fn(&Path)) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: cannot mount a file system to fill, test skipped");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .unwrap();
            let options = Some("size=1m,mode=0700");
            mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), options).unwrap();
            test(dir.path());
        });
    });
}

/// The I/O error at the root of a refusal.
fn cause(error: &RecordError) -> Option<ErrorKind> {
    match error {
        RecordError::Io { cause, .. } => Some(cause.kind()),
        RecordError::Poisoned { cause, .. } | RecordError::Blocked(cause) => self::cause(cause),
        _ => None,
    }
}

#[test]
fn a_full_disk_stops_everything_until_there_is_room() {
    on_tmpfs(|dir| {
        let config = config(dir);
        let clock = ManualClock::new();
        let recorder = Recorder::with_clock(&config, clock.clone()).unwrap();
        let session = begin(&recorder, 7).unwrap();
        let other = begin(&recorder, 8).unwrap();
        // What else is on the disk.
        let filler = dir.join("filler");
        std::fs::write(&filler, vec![0; 512 * 1024]).unwrap();

        let mut acknowledged = Vec::new();
        let error = loop {
            let bytes = vec![acknowledged.len() as u8; 1000];
            match session.data(1, Channel::Stdout, &bytes) {
                Ok(()) => acknowledged.push(bytes),
                Err(error) => break error,
            }
        };
        assert!(acknowledged.len() > 100);
        assert_eq!(cause(&error), Some(ErrorKind::StorageFull), "{error}");
        assert!(error.to_string().contains("No space left on device"), "{error}");
        assert!(error.to_string().contains("00000001.seg"), "{error}");

        // This session is over, and no new one begins.
        assert!(matches!(session.data(1, Channel::Stdout, b""), Err(RecordError::Poisoned { .. })));
        assert!(matches!(
            session.event(&Event::Note { text: String::new() }),
            Err(RecordError::Poisoned { .. })
        ));
        assert!(matches!(recorder.ready(), Err(RecordError::Blocked(_))));
        assert!(matches!(begin(&recorder, 9), Err(RecordError::Blocked(_))));
        assert!(matches!(begin(&recorder, 7), Err(RecordError::Blocked(_))));
        clock.advance(Duration::from_secs(5));
        assert_eq!(
            cause(&recorder.ready().unwrap_err()),
            Some(ErrorKind::StorageFull),
            "the probe failed as well"
        );

        // With room again, new sessions begin; the one that failed stays as it is.
        std::fs::remove_file(&filler).unwrap();
        assert!(matches!(recorder.ready(), Err(RecordError::Blocked(_))), "probed again at once");
        clock.advance(Duration::from_secs(1));
        recorder.ready().unwrap();
        let next = begin(&recorder, 7).unwrap();
        assert_ne!(next.id(), session.id());
        next.data(1, Channel::Stdout, b"again").unwrap();
        other.data(1, Channel::Stdout, b"never failed").unwrap();
        assert!(matches!(session.data(1, Channel::Stdout, b""), Err(RecordError::Poisoned { .. })));
        recorder.shutdown();

        let failed = recording(&config, &session);
        assert_eq!(data(&failed), acknowledged);
        assert_eq!(failed.verify().unwrap().verdict, Verdict::Incomplete);
        assert_eq!(failed.summary().unwrap().state, State::Incomplete);
        for whole in [&next, &other] {
            assert_eq!(recording(&config, whole).verify().unwrap().verdict, Verdict::Intact);
        }
    });
}

#[test]
fn a_full_disk_stops_the_next_segment_too() {
    on_tmpfs(|dir| {
        let config = RecordConfig { segment_bytes: 4096, fsync: Fsync::Always, ..config(dir) };
        let recorder = Recorder::open(&config).unwrap();
        let session = begin(&recorder, 7).unwrap();
        let mut acknowledged = Vec::new();
        while session.data(1, Channel::Stdout, &[acknowledged.len() as u8; 1500]).is_ok() {
            acknowledged.push(vec![acknowledged.len() as u8; 1500]);
        }
        drop(recorder);
        assert_eq!(data(&recording(&config, &session)), acknowledged);
        assert_eq!(recording(&config, &session).verify().unwrap().verdict, Verdict::Incomplete);
    });
}

#[test]
fn a_read_only_disk_stops_everything() {
    on_tmpfs(|dir| {
        let config = config(dir);
        let recorder = Recorder::open(&config).unwrap();
        recorder.ready().unwrap();
        let remount = |flags| {
            mount(None::<&str>, dir, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>).unwrap();
        };
        remount(MsFlags::MS_RDONLY);
        let error = begin(&recorder, 7).unwrap_err();
        assert_eq!(cause(&error), Some(ErrorKind::ReadOnlyFilesystem), "{error}");
        assert!(matches!(recorder.ready(), Err(RecordError::Blocked(_))));

        // A recorder that starts on it says the same rather than not starting.
        drop(recorder);
        let clock = ManualClock::new();
        let recorder = Recorder::with_clock(&config, clock.clone()).unwrap();
        assert_eq!(cause(&recorder.ready().unwrap_err()), Some(ErrorKind::ReadOnlyFilesystem));
        remount(MsFlags::empty());
        clock.advance(Duration::from_secs(1));
        recorder.ready().unwrap();
        begin(&recorder, 7).unwrap();
    });
}

const DIR: &str = "PORTCULLIS_TEST_RECORD_DIR";
const WRITERS: u32 = 3;

/// Not a test: what the next one kills. Records counters, and notes each in `acknowledged` once it is recorded.
#[test]
#[ignore = "runs until it is killed; started by the test below"]
fn writer_to_be_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let config = RecordConfig {
        segment_bytes: 64 * 1024,
        fsync: Fsync::Interval(SignedDuration::from_millis(20)),
        ..config(dir.as_ref())
    };
    let recorder = Recorder::open(&config).unwrap();
    let acknowledged =
        OpenOptions::new().append(true).create(true).open(Path::new(&dir).join("acknowledged")).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            // The first two write to the same session.
            let session = begin(&recorder, writer.max(1)).unwrap();
            let mut acknowledged = &acknowledged;
            scope.spawn(move || {
                for counter in 0_u32.. {
                    let entry = [writer.to_le_bytes(), counter.to_le_bytes()].concat();
                    let bytes = entry.repeat(1 + counter as usize % 700);
                    session.data(writer, Channel::Body, &bytes).unwrap();
                    acknowledged.write_all(&entry).unwrap();
                }
            });
        }
    });
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    for round in 1..=8 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "writer_to_be_killed", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let acknowledged = dir.path().join("acknowledged");
        // On a busy machine one writer may have filled the file before another began.
        let everybody_wrote = |entries: Vec<u8>| {
            let writers: BTreeSet<&[u8]> = entries.chunks_exact(8).map(|entry| &entry[..4]).collect();
            entries.len() >= round * 10_007 && writers.len() == WRITERS as usize
        };
        while !std::fs::read(&acknowledged).is_ok_and(everybody_wrote) {
            assert_eq!(child.try_wait().unwrap(), None, "the writer failed");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let number = |bytes: &[u8], at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut next = BTreeMap::new();
        for recording in Recordings::new(config(dir.path()).dir).all().unwrap() {
            let verification = recording.verify().unwrap();
            assert_eq!(verification.verdict, Verdict::Incomplete, "{:?}", verification.damage);
            for bytes in data(&recording) {
                let (writer, counter) = (number(&bytes, 0), number(&bytes, 4));
                assert_eq!(bytes, bytes[..8].repeat(1 + counter as usize % 700));
                let next = next.entry(writer).or_insert(0);
                assert_eq!(counter, *next, "of writer {writer}");
                *next += 1;
            }
            assert!(entries(&recording).is_sorted_by_key(|entry| (entry.seq, entry.offset_us)));
        }
        assert_eq!(next.len(), WRITERS as usize);
        for entry in std::fs::read(&acknowledged).unwrap().chunks_exact(8) {
            let (writer, counter) = (number(entry, 0), number(entry, 4));
            assert!(
                counter < next[&writer],
                "entry {counter} of writer {writer} was acknowledged and is lost"
            );
        }
    }
}
