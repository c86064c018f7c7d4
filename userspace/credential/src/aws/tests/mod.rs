//! Role sessions and tokens against the strict STS, and discovery against moto, by a clock that the tests turn.

mod discover;
mod eks;
mod sigv4;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use jiff::{SignedDuration, Timestamp};
use portcullis_identity::{Method, Subject};

use crate::{EksConfig, EksEndpoints, OnBehalf, clock::WallClock};

const ROLE: &str = "arn:aws:iam::111122223333:role/team/portcullis";
const BASTION: &str = "arn:aws:iam::111122223333:user/bastion";
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

#[derive(Clone)]
struct Turned(Arc<Mutex<Timestamp>>);

impl Turned {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Timestamp::from_second(Timestamp::now().as_second()).unwrap())))
    }

    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn pass(&self, by: SignedDuration) {
        *self.0.lock().unwrap() += by;
    }

    fn clock(&self) -> WallClock {
        let turned = self.clone();
        Arc::new(move || turned.now())
    }
}

fn base() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new("AKIDBASTION", "bastion/secret", None, None, "test"))
}

fn config(ca: PathBuf) -> EksConfig {
    EksConfig {
        cluster: "demo".into(),
        region: "eu-central-1".into(),
        role_arn: ROLE.into(),
        external_id: Some("agreed:1".into()),
        session_policy_file: None,
        session_policy_arns: Vec::new(),
        source_identity: true,
        endpoints: EksEndpoints::default(),
        certificate_authority: Some(ca),
    }
}

fn person(issuer: &str, id: &str, name: &str) -> Subject {
    Subject {
        issuer: issuer.into(),
        id: id.into(),
        name: name.into(),
        groups: BTreeSet::new(),
        method: Method::Unix,
        account: None,
    }
}

/// On behalf of somebody with a grant of role `pod-admin`.
fn on_behalf<'a>(subject: &'a Subject, grant: &'a str, expires: Timestamp) -> OnBehalf<'a> {
    OnBehalf {
        subject,
        role: "pod-admin",
        grant: Some(grant),
        expires: Some(expires),
        session: "s-1",
        aws_role: None,
        service_account: None,
    }
}
