//! People, processes and a clock to record with.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::{
    Attestation, CgroupId, Gid, Method, NetnsCookie, OriginalDst, Pid, Process, Subject, Uid,
};
use portcullis_record::{
    Body, Clock, Entry, Found, RecordConfig, RecordError, Recorder, Recording, Recordings, SessionHandle,
    SessionStart,
};

/// A clock that stands until it is moved.
pub(crate) struct ManualClock(Mutex<Duration>);

impl ManualClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-11-23T17:01:02Z".parse().unwrap();
        start + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

pub(crate) fn person(name: &str) -> Subject {
    Subject {
        issuer: "unix".to_owned(),
        id: "1001".to_owned(),
        name: name.to_owned(),
        groups: ["dev", "ops"].map(str::to_owned).into(),
        method: Method::Unix,
        account: None,
    }
}

pub(crate) fn process(pid: u32) -> Attestation {
    Attestation {
        uid: Uid(1001),
        gid: Gid(1001),
        pid: Pid(pid),
        cgroup: CgroupId(77),
        netns: NetnsCookie(1),
        comm: "kubectl".to_owned(),
        original_dst: OriginalDst("10.0.0.1:443".parse().unwrap()),
        peer: "10.0.0.9:40000".parse().unwrap(),
        process: Process {
            start_time: 4711,
            exe: "/usr/bin/kubectl".into(),
            argv: ["kubectl", "exec", "-it", "web-0", "--", "sh"].map(str::to_owned).into(),
            loginuid: Some(Uid(1001)),
            session_id: None,
            tty: Some("pts/3".to_owned()),
            cwd: None,
        },
    }
}

pub(crate) fn config(dir: &Path) -> RecordConfig {
    RecordConfig { min_free_bytes: 0, ..RecordConfig::new(dir.join("recordings")) }
}

pub(crate) fn begin(recorder: &Recorder, pid: u32) -> Result<SessionHandle, RecordError> {
    recorder.session(SessionStart { subject: &person("alice"), attestation: &process(pid), target: "prod" })
}

/// The recording of a session.
pub(crate) fn recording(config: &RecordConfig, session: &SessionHandle) -> Recording {
    Recordings::new(&config.dir).find(session.id().as_str()).unwrap()
}

/// All whole frames.
pub(crate) fn entries(recording: &Recording) -> Vec<Entry> {
    recording
        .entries()
        .unwrap()
        .filter_map(|found| match found.unwrap() {
            Found::Entry(entry) => Some(entry),
            Found::Damage(_) => None,
        })
        .collect()
}

/// The bytes of all data frames, one by one.
pub(crate) fn data(recording: &Recording) -> Vec<Vec<u8>> {
    let bytes = |entry: Entry| match entry.body {
        Body::Data { bytes, .. } => Some(bytes),
        _ => None,
    };
    entries(recording).into_iter().filter_map(bytes).collect()
}
