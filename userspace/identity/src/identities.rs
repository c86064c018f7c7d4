//! All identity sources together: which of them a target accepts, and what they say of one caller.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{Attestation, IdentityError, Presented, Process, Source, Subject, Uid, UnixSource};

/// A way to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceKind {
    /// The account behind the attested process.
    Unix,
    /// `portcullis login`, bound to the attested uid and login session.
    Oidc,
    /// A JWT that the client sends.
    Bearer,
    /// An EKS token that the client sends.
    Eks,
}

/// Which sources are accepted, and how they go together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Acceptance {
    /// The first of these that has something to say names the person.
    AnyOf(Vec<SourceKind>),
    /// All of these must name the same person; the last one's name and groups count.
    AllOf(Vec<SourceKind>),
}

/// What one target accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The sources.
    pub acceptance: Acceptance,
    /// The value of `x-k8s-aws-id` that an EKS token must be signed for.
    pub eks_cluster: Option<String>,
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
    /// Cancelled when the identity ends before that: by `portcullis logout`, or because it could not be refreshed.
    pub ended: CancellationToken,
}

/// Every source that is configured.
#[derive(Debug)]
pub struct Identities {
    unix: Arc<UnixSource>,
}

impl Identities {
    /// The host's accounts, and nothing else.
    #[must_use]
    pub fn new(unix: Arc<UnixSource>) -> Self {
        Self { unix }
    }

    /// The person behind the attested process, given what the client presented and what the target accepts.
    ///
    /// # Errors
    /// When no accepted source knows them, when one refuses them, or when two that must agree do not.
    pub async fn identify(
        &self,
        attestation: &Attestation,
        presented: &Presented<'_>,
        _accepted: &Accepted,
    ) -> Result<Identified, IdentityError> {
        let subject = self.unix.identify(attestation, presented).await?;
        let subject = subject.ok_or(IdentityError::UnknownUid(attestation.uid))?;
        Ok(Identified { subject: Arc::new(subject), until: None, ended: CancellationToken::new() })
    }

    /// The person behind a process of `uid` that runs a `portcullis` command.
    ///
    /// # Errors
    /// As [`Identities::identify`].
    pub async fn identify_command(&self, uid: Uid, process: &Process) -> Result<Identified, IdentityError> {
        let subject = self.unix.subject_of_process(uid, process)?;
        Ok(Identified { subject: Arc::new(subject), until: None, ended: CancellationToken::new() })
    }
}

impl Default for Acceptance {
    fn default() -> Self {
        Self::AnyOf(vec![SourceKind::Unix])
    }
}

impl Default for Accepted {
    fn default() -> Self {
        Self { acceptance: Acceptance::default(), eks_cluster: None }
    }
}
