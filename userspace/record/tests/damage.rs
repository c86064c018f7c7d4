//! Whatever happens to the bytes of a recording, a reader gets what is whole, nothing else, and says so.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use common::{begin, config, entries, recording};
use portcullis_record::{
    Body, Channel, DamageKind, Entry, Event, Found, RecordConfig, Recorder, Recording, Recordings, Verdict,
};
use proptest::prelude::*;

/// A recording of several segments, as bytes, and what is in it.
struct Original {
    /// `<day>/<session id>`
    path: PathBuf,
    segments: Vec<(String, Vec<u8>)>,
    entries: Vec<Entry>,
}

static ORIGINAL: LazyLock<Original> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let config = RecordConfig { segment_bytes: 4096, ..config(dir.path()) };
    let recorder = Recorder::open(&config).unwrap();
    let session = begin(&recorder, 7).unwrap();
    for request in 1..40 {
        session.event(&Event::Resize { request, width: 80, height: 24 }).unwrap();
        session.data(request, Channel::Stdout, &vec![request as u8; request as usize * 13]).unwrap();
    }
    recorder.shutdown();
    let recording = recording(&config, &session);
    assert_eq!(recording.verify().unwrap().verdict, Verdict::Intact);
    let mut segments: Vec<_> = std::fs::read_dir(recording.dir())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    segments.sort();
    assert!(segments.len() > 2);
    Original {
        path: recording.dir().strip_prefix(&config.dir).unwrap().to_owned(),
        segments,
        entries: entries(&recording),
    }
});

impl Original {
    /// A copy in `dir`, changed by `change`.
    fn copy(&self, dir: &Path, change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Recording {
        let mut segments = self.segments.clone();
        change(&mut segments);
        let session = dir.join(&self.path);
        std::fs::create_dir_all(&session).unwrap();
        for (name, bytes) in segments {
            std::fs::write(session.join(name), bytes).unwrap();
        }
        Recordings::new(dir).find("s-").unwrap()
    }

    fn length(&self) -> usize {
        self.segments.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))] // each waits for the disk

    #[test]
    fn events_and_data_round_trip(
        frames in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..600), any::<bool>()), 1..30)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let config = RecordConfig { segment_bytes: 4096, ..config(dir.path()) };
        let recorder = Recorder::open(&config).unwrap();
        let session = begin(&recorder, 7).unwrap();
        let mut expected = Vec::new();
        for (request, bytes, is_event) in frames {
            expected.push(if is_event {
                let event = Event::Cut { request, reason: String::from_utf8_lossy(&bytes).into_owned() };
                session.event(&event).unwrap();
                Body::Event(event)
            } else {
                session.data(request, Channel::Stdin, &bytes).unwrap();
                Body::Data { request, channel: Channel::Stdin, bytes }
            });
        }
        let recorded: Vec<_> = entries(&recording(&config, &session)).into_iter().skip(1).map(|e| e.body).collect();
        prop_assert_eq!(recorded, expected);
    }
}

proptest! {
    #[test]
    fn any_truncation_leaves_a_prefix(cut in 0..ORIGINAL.length()) {
        let dir = tempfile::tempdir().unwrap();
        // The end is lost from `cut` on, over all segments.
        let recording = ORIGINAL.copy(dir.path(), |segments| {
            let mut left = cut;
            segments.retain_mut(|(_, bytes)| {
                let keep = left > 0;
                bytes.truncate(left);
                left -= bytes.len();
                keep
            });
        });
        let found = entries(&recording);
        prop_assert_eq!(&found[..], &ORIGINAL.entries[..found.len()]);
        let verification = recording.verify().unwrap();
        let expected = if cut == 0 { Verdict::Damaged } else { Verdict::Incomplete };
        prop_assert_eq!(verification.verdict, expected, "{:?}", verification.damage);
        prop_assert!(verification.damage.len() <= 1, "{:?}", verification.damage);
    }

    #[test]
    fn any_flipped_byte_is_seen(at in 0..ORIGINAL.length(), flip in 1..=255u8) {
        let dir = tempfile::tempdir().unwrap();
        let recording = ORIGINAL.copy(dir.path(), |segments| {
            *segments.iter_mut().flat_map(|(_, bytes)| bytes).nth(at).unwrap() ^= flip;
        });
        prop_assert_eq!(recording.verify().unwrap().verdict, Verdict::Damaged);
        for entry in entries(&recording) {
            prop_assert!(ORIGINAL.entries.contains(&entry), "{entry:?} was never written");
        }
    }
}

fn judge(change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> (Verdict, Vec<DamageKind>) {
    let dir = tempfile::tempdir().unwrap();
    let verification = ORIGINAL.copy(dir.path(), change).verify().unwrap();
    (verification.verdict, verification.damage.into_iter().map(|damage| damage.kind).collect())
}

#[test]
fn a_damaged_payload_costs_one_frame() {
    let dir = tempfile::tempdir().unwrap();
    let recording = ORIGINAL.copy(dir.path(), |segments| segments[0].1[64 + 32] ^= 1);
    assert_eq!(entries(&recording), &ORIGINAL.entries[1..]);
    let damage: Vec<_> = recording
        .entries()
        .unwrap()
        .filter_map(|found| match found.unwrap() {
            Found::Damage(damage) => Some(damage.to_string()),
            Found::Entry(_) => None,
        })
        .collect();
    assert_eq!(damage, ["segment 1, byte 64: the contents of frame 0 are damaged"]);
    assert!(recording.summary().unwrap().damaged);
}

#[test]
fn a_missing_segment_is_seen() {
    let (verdict, damage) = judge(|segments| drop(segments.remove(1)));
    assert_eq!(verdict, Verdict::Damaged);
    assert!(matches!(damage[..], [DamageKind::Missing, DamageKind::Sequence { .. }]), "{damage:?}");
}

#[test]
fn a_segment_in_another_place_is_seen() {
    let (verdict, damage) = judge(|segments| {
        let (first, second) = (segments[0].1.clone(), segments[1].1.clone());
        (segments[0].1, segments[1].1) = (second, first);
    });
    assert_eq!(verdict, Verdict::Damaged);
    assert!(matches!(damage[..2], [DamageKind::Foreign { .. }, DamageKind::Foreign { .. }]), "{damage:?}");
}

#[test]
fn frames_that_come_twice_are_seen() {
    let (verdict, damage) = judge(|segments| {
        let (_, bytes) = segments.last_mut().unwrap();
        let again = bytes[64..].to_vec();
        bytes.extend(again);
    });
    assert_eq!(verdict, Verdict::Damaged);
    assert!(matches!(damage[..], [DamageKind::Sequence { .. }, DamageKind::Time { .. }]), "{damage:?}");
}

#[test]
fn what_follows_the_end_is_seen() {
    let (verdict, damage) = judge(|segments| segments.last_mut().unwrap().1.extend([0; 5]));
    assert_eq!((verdict, damage), (Verdict::Damaged, vec![DamageKind::TornTail { bytes: 5 }]));
    // What a file system may leave after a crash.
    let (verdict, damage) = judge(|segments| segments.last_mut().unwrap().1.extend([0; 4096]));
    assert_eq!((verdict, damage), (Verdict::Damaged, vec![DamageKind::Frame { bytes: 4096 }]));
}
