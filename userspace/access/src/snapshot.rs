//! What is in force at one moment: all that [`decide`](crate::decide()) looks at.
//!
//! The content of a snapshot never changes. What moves is the time at which the store last confirmed that it is
//! still the truth; a snapshot that was replaced is not confirmed any more, so whoever held on to it is refused
//! soon.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::Subject;

use crate::pattern::Pattern;
use crate::role::RoleSet;
use crate::state::after;
use crate::{
    AccessError, DiscoveryPolicy, Ended, Grant, GrantId, Hold, HoldId, Person, Request, RequestId, RoleName,
};

/// Roles, live grants and pending requests, indexed for deciding.
#[derive(Debug)]
pub struct Snapshot {
    /// Milliseconds since the epoch.
    confirmed_at: AtomicI64,
    max_age: Duration,
    pub(crate) roles: Arc<RoleSet>,
    targets: Arc<[String]>,
    pub(crate) open_paths: Arc<[Pattern]>,
    /// By issuer, then by id: two look-ups, no allocation.
    people: HashMap<String, HashMap<String, Dossier>>,
    grants: HashMap<GrantId, Held>,
}

/// What one person has.
#[derive(Debug, Default)]
pub(crate) struct Dossier {
    /// Live grants and those that ended lately.
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

#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: RequestId,
    pub(crate) target: Option<usize>,
    pub(crate) role: usize,
}

impl Snapshot {
    /// An index over `grants` and pending `requests`.
    pub(crate) fn new<'a>(
        confirmed_at: Timestamp,
        max_age: Duration,
        roles: Arc<RoleSet>,
        targets: Arc<[String]>,
        open_paths: Arc<[Pattern]>,
        grants: impl ExactSizeIterator<Item = &'a Arc<Grant>>,
        requests: impl Iterator<Item = &'a Arc<Request>>,
    ) -> Self {
        let mut people: HashMap<String, HashMap<String, Dossier>> = HashMap::new();
        let mut by_id = HashMap::with_capacity(grants.len());
        for grant in grants {
            let held = Held {
                target: targets.binary_search(&grant.target).ok(),
                role: roles
                    .number_of(&grant.role)
                    .filter(|&role| roles.at(role).covers_target(&grant.target)),
                starts_at: grant.starts_at,
                expires_at: grant.expires_at,
                ended: grant.ended.is_some(),
                grant: Arc::clone(grant),
            };
            dossier(&mut people, &grant.subject.issuer, &grant.subject.id).held.push(held.clone());
            by_id.insert(grant.id.clone(), held);
        }
        for request in requests {
            if let Some(role) = roles.number_of(&request.role) {
                let target = targets.binary_search(&request.target).ok();
                let pending = Pending { id: request.id.clone(), target, role };
                dossier(&mut people, &request.subject.issuer, &request.subject.id).pending.push(pending);
            }
        }
        let confirmed_at = AtomicI64::new(confirmed_at.as_millisecond());
        Self { confirmed_at, max_age, roles, targets, open_paths, people, grants: by_id }
    }

    /// What would be in force if `subject` held these roles on `target`, and there were nobody else: for asking
    /// [`decide`](crate::decide()) what a policy means.
    ///
    /// # Errors
    /// [`AccessError::NoSuchRole`], [`AccessError::TargetNotCovered`], [`AccessError::BadPath`].
    pub fn supposing(
        roles: &Arc<RoleSet>,
        discovery: &DiscoveryPolicy,
        subject: &Subject,
        target: &str,
        held: &[RoleName],
        now: Timestamp,
    ) -> Result<Self, AccessError> {
        let grant = |name: &RoleName| {
            let role = roles.get(name).ok_or_else(|| AccessError::NoSuchRole(name.clone()))?;
            if !role.covers_target(target) {
                let (role, target) = (name.clone(), target.to_owned());
                return Err(AccessError::TargetNotCovered { role, target });
            }
            Ok(Arc::new(Grant {
                id: GrantId::random(),
                request: RequestId::random(),
                subject: Person::from(subject),
                role: name.clone(),
                target: target.to_owned(),
                reason: "supposed".to_owned(),
                approved_by: Vec::new(),
                starts_at: now,
                expires_at: after(now, role.max_duration),
                ended: None,
            }))
        };
        let grants = held.iter().map(grant).collect::<Result<Vec<_>, AccessError>>()?;
        let open_paths = discovery.compile().map_err(AccessError::BadPath)?.into();
        let (roles, targets) = (Arc::clone(roles), [target.to_owned()].into());
        let requests = std::iter::empty();
        Ok(Self::new(now, Duration::MAX, roles, targets, open_paths, grants.iter(), requests))
    }

    /// When `grant` ends by itself, if it is live at `now`; the reason, if it is not. For streams that were
    /// allowed under it.
    ///
    /// # Errors
    /// How it ended.
    pub fn grant_live(&self, grant: &GrantId, now: Timestamp) -> Result<Timestamp, Ended> {
        let held = self.grants.get(grant).ok_or(Ended::Unknown)?;
        held.live(now)?;
        if held.role.and(held.target).is_none() {
            return Err(Ended::RoleWithdrawn { role: held.grant.role.clone() });
        }
        match self.stale(now) {
            Some(age) => Err(Ended::Unconfirmed { seconds: age.as_secs() }),
            None => Ok(held.grant.expires_at),
        }
    }

    /// The held request `id` as it stands, if it waits or was decided lately.
    #[must_use]
    pub fn hold(&self, _id: &HoldId) -> Option<&Hold> {
        None
    }

    /// The roles in force.
    #[must_use]
    pub fn roles(&self) -> &RoleSet {
        &self.roles
    }

    /// When the store last confirmed it.
    #[must_use]
    pub fn confirmed_at(&self) -> Timestamp {
        let millis = self.confirmed_at.load(Ordering::Relaxed);
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MIN)
    }

    /// How long ago the store confirmed it, where that is too long. A clock that was set back tells nothing
    /// about age, so time before the confirmation counts alike.
    pub(crate) fn stale(&self, now: Timestamp) -> Option<Duration> {
        let confirmed_at = self.confirmed_at.load(Ordering::Relaxed);
        let age = Duration::from_millis(now.as_millisecond().abs_diff(confirmed_at));
        (age > self.max_age).then_some(age)
    }

    /// The store says that this is still the truth.
    pub(crate) fn confirm(&self, now: Timestamp) {
        self.confirmed_at.store(now.as_millisecond(), Ordering::Relaxed);
    }

    /// The number of a configured target.
    pub(crate) fn target(&self, name: &str) -> Option<usize> {
        self.targets.binary_search_by(|target| target.as_str().cmp(name)).ok()
    }

    pub(crate) fn dossier(&self, subject: &Subject) -> Option<&Dossier> {
        self.people.get(&subject.issuer)?.get(&subject.id)
    }
}

impl Held {
    /// Whether its window is open at `now`. Before its start that can only be because the clock was set back.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        !self.ended && self.starts_at <= now && now < self.expires_at
    }

    /// As [`Held::is_live`], with the reason.
    pub(crate) fn live(&self, now: Timestamp) -> Result<(), Ended> {
        match &self.grant.ended {
            _ if self.is_live(now) => Ok(()),
            Some(ended) => Err(ended.clone()),
            None if now >= self.expires_at => Err(Ended::Expired { at: self.expires_at }),
            None => Err(Ended::Unknown),
        }
    }
}

fn dossier<'a>(
    people: &'a mut HashMap<String, HashMap<String, Dossier>>,
    issuer: &str,
    id: &str,
) -> &'a mut Dossier {
    // `entry` would copy both keys for each of a hundred thousand grants.
    if !people.contains_key(issuer) {
        people.insert(issuer.to_owned(), HashMap::new());
    }
    let of_issuer = people.get_mut(issuer).unwrap_or_else(|| unreachable!("inserted above"));
    of_issuer.entry(id.to_owned()).or_default()
}
