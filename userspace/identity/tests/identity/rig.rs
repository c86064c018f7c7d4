//! What every test needs: a clock, a host with two people, attested processes, and a configuration read from YAML.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use portcullis_identity::*;

pub(crate) const ALICE: Uid = Uid(1001);
pub(crate) const BOB: Uid = Uid(1002);
pub(crate) const CLUSTER: &str = "prod-eu";

#[derive(Clone)]
pub(crate) struct TestClock(Arc<Mutex<Timestamp>>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new("2026-11-25T12:00:00Z".parse().unwrap())))
    }

    pub(crate) fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    pub(crate) fn pass(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    pub(crate) fn clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// Knows alice and bob.
struct Host;

impl Accounts for Host {
    fn account(&self, uid: Uid) -> Result<Option<Account>, IdentityError> {
        let name = match uid {
            ALICE => "alice",
            BOB => "bob",
            Uid::ROOT => "root",
            _ => return Ok(None),
        };
        Ok(Some(Account { name: name.into(), groups: BTreeSet::from(["staff".to_owned()]) }))
    }
}

pub(crate) fn unix() -> Arc<UnixSource> {
    Arc::new(UnixSource::new(UnixConfig::default(), Arc::new(Host)).unwrap())
}

pub(crate) fn try_build(yaml: &str, clock: &TestClock) -> Result<Identities, IdentityError> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let config: IdentityConfig =
        serde_saphyr::from_str(yaml).map_err(|error| IdentityError::Config(error.to_string()))?;
    Identities::build(unix(), &config, clock.clock())
}

pub(crate) fn build(yaml: &str, clock: &TestClock) -> Identities {
    try_build(yaml, clock).unwrap()
}

pub(crate) fn process(session: Option<u32>) -> Process {
    Process {
        start_time: 1,
        exe: PathBuf::from("/usr/bin/kubectl"),
        argv: vec![],
        loginuid: None,
        session_id: session,
        tty: None,
        cwd: None,
    }
}

pub(crate) fn attestation(uid: Uid, session: Option<u32>) -> Attestation {
    Attestation {
        uid,
        gid: Gid(uid.0),
        pid: Pid(7),
        cgroup: CgroupId(1),
        netns: NetnsCookie(1),
        comm: "kubectl".into(),
        original_dst: OriginalDst("10.0.0.1:443".parse().unwrap()),
        peer: "10.0.0.2:50000".parse().unwrap(),
        process: process(session),
    }
}

pub(crate) fn accepted(acceptance: &str) -> Accepted {
    Accepted {
        acceptance: serde_saphyr::from_str(acceptance).unwrap(),
        eks_cluster: Some(CLUSTER.to_owned()),
        ..Accepted::default()
    }
}

/// Who `uid` is with `token` where `acceptance` is accepted.
pub(crate) async fn identify(
    identities: &Identities,
    uid: Uid,
    token: Option<&str>,
    acceptance: &str,
) -> Result<Identified, IdentityError> {
    let accepted = accepted(acceptance);
    identities.check(&accepted).unwrap();
    identities.identify(&attestation(uid, Some(3)), &Presented { bearer: token }, &accepted).await
}
