//! Who has what, and which grant is whose: what a snapshot looks things up in.
//!
//! It is cut into parts that snapshots share. A change copies the few parts that it touches, so that publishing one
//! among a hundred thousand grants costs no more than among a few.

use std::hash::RandomState;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use jiff::Timestamp;
use portcullis_identity::Subject;
use smol_str::SmolStr;

use crate::role::RoleSet;
use crate::{Ended, Grant, GrantId, Request, RequestId};

/// A power of two. More make a change cheaper and a copy of the whole dearer.
const PARTS: usize = 256;

/// Grants and pending requests, by person and by id.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    people: Vec<Arc<Part<Key, Dossier>>>,
    grants: Vec<Arc<Part<GrantId, Held>>>,
}

/// The keys are chosen by others, so they are looked up by a keyed hash.
type Part<K, V> = HashMap<K, V, RandomState>;

/// Whose a dossier is. Names that are not long lie in the table itself, so that a look-up follows no pointer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    issuer: SmolStr,
    id: SmolStr,
}

/// The same, borrowed.
#[derive(Hash)]
struct Named<'a> {
    issuer: &'a str,
    id: &'a str,
}

impl Equivalent<Key> for Named<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.id == key.id && self.issuer == key.issuer
    }
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
    pub(crate) target: Option<u32>,
    /// Number of its role; `None` when that is gone or no longer covers the target.
    pub(crate) role: Option<u32>,
    starts_at: Timestamp,
    expires_at: Timestamp,
    ended: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) id: RequestId,
    pub(crate) target: Option<u32>,
    pub(crate) role: u32,
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
        let named = Named { issuer: &subject.issuer, id: &subject.id };
        self.people[part(&[named.issuer, named.id])].get(&named)
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
        let target = number_of(targets, &request.target);
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
        people.entry(Key { issuer: issuer.into(), id: id.into() }).or_default()
    }

    fn drop_if_empty(&mut self, issuer: &str, id: &str) {
        let people = Arc::make_mut(&mut self.people[part(&[issuer, id])]);
        let named = Named { issuer, id };
        if people.get(&named).is_some_and(|dossier| dossier.held.is_empty() && dossier.pending.is_empty()) {
            people.remove(&named);
        }
    }
}

impl Held {
    fn of(grant: &Arc<Grant>, roles: &RoleSet, targets: &[String]) -> Self {
        Self {
            target: number_of(targets, &grant.target),
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

/// The number of a target among those that are configured, which are sorted.
pub(crate) fn number_of(targets: &[String], name: &str) -> Option<u32> {
    let at = targets.binary_search_by(|target| target.as_str().cmp(name)).ok()?;
    u32::try_from(at).ok()
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
