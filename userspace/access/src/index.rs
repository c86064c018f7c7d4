//! Who has what, and which grant is whose: what a snapshot looks things up in.
//!
//! It is cut into parts that snapshots share. A change copies the few parts that it touches, so that publishing one
//! among a hundred thousand grants costs no more than among a few.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use portcullis_identity::Subject;

use crate::role::RoleSet;
use crate::{Ended, Grant, GrantId, Request, RequestId};

/// A power of two. More make a change cheaper and a copy of the whole dearer.
const PARTS: usize = 256;

/// Grants and pending requests, by person and by id.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    /// By issuer, then by id: two look-ups, no allocation.
    people: Vec<Arc<HashMap<String, HashMap<String, Dossier>>>>,
    grants: Vec<Arc<HashMap<GrantId, Held>>>,
}

/// What one person has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dossier {
    /// Grants that are live or are to begin, and those that ended lately.
    pub(crate) held: Vec<Held>,
    pub(crate) pending: Vec<Pending>,
}

/// A grant, with what decides whether it counts side by side, so that passing over it touches nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) grant: Arc<Grant>,
    /// Number of its target; `None` when that is not configured.
    pub(crate) target: Option<usize>,
    /// Number of its role; `None` when that is gone or no longer covers the target.
    pub(crate) role: Option<usize>,
    starts_at: Timestamp,
    expires_at: Timestamp,
    ended: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) id: RequestId,
    pub(crate) target: Option<usize>,
    pub(crate) role: usize,
}

impl Index {
    pub(crate) fn empty() -> Self {
        let (mut people, mut grants) = (Vec::new(), Vec::new());
        people.resize_with(PARTS, Arc::default);
        grants.resize_with(PARTS, Arc::default);
        Self { people, grants }
    }

    pub(crate) fn grant(&self, id: &GrantId) -> Option<&Held> {
        self.grants[part(&[id.as_str()])].get(id)
    }

    pub(crate) fn dossier(&self, subject: &Subject) -> Option<&Dossier> {
        self.people[part(&[&subject.issuer, &subject.id])].get(&subject.issuer)?.get(&subject.id)
    }

    /// Adds a grant, in place of what was known of it.
    pub(crate) fn put_grant(&mut self, grant: &Arc<Grant>, roles: &RoleSet, targets: &[String]) {
        let held = Held::of(grant, roles, targets);
        let dossier = self.dossier_mut(&grant.subject.issuer, &grant.subject.id);
        match dossier.held.iter_mut().find(|other| other.grant.id == grant.id) {
            Some(other) => *other = held.clone(),
            None => dossier.held.push(held.clone()),
        }
        Arc::make_mut(&mut self.grants[part(&[grant.id.as_str()])]).insert(grant.id.clone(), held);
    }

    pub(crate) fn remove_grant(&mut self, grant: &Grant) {
        let dossier = self.dossier_mut(&grant.subject.issuer, &grant.subject.id);
        dossier.held.retain(|held| held.grant.id != grant.id);
        self.drop_if_empty(&grant.subject.issuer, &grant.subject.id);
        Arc::make_mut(&mut self.grants[part(&[grant.id.as_str()])]).remove(&grant.id);
    }

    /// Adds a pending request, in place of what was known of it.
    pub(crate) fn put_request(&mut self, request: &Request, roles: &RoleSet, targets: &[String]) {
        let Some(role) = roles.number_of(&request.role) else { return };
        let target = targets.binary_search(&request.target).ok();
        let dossier = self.dossier_mut(&request.subject.issuer, &request.subject.id);
        dossier.pending.retain(|pending| pending.id != request.id);
        dossier.pending.push(Pending { id: request.id.clone(), target, role });
    }

    pub(crate) fn remove_request(&mut self, request: &Request) {
        let dossier = self.dossier_mut(&request.subject.issuer, &request.subject.id);
        dossier.pending.retain(|pending| pending.id != request.id);
        self.drop_if_empty(&request.subject.issuer, &request.subject.id);
    }

    fn dossier_mut(&mut self, issuer: &str, id: &str) -> &mut Dossier {
        let people = Arc::make_mut(&mut self.people[part(&[issuer, id])]);
        // `entry` would copy both keys for each of a hundred thousand grants.
        if !people.contains_key(issuer) {
            people.insert(issuer.to_owned(), HashMap::new());
        }
        let of_issuer = people.get_mut(issuer).unwrap_or_else(|| unreachable!("inserted above"));
        of_issuer.entry(id.to_owned()).or_default()
    }

    fn drop_if_empty(&mut self, issuer: &str, id: &str) {
        let people = Arc::make_mut(&mut self.people[part(&[issuer, id])]);
        if let Some(of_issuer) = people.get_mut(issuer)
            && of_issuer.get(id).is_some_and(|dossier| dossier.held.is_empty() && dossier.pending.is_empty())
        {
            of_issuer.remove(id);
        }
    }
}

impl Held {
    fn of(grant: &Arc<Grant>, roles: &RoleSet, targets: &[String]) -> Self {
        Self {
            target: targets.binary_search(&grant.target).ok(),
            role: roles.number_of(&grant.role).filter(|&role| roles.at(role).covers_target(&grant.target)),
            starts_at: grant.starts_at,
            expires_at: grant.expires_at,
            ended: grant.ended.is_some(),
            grant: Arc::clone(grant),
        }
    }

    /// Whether its window is open at `now`.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        !self.ended && self.starts_at <= now && now < self.expires_at
    }

    /// As [`Held::is_live`], with the reason.
    pub(crate) fn live(&self, now: Timestamp) -> Result<(), Ended> {
        if self.is_live(now) {
            return Ok(());
        }
        Err(self.grant.over(now).unwrap_or(Ended::Scheduled { at: self.starts_at }))
    }
}

/// In which part something is: FNV-1a over its names. That they are chosen by others does not matter: within a part
/// they are looked up by a keyed hash.
fn part(names: &[&str]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in names.iter().flat_map(|name| name.bytes().chain([0xff])) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    (hash ^ (hash >> 16)) as usize % PARTS
}
