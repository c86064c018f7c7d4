//! All identity sources together: which of them a target accepts, and what they say of one caller.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::acceptance::{Acceptance, Accepted, SourceKind};
use crate::bearer::Bearer;
use crate::eks::{Eks, is_eks_shaped};
use crate::login::{LoginError, Logins};
use crate::oidc::{Issuer, is_jwt_shaped, problem_of_resource};
use crate::people::{People, same_person, told_apart};
use crate::{
    Attestation, Challenge, Clock, EksConfig, IdentityError, Method, OidcConfig, PersonConfig, Presented,
    Process, Subject, Uid, UnixConfig, UnixSource,
};

/// The `identity` section of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityConfig {
    /// The host's accounts.
    #[serde(default)]
    pub unix: UnixConfig,
    /// Which sources name whoever runs a `portcullis` command: `unix` and `oidc` can.
    #[serde(default)]
    pub commands: Acceptance,
    /// Accounts that are one person.
    #[serde(default)]
    pub people: Vec<PersonConfig>,
    /// OpenID Connect providers; the first is the one that `portcullis login` uses by default.
    #[serde(default)]
    pub oidc: Vec<OidcConfig>,
    /// EKS tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eks: Option<EksConfig>,
}

impl Accepted {
    /// Whether what the client presented can matter.
    #[must_use]
    pub fn looks_at_tokens(&self) -> bool {
        let (Acceptance::AnyOf(sources) | Acceptance::AllOf(sources)) = &self.acceptance;
        sources.iter().any(|source| matches!(source, SourceKind::Bearer | SourceKind::Eks))
    }
}

/// A person, and for how long that is known.
#[derive(Debug, Clone)]
pub struct Identified {
    /// The person.
    pub subject: Arc<Subject>,
    /// When it has to be asked again; `None` where nothing that was presented runs out.
    pub until: Option<Timestamp>,
    /// Cancelled when the identity ends before that: by `portcullis logout`, because somebody else logged in at the
    /// same seat, or because it could not be renewed.
    pub ended: CancellationToken,
}

/// Every source that is configured.
///
/// # Remembering who somebody is
///
/// Identifying costs little, yet a proxy that serves many requests on one connection need not do it for each. What it may
/// do: take [`Identities::generation`], *then* call [`Identities::identify`], and keep both beside the connection, the
/// target and the exact bearer token that was presented. The answer serves another request of the same connection and
/// target with the same token, or again without one, while [`Identities::holds`] says so. When it does not, ask anew:
/// this is how a login, a logout, a renewal that changed groups and an expiry are noticed by the very next request.
///
/// What goes on longer than a request (a watch, an exec) ends when [`Identified::ended`] is cancelled. It need not end
/// when `until` has passed: that a token may no longer begin anything says nothing against what it began, as with the API
/// server itself, and a login that was renewed meanwhile has another `until`.
pub struct Identities {
    unix: Arc<UnixSource>,
    people: Arc<People>,
    commands: Acceptance,
    oidc: Option<Oidc>,
    eks: Option<Eks>,
    clock: Clock,
}

struct Oidc {
    logins: Logins,
    bearer: Bearer,
}

/// Who is asked about.
struct Caller<'a> {
    uid: Uid,
    process: &'a Process,
    bearer: Option<&'a str>,
    eks_cluster: Option<&'a str>,
    audience: Option<&'a str>,
}

impl Identities {
    /// The host's accounts, and nothing else.
    #[must_use]
    pub fn new(unix: Arc<UnixSource>) -> Self {
        Self {
            unix,
            people: Arc::default(),
            commands: Acceptance::default(),
            oidc: None,
            eks: None,
            clock: Arc::new(Timestamp::now),
        }
    }

    /// Everything that `config` names. `unix` is the source made of its `unix` section; `clock` is
    /// `Arc::new(Timestamp::now)`. The process must have a default TLS provider installed. No server is asked yet.
    ///
    /// # Errors
    /// [`IdentityError::Config`].
    pub fn build(
        unix: Arc<UnixSource>,
        config: &IdentityConfig,
        clock: Clock,
    ) -> Result<Self, IdentityError> {
        let people = Arc::new(People::new(&config.people)?);
        let issuers: Vec<Arc<Issuer>> =
            config.oidc.iter().map(|issuer| Issuer::new(issuer, &clock)).collect::<Result<_, _>>()?;
        for (index, issuer) in issuers.iter().enumerate() {
            let twin = |other: &&Arc<Issuer>| other.name == issuer.name || other.issuer == issuer.issuer;
            if let Some(twin) = issuers[..index].iter().find(twin) {
                return Err(IdentityError::Config(format!(
                    "oidc: {:?} and {:?} have the same name or issuer",
                    twin.name, issuer.name
                )));
            }
        }
        let oidc = (!issuers.is_empty()).then(|| Oidc {
            logins: Logins::new(issuers.clone(), Arc::clone(&unix), Arc::clone(&people), Arc::clone(&clock)),
            bearer: Bearer::new(issuers, Arc::clone(&clock)),
        });
        let eks = config.eks.as_ref().map(|eks| Eks::new(eks, Arc::clone(&clock))).transpose()?;
        let commands = config.commands.clone();
        if let Some(kind) = commands.kinds().iter().find(|kind| !kind.needs_no_request()) {
            return Err(IdentityError::Config(format!(
                "commands: a portcullis command presents no token, so {} cannot name who runs it",
                kind.name()
            )));
        }
        let identities = Self { unix, people, commands, oidc, eks, clock };
        let commands = Accepted { acceptance: identities.commands.clone(), ..Accepted::default() };
        identities.check(&commands).map_err(|error| match error {
            IdentityError::Config(why) => IdentityError::Config(format!("commands: {why}")),
            other => other,
        })?;
        Ok(identities)
    }

    /// Whether what a target accepts makes sense, and is configured.
    ///
    /// # Errors
    /// [`IdentityError::Config`].
    pub fn check(&self, accepted: &Accepted) -> Result<(), IdentityError> {
        let bad = |why: &str| Err(IdentityError::Config(why.to_owned()));
        accepted.acceptance.check()?;
        if let Some(audience) = &accepted.audience
            && let Some(why) = problem_of_resource(audience)
        {
            return bad(&format!("no token could be for the resource {audience:?}: {why}"));
        }
        for kind in accepted.acceptance.kinds() {
            match kind {
                SourceKind::Unix => {}
                SourceKind::Oidc | SourceKind::Bearer if self.oidc.is_none() => {
                    return bad("oidc and bearer need a provider in identity.oidc");
                }
                SourceKind::Oidc | SourceKind::Bearer => {}
                SourceKind::Eks if self.eks.is_none() => return bad("eks needs identity.eks"),
                SourceKind::Eks => match accepted.eks_cluster.as_deref() {
                    None => return bad("eks needs the cluster's name (eksCluster)"),
                    Some(name) if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) => {
                        return bad("eksCluster is no name of a cluster");
                    }
                    Some(_) => {}
                },
            }
        }
        Ok(())
    }

    /// The person behind the attested process, given what the client presented and what the target accepts.
    ///
    /// # Errors
    /// When no accepted source knows them, when one refuses them, or when two that must agree do not.
    pub async fn identify(
        &self,
        attestation: &Attestation,
        presented: &Presented<'_>,
        accepted: &Accepted,
    ) -> Result<Identified, IdentityError> {
        let caller = Caller {
            uid: attestation.uid,
            process: &attestation.process,
            bearer: presented.bearer,
            eks_cluster: accepted.eks_cluster.as_deref(),
            audience: accepted.audience.as_deref(),
        };
        self.by(&accepted.acceptance, &caller).await
    }

    /// The person behind a process of `uid` that runs a `portcullis` command.
    ///
    /// # Errors
    /// As [`Identities::identify`].
    pub async fn identify_command(&self, uid: Uid, process: &Process) -> Result<Identified, IdentityError> {
        let caller = Caller { uid, process, bearer: None, eks_cluster: None, audience: None };
        self.by(&self.commands, &caller).await
    }

    /// Whether what was learned at `generation` still goes for a request of now.
    #[must_use]
    pub fn holds(&self, generation: u64, identified: &Identified) -> bool {
        generation == self.generation()
            && !identified.ended.is_cancelled()
            && identified.until.is_none_or(|until| (self.clock)() < until)
    }

    /// Grows whenever a login begins, ends or changes.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.oidc.as_ref().map_or(0, |oidc| oidc.logins.generation())
    }

    /// The logins of everybody on this host.
    ///
    /// # Errors
    /// [`LoginError::NotConfigured`] where there is no provider.
    pub fn logins(&self) -> Result<&Logins, IdentityError> {
        self.oidc.as_ref().map(|oidc| &oidc.logins).ok_or(LoginError::NotConfigured.into())
    }

    /// Ends and renews logins. For the daemon to call each second or so, within its runtime; never blocks.
    pub fn tick(&self) {
        if let Some(oidc) = &self.oidc {
            oidc.logins.tick();
        }
    }

    /// The person whose account this is, as `people` has it. For subjects that come from elsewhere, such as approvers
    /// that the configuration names.
    #[must_use]
    pub fn person(&self, account: Subject) -> Subject {
        self.people.person(account)
    }

    async fn by(&self, acceptance: &Acceptance, caller: &Caller<'_>) -> Result<Identified, IdentityError> {
        match acceptance {
            Acceptance::AnyOf(kinds) => {
                for kind in kinds {
                    if let Some(identified) = self.ask(*kind, caller).await? {
                        return Ok(identified);
                    }
                }
                Err(silence(kinds, caller))
            }
            Acceptance::AllOf(kinds) => {
                let mut agreed: Option<(SourceKind, Identified)> = None;
                for kind in kinds {
                    let next = self.ask(*kind, caller).await?.ok_or_else(|| silence(&[*kind], caller))?;
                    agreed = Some((*kind, agree(agreed, *kind, next)?));
                }
                agreed.map(|(_, identified)| identified).ok_or_else(|| silence(kinds, caller))
            }
        }
    }

    /// What one source says; `None` where it has nothing to say.
    async fn ask(&self, kind: SourceKind, caller: &Caller<'_>) -> Result<Option<Identified>, IdentityError> {
        match kind {
            SourceKind::Unix => {
                let subject = self.unix.look_up(self.unix.person(caller.uid, caller.process)?).await?;
                Ok(Some(Identified::of(self.people.person(subject), None)))
            }
            SourceKind::Oidc => {
                let found = self.logins()?.find(caller.uid, caller.process)?;
                Ok(found.map(|found| Identified {
                    subject: found.subject,
                    until: Some(found.until),
                    ended: found.ended,
                }))
            }
            SourceKind::Bearer => match caller.bearer.filter(|token| is_jwt_shaped(token)) {
                Some(token) => Box::pin(self.by_jwt(token, caller)).await.map(Some),
                None => Ok(None),
            },
            SourceKind::Eks => match caller.bearer.filter(|token| is_eks_shaped(token)) {
                Some(token) => Box::pin(self.by_eks(token, caller)).await.map(Some),
                None => Ok(None),
            },
        }
    }

    async fn by_jwt(&self, token: &str, caller: &Caller<'_>) -> Result<Identified, IdentityError> {
        let oidc = self.oidc.as_ref().ok_or(LoginError::NotConfigured)?;
        let known = oidc.bearer.verify(token, caller.audience).await?;
        let uid = self.unix.person(caller.uid, caller.process)?;
        let admitted = oidc.logins.admit(&known.issuer, &known.verified, uid).await?;
        let subject = Subject { method: Method::BearerJwt, ..admitted };
        Ok(Identified::of(subject, Some(known.verified.until)))
    }

    async fn by_eks(&self, token: &str, caller: &Caller<'_>) -> Result<Identified, IdentityError> {
        let configured = || IdentityError::Config("eks is accepted, but not configured".to_owned());
        let eks = self.eks.as_ref().ok_or_else(configured)?;
        let cluster = caller.eks_cluster.ok_or_else(configured)?;
        let known = eks.verify(token, cluster, caller.uid).await?;
        Ok(Identified::of(self.people.person(known.subject.clone()), Some(known.until)))
    }
}

impl Identified {
    fn of(subject: Subject, until: Option<Timestamp>) -> Self {
        Self { subject: Arc::new(subject), until, ended: CancellationToken::new() }
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities").field("unix", &self.unix).finish_non_exhaustive()
    }
}

/// What two sources say together: the person that the later one names, for as long as both say so.
fn agree(
    before: Option<(SourceKind, Identified)>,
    kind: SourceKind,
    next: Identified,
) -> Result<Identified, IdentityError> {
    let Some((first, before)) = before else {
        return Ok(next);
    };
    if !same_person(&before.subject, &next.subject) {
        let (one, other) = told_apart(&before.subject, &next.subject);
        return Err(IdentityError::Mismatch {
            first_source: first.name(),
            first: one,
            second_source: kind.name(),
            second: other,
        });
    }
    let until = match (before.until, next.until) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    // A login is the one thing that ends early, and there is at most one among these.
    let ended = if kind == SourceKind::Oidc { next.ended } else { before.ended };
    Ok(Identified { subject: next.subject, until, ended })
}

/// Why nobody was named.
fn silence(kinds: &[SourceKind], caller: &Caller<'_>) -> IdentityError {
    let tokens = kinds.iter().any(|kind| matches!(kind, SourceKind::Bearer | SourceKind::Eks));
    let login = kinds.contains(&SourceKind::Oidc);
    let why = match (tokens && caller.bearer.is_some(), login, tokens) {
        (true, true, _) => {
            "the token that the client sent is of no kind that is accepted here, and nobody is logged in: run \
             portcullis login"
        }
        (true, false, _) => "the token that the client sent is of no kind that is accepted here",
        (false, true, false) => "nobody is logged in here: run portcullis login",
        (false, true, true) => "the client sent no token, and nobody is logged in here: run portcullis login",
        (false, false, true) => "the client sent no token",
        (false, false, false) => "no source of identity is accepted here",
    };
    let challenge = kinds.contains(&SourceKind::Bearer).then_some(match caller.bearer {
        None => Challenge::NO_TOKEN,
        Some(_) => Challenge::INVALID_TOKEN,
    });
    IdentityError::Silent { why, challenge }
}
