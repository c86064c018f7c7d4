//! Denials remembered for a while, so that a short id asks for exactly what was denied.
//!
//! They live in memory alone: whoever was denied can run the command again. The same denial said again keeps its
//! id, so a client's retries, and kubectl's second try of an exec over SPDY, are one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::Subject;
use serde::{Deserialize, Serialize};

use crate::state::before;
use crate::{AccessError, DenialId, Denied, Operation, Person, Query, RoleName};

/// How long a denial can be asked from.
const KEPT: Duration = Duration::from_secs(3600);
/// Denials remembered of one person; their oldest makes room.
const PER_PERSON: usize = 32;
/// Denials remembered in all; the oldest makes room.
const IN_ALL: usize = 4096;
/// Bytes of an operation's words. Kubernetes names have at most 253; what is longer is asked for by role.
const LONGEST_OPERATION: usize = 2048;
/// Characters of a command line that an approver is shown.
const LONGEST_COMMAND: usize = 1000;

/// What was tried and denied, as the approver of a request sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attempt {
    /// The denial.
    pub id: DenialId,
    /// When it was denied, the last time.
    pub at: Timestamp,
    /// What was denied, as the API server would have read it.
    pub operation: Operation,
    /// The client's command line with secrets redacted. The client itself wrote it: it explains and proves nothing.
    pub command: Vec<String>,
}

/// A denial, and the request that would help against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Who was denied; nobody else can ask from it.
    pub subject: Person,
    /// The target.
    pub target: String,
    /// The narrowest role that this person may ask for and that would have allowed it.
    pub role: RoleName,
    /// How long to ask for it.
    pub duration: Duration,
    /// What was denied.
    pub attempt: Attempt,
}

/// The denials of the last hour, the oldest first.
#[derive(Debug, Default)]
pub struct Denials(Mutex<VecDeque<Denial>>);

impl Denials {
    /// Remembers that `query` was `denied` to a client with this command line. `None` where asking would not
    /// help, or where what was asked is of no sensible size.
    pub fn remember(
        &self,
        query: &Query<'_>,
        denied: &Denied,
        command: &[String],
        now: Timestamp,
    ) -> Option<DenialId> {
        let (role, duration) = denied.way_out()?;
        if size(query.operation) > LONGEST_OPERATION {
            return None;
        }
        let mut kept = self.lock();
        forget(&mut kept, now);
        let same = |denial: &Denial, command: &[String]| {
            denial.subject.is(query.subject)
                && denial.target == query.target
                && denial.role == *role
                && denial.duration == duration
                && denial.attempt.operation == *query.operation
                && denial.attempt.command == command
        };
        let command = shortened(command);
        let denial = match kept.iter().position(|denial| same(denial, &command)) {
            Some(again) => kept.remove(again)?,
            None => {
                make_room(&mut kept, query.subject);
                Denial {
                    subject: Person::from(query.subject),
                    target: query.target.to_owned(),
                    role: role.clone(),
                    duration,
                    attempt: Attempt {
                        id: unused(&kept),
                        at: now,
                        operation: query.operation.clone(),
                        command,
                    },
                }
            }
        };
        let id = denial.attempt.id.clone();
        kept.push_back(Denial { attempt: Attempt { at: now, ..denial.attempt }, ..denial });
        Some(id)
    }

    /// The denial `id`, for the person who was denied.
    ///
    /// # Errors
    /// [`AccessError::NoSuchDenial`], the same for one that never was, is forgotten, or is somebody else's.
    pub fn find(&self, subject: &Subject, id: &DenialId, now: Timestamp) -> Result<Denial, AccessError> {
        let mut kept = self.lock();
        forget(&mut kept, now);
        let found = kept.iter().find(|denial| denial.attempt.id == *id && denial.subject.is(subject));
        found.cloned().ok_or_else(|| AccessError::NoSuchDenial { id: id.clone(), kept: KEPT })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Denial>> {
        // Whatever panicked left whole denials behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(kept: &mut VecDeque<Denial>, now: Timestamp) {
    let oldest = before(now, KEPT);
    while kept.pop_front_if(|denial| denial.attempt.at <= oldest).is_some() {}
}

/// Nobody can crowd out others before all of a long list of people conspire.
fn make_room(kept: &mut VecDeque<Denial>, subject: &Subject) {
    let mut of_person = kept.iter().enumerate().filter(|(_, denial)| denial.subject.is(subject));
    let oldest = of_person.next().map(|(index, _)| index);
    match oldest {
        Some(oldest) if of_person.count() + 1 >= PER_PERSON => drop(kept.remove(oldest)),
        _ if kept.len() >= IN_ALL => drop(kept.pop_front()),
        _ => {}
    }
}

/// Sixteen million ids for four thousand denials: a second draw is rare, a third all but unheard of.
fn unused(kept: &VecDeque<Denial>) -> DenialId {
    loop {
        let id = DenialId::random();
        if kept.iter().all(|denial| denial.attempt.id != id) {
            return id;
        }
    }
}

fn size(operation: &Operation) -> usize {
    match operation {
        Operation::NonResource { verb, path } => verb.len() + path.len(),
        Operation::Mcp { method, item: _, name } => method.len() + name.len(),
        Operation::Resource { verb, api_group, api_version, resource, subresource, namespace, name } => {
            [verb, api_group, api_version, resource, subresource, namespace, name]
                .iter()
                .map(|word| word.len())
                .sum()
        }
    }
}

/// The command line up to [`LONGEST_COMMAND`] characters, with `…` for the rest.
pub(crate) fn shortened(command: &[String]) -> Vec<String> {
    let mut left = LONGEST_COMMAND;
    let mut short = Vec::new();
    for word in command {
        let length = word.chars().count() + 1;
        if length > left {
            let mut cut: String = word.chars().take(left).collect();
            cut.push('…');
            short.push(cut);
            break;
        }
        left -= length;
        short.push(word.clone());
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use crate::{Decision, Facts, Snapshot, decide};

    const PODS: &str = "apiGroups: [''], resources: [pods], verbs: ['*']";

    fn nothing_granted() -> Snapshot {
        snapshot(roles(vec![role("pods", &[PODS])]), &[])
    }

    fn command() -> Vec<String> {
        ["kubectl", "get", "pods"].map(String::from).into()
    }

    fn deny(denials: &Denials, who: &Subject, operation: &str, now: Timestamp) -> Option<DenialId> {
        let snapshot = nothing_granted();
        snapshot.confirm(now);
        let query = Query { subject: who, target: "demo", operation: &op(operation), facts: Facts::NONE };
        let Decision::Deny(denied) = decide(&snapshot, &query, now) else { panic!("allowed") };
        denials.remember(&query, &denied, &command(), now)
    }

    fn alice() -> Subject {
        person("alice", &["dev"])
    }

    #[test]
    fn what_was_denied_is_found_by_whom_it_was_denied() {
        let denials = Denials::default();
        let id = deny(&denials, &alice(), "get pods web -n prod", start()).unwrap();
        let found = denials.find(&alice(), &id, start()).unwrap();
        assert_eq!(
            (found.role.as_str(), found.target.as_str(), found.duration),
            ("pods", "demo", minutes(30))
        );
        assert_eq!((found.attempt.operation, found.attempt.command), (op("get pods web -n prod"), command()));
        let error = denials.find(&person("bob", &["dev"]), &id, start()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("no denial {id} of yours is remembered")), "{error}");
        assert!(error.contains("portcullis request --role ROLE"), "{error}");
    }

    #[test]
    fn the_same_denial_keeps_its_id_and_its_place() {
        let denials = Denials::default();
        let id = deny(&denials, &alice(), "get pods web", start());
        assert_ne!(deny(&denials, &alice(), "get pods db", start()), id);
        assert_ne!(deny(&denials, &person("bob", &["dev"]), "get pods web", start()), id);
        assert_eq!(deny(&denials, &alice(), "get pods web", start() + minutes(59)), id);
        let found = denials.find(&alice(), &id.unwrap(), start() + minutes(118)).unwrap();
        assert_eq!(found.attempt.at, start() + minutes(59));
    }

    #[test]
    fn denials_are_forgotten() {
        let denials = Denials::default();
        let id = deny(&denials, &alice(), "get pods web", start()).unwrap();
        assert!(denials.find(&alice(), &id, start() + minutes(59)).is_ok());
        assert!(denials.find(&alice(), &id, start() + minutes(60)).is_err());
        assert!(denials.lock().is_empty());
    }

    #[test]
    fn one_person_crowds_out_only_themselves() {
        let denials = Denials::default();
        let others = deny(&denials, &person("bob", &["dev"]), "get pods web", start()).unwrap();
        let ids: Vec<DenialId> =
            (0..100).filter_map(|n| deny(&denials, &alice(), &format!("get pods p{n}"), start())).collect();
        assert_eq!(denials.lock().len(), PER_PERSON + 1);
        assert!(denials.find(&person("bob", &["dev"]), &others, start()).is_ok());
        assert!(denials.find(&alice(), &ids[99 - PER_PERSON], start()).is_err());
        assert!(ids[100 - PER_PERSON..].iter().all(|id| denials.find(&alice(), id, start()).is_ok()));
    }

    #[test]
    fn what_cannot_be_asked_for_gets_no_id() {
        let denials = Denials::default();
        assert_eq!(deny(&denials, &person("eve", &[]), "get pods web", start()), None);
        assert_eq!(deny(&denials, &alice(), "get nodes", start()), None);
        let long = "x".repeat(LONGEST_OPERATION);
        assert_eq!(deny(&denials, &alice(), &format!("get pods {long}"), start()), None);
        assert!(denials.lock().is_empty());
    }

    #[test]
    fn long_command_lines_are_cut() {
        assert_eq!(shortened(&command()), command());
        let long = vec!["kubectl".to_owned(), "ä".repeat(5000), "more".to_owned()];
        let short = shortened(&long);
        assert_eq!(short.len(), 2);
        assert_eq!(short[1].chars().count(), LONGEST_COMMAND - "kubectl ".len() + 1);
        assert!(short[1].ends_with('…'));
    }
}
