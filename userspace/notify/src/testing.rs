//! What tests tell and decide.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_access::Person;

use crate::matter::{EventKind, Happening, Matter};

/// 2026-01-01T00:00:00Z.
pub(crate) fn start() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

pub(crate) fn person(name: &str) -> Person {
    Person { issuer: "unix".into(), id: format!("id-of-{name}"), name: name.into() }
}

pub(crate) fn matter(id: &str) -> Matter {
    Matter {
        id: id.into(),
        who: person("alice"),
        role: "pod-admin".into(),
        target: "demo".into(),
        reason: Some("INC-7: web is stuck".into()),
        operation: Some("delete pods \"web\" in namespace \"prod\"".into()),
        command: ["kubectl", "delete", "pod", "web"].map(str::to_owned).into(),
        diff: None,
        duration: Some(Duration::from_secs(1800)),
        deadline: Some(start() + Duration::from_secs(3600)),
        over: None,
        approver_groups: BTreeSet::new(),
    }
}

pub(crate) fn happening(kind: EventKind, matter: Matter) -> Happening {
    Happening { seq: 7, at: start(), kind, by: Some(person("alice")), comment: None, matter }
}
