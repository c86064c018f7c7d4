//! The service, on both stores.

#![allow(clippy::needless_pass_by_value)] // a test's store is its own

mod deciding;
mod faults;
mod holding;
mod lifecycle;
mod nodes;
mod once;
mod random;
mod revoking;
mod scheduled;

use std::sync::Arc;
use std::time::Duration;

use crate::store::testing::{Place, on_both_stores};
use crate::store::{EventAction, Live};
use crate::testing::*;
use crate::{
    Attempt, Decidable, Decision, Ended, Event, Facts, Hold, HoldId, HoldState, NewHold, Person, Query,
    decide,
};

use super::*;

const PODS: &str = "apiGroups: [''], resources: [pods], verbs: [get]";

/// A bastion.
struct Scene {
    place: Place,
    clock: Arc<TestClock>,
    access: Access,
}

impl From<Place> for Scene {
    /// `pods` needs one approval by leads, `two` needs two, `free` none, `anywhere` covers every target.
    fn from(place: Place) -> Self {
        let clock = TestClock::new();
        let access = access(&place, &clock, Self::roles());
        Self { place, clock, access }
    }
}

impl Scene {
    fn roles() -> RoleSet {
        roles(vec![
            role("pods", &[PODS]),
            role_with("two", &[PODS], "  approval: {required: 2, groups: [leads, sec]}\n"),
            role_with("free", &[PODS], "  approval: {required: 0}\n  maxDuration: 20m\n"),
            role_with("anywhere", &[PODS], "  targets: ['*']\n"),
        ])
    }

    fn reopen(self) -> Self {
        let Self { place, clock, access: old } = self;
        drop(old);
        let access = access(&place, &clock, Self::roles());
        Self { place, clock, access }
    }

    /// One with a store of its own.
    fn another(&self) -> Self {
        self.place.another().into()
    }

    /// Another bastion on the same store.
    fn neighbour(&self) -> Access {
        access(&self.place, &self.clock, Self::roles())
    }

    fn ask(&self, role: &str) -> Request {
        self.access.request(&alice(), &new(role)).unwrap()
    }

    fn granted(&self) -> GrantId {
        self.access.approve(&bob(), &self.ask("pods").id, "").unwrap().grant.unwrap()
    }

    fn may_get_pods(&self) -> bool {
        may_get_pods(&self.access, self.clock.now())
    }

    fn actions(&self) -> Vec<EventAction> {
        self.access.events(0, 100).unwrap().into_iter().map(|event| event.action).collect()
    }
}

fn may_get_pods(access: &Access, now: Timestamp) -> bool {
    let operation = op("get pods web -n prod");
    let query = Query { subject: &alice(), target: "demo", operation: &operation, facts: Facts::NONE };
    matches!(decide(&access.snapshot(), &query, now), Decision::Allow(_))
}

fn new(role: &str) -> NewRequest {
    NewRequest {
        role: role.parse().unwrap(),
        target: None,
        duration: minutes(15),
        starts_at: None,
        reason: "incident 7".into(),
        denied: None,
        emergency: false,
    }
}

fn alice() -> Subject {
    person("alice", &["dev"])
}

fn bob() -> Subject {
    person("bob", &["leads", "dev"])
}

fn carol() -> Subject {
    person("carol", &["sec"])
}

fn said<T: std::fmt::Debug>(result: Result<T, AccessError>) -> String {
    result.unwrap_err().to_string()
}
