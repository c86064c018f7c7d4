//! What notifications need of access: the trail as things to tell, and a way to take an approver's word.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_access::{Access, AccessError, Decidable, Decided, Event, EventAction};
use portcullis_identity::Identities;
use portcullis_notify::{Decider, EventKind, Happening, Matter, Outbox, Page, Verdict, Word};

/// Requests, holds and the trail, as approvers and webhooks see them.
pub(super) struct Telling {
    access: Arc<Access>,
    identities: Arc<Identities>,
}

impl Telling {
    pub(super) fn new(access: Arc<Access>, identities: Arc<Identities>) -> Self {
        Self { access, identities }
    }

    /// With the groups whose members can decide it, where its role still says so.
    fn matter(&self, decided: &Decided) -> Matter {
        match decided {
            Decided::Hold(hold) => Matter::from(&**hold),
            Decided::Request(request) => {
                let snapshot = self.access.snapshot();
                let role = snapshot.roles().get(&request.role);
                let approver_groups = role.map(|role| role.approval.groups.clone());
                Matter {
                    approver_groups: approver_groups.unwrap_or_default(), // not known: everybody is told
                    ..Matter::from(&**request)
                }
            }
        }
    }

    fn find(&self, what: &Decidable) -> Result<Decided, AccessError> {
        Ok(match what {
            Decidable::Request(id) => Decided::Request(Box::new(self.access.find_request(id)?)),
            Decidable::Hold(id) => Decided::Hold(Box::new(self.access.find_hold(id)?)),
        })
    }

    /// What an event of the trail was about; nothing for what nobody needs to be told.
    fn happening(&self, event: Event) -> Result<Option<Happening>, AccessError> {
        let Some(kind) = kind(event.action) else { return Ok(None) };
        let what = match (&event.hold, &event.request) {
            (Some(hold), _) => Decidable::Hold(hold.clone()),
            (None, Some(request)) => Decidable::Request(request.clone()),
            (None, None) => return Ok(None),
        };
        let mut matter = self.matter(&self.find(&what)?);
        // A revocation is about the grant, and what revokes it again is its id.
        if let (EventKind::Granted | EventKind::Extended | EventKind::Revoked, Some(grant)) =
            (kind, &event.grant)
        {
            matter.id = grant.to_string();
        }
        let Event { seq, at, by, comment, .. } = event;
        Ok(Some(Happening { seq, at, kind, by, comment, matter }))
    }
}

impl Decider for Telling {
    fn decide_once(&self, word: &Word<'_>) -> Result<String, String> {
        let Word { by, what, verdict, comment, token_id, expires } = *word;
        let person = self.identities.person(by.clone());
        let decided = match verdict {
            Verdict::Approve => self.access.approve_once(&person, what, comment, token_id, expires),
            Verdict::Deny => self.access.deny_once(&person, what, comment, token_id, expires),
        };
        let decided = decided.map_err(|error| error.to_string())?;
        tracing::info!(subject = %person, %what, ?verdict, "decided by a link or a message");
        Ok(match &decided {
            Decided::Request(request) => {
                format!("{} of {} is {}.", request.id, request.subject, request.state)
            }
            Decided::Hold(hold) => format!("{} of {} is {}.", hold.id, hold.subject, hold.state),
        })
    }

    fn describe(&self, what: &Decidable) -> Result<Matter, String> {
        self.find(what).map(|decided| self.matter(&decided)).map_err(|error| error.to_string())
    }
}

impl Outbox for Telling {
    fn after(&self, seq: u64, limit: u32) -> Result<Page, String> {
        let events = self.access.events(seq, limit).map_err(|error| error.to_string())?;
        let seen = events.last().map_or(seq, |last| last.seq);
        let happened = events.into_iter().filter_map(|event| self.happening(event).transpose());
        let happened = happened.collect::<Result<_, AccessError>>().map_err(|error| error.to_string())?;
        Ok(Page { happened, seen })
    }

    fn latest(&self) -> Result<u64, String> {
        Ok(*self.access.revisions().borrow())
    }

    fn cursor(&self, webhook: &str) -> Result<Option<u64>, String> {
        let cursor = self.access.cursor(&cursor(webhook)).map_err(|error| error.to_string())?;
        Ok(cursor.checked_sub(1)) // kept as one more, since a reader that is new stands at 0
    }

    fn advance(&self, webhook: &str, from: Option<u64>, to: u64) -> Result<bool, String> {
        let from = from.map_or(0, |from| from + 1);
        self.access.advance_cursor(&cursor(webhook), from, to + 1).map_err(|error| error.to_string())
    }

    fn lease(&self, webhook: &str, holder: &str, _now: Timestamp, lasting: Duration) -> Result<bool, String> {
        self.access.lease(&cursor(webhook), holder, lasting).map_err(|error| error.to_string())
    }
}

fn cursor(webhook: &str) -> String {
    format!("webhook/{webhook}")
}

fn kind(action: EventAction) -> Option<EventKind> {
    Some(match action {
        EventAction::Requested => EventKind::Requested,
        EventAction::Approved | EventAction::AutoApproved | EventAction::HoldApproved => EventKind::Approved,
        EventAction::Emergency => EventKind::Emergency,
        EventAction::Granted => EventKind::Granted,
        EventAction::Extended => EventKind::Extended,
        EventAction::Denied | EventAction::HoldDenied => EventKind::Denied,
        EventAction::Cancelled | EventAction::HoldCancelled => EventKind::Cancelled,
        EventAction::RequestExpired | EventAction::GrantExpired | EventAction::HoldExpired => {
            EventKind::Expired
        }
        EventAction::Revoked => EventKind::Revoked,
        EventAction::Held => EventKind::Held,
        EventAction::HoldSpent => EventKind::Spent,
        EventAction::HoldAbandoned | EventAction::HoldResumed => return None,
    })
}
