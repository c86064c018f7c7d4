//! What is in force at one moment: all that [`decide`](crate::decide()) looks at.
//!
//! The content of a snapshot never changes. What moves is the time at which the store last confirmed that it is
//! still the truth; a snapshot that was replaced is not confirmed any more, so whoever held on to it is refused
//! soon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::Subject;

use crate::discovery::Open;
pub(crate) use crate::index::Dossier;
use crate::index::{self, Index};
use crate::role::RoleSet;
use crate::state::{State, after};
use crate::{
    AccessError, DiscoveryPolicy, Ended, Grant, GrantId, Hold, HoldId, Person, Request, RequestId, RoleName,
};

/// Roles, grants, pending requests and held ones, indexed for deciding.
#[derive(Debug)]
pub struct Snapshot {
    /// Milliseconds since the epoch.
    confirmed_at: AtomicI64,
    max_age: Duration,
    pub(crate) roles: Arc<RoleSet>,
    targets: Arc<[String]>,
    pub(crate) open: Arc<Open>,
    index: Index,
    holds: Arc<BTreeMap<HoldId, Arc<Hold>>>,
}

impl Snapshot {
    /// An index over `grants` and pending `requests`.
    pub(crate) fn new<'a>(
        confirmed_at: Timestamp,
        max_age: Duration,
        roles: Arc<RoleSet>,
        targets: Arc<[String]>,
        open: Arc<Open>,
        grants: impl Iterator<Item = &'a Arc<Grant>>,
        requests: impl Iterator<Item = &'a Arc<Request>>,
    ) -> Self {
        let mut index = Index::empty();
        grants.for_each(|grant| index.put_grant(grant, &roles, &targets));
        requests.for_each(|request| index.put_request(request, &roles, &targets));
        let confirmed_at = AtomicI64::new(confirmed_at.as_millisecond());
        Self { confirmed_at, max_age, roles, targets, open, index, holds: Arc::default() }
    }

    /// A snapshot of the service's state.
    pub(crate) fn of(state: &State, confirmed_at: Timestamp, max_age: Duration) -> Self {
        Self {
            confirmed_at: AtomicI64::new(confirmed_at.as_millisecond()),
            max_age,
            roles: Arc::clone(&state.roles),
            targets: Arc::clone(&state.targets),
            open: Arc::clone(&state.open),
            index: state.index.clone(),
            holds: Arc::clone(&state.holds),
        }
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
                emergency: false,
            }))
        };
        let grants = held.iter().map(grant).collect::<Result<Vec<_>, AccessError>>()?;
        let open = Arc::new(discovery.compile().map_err(AccessError::BadPath)?);
        let (roles, targets) = (Arc::clone(roles), [target.to_owned()].into());
        let requests = std::iter::empty();
        Ok(Self::new(now, Duration::MAX, roles, targets, open, grants.iter(), requests))
    }

    /// When `grant` ends by itself, if it is live at `now`; the reason, if it is not. For streams that were
    /// allowed under it.
    ///
    /// # Errors
    /// How it ended.
    pub fn grant_live(&self, grant: &GrantId, now: Timestamp) -> Result<Timestamp, Ended> {
        let held = self.index.grant(grant).ok_or(Ended::Unknown)?;
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
    pub fn hold(&self, id: &HoldId) -> Option<&Hold> {
        self.holds.get(id).map(AsRef::as_ref)
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
    pub(crate) fn target(&self, name: &str) -> Option<u32> {
        index::number_of(&self.targets, name)
    }

    pub(crate) fn dossier(&self, subject: &Subject) -> Option<&Dossier> {
        self.index.dossier(subject)
    }
}
