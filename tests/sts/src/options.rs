//! What a test wants this STS to know.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How an STS is started.
#[derive(Clone)]
pub struct Options {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where `ca.crt` is written; nowhere when left out.
    pub dir: Option<PathBuf>,
    /// Further names under which it is called. Its certificate is valid for them, and tokens may name them.
    pub hosts: Vec<String>,
    /// Who may sign, besides whoever assumed a role here.
    pub users: Vec<User>,
    /// The roles that can be assumed.
    pub roles: Vec<Role>,
    /// Web identity tokens that are believed, as IRSA's are, for `AssumeRoleWithWebIdentity`.
    pub web_identities: Vec<String>,
    /// Refuses a presigned request `X-Amz-Expires` after its date. The real service does not for
    /// `GetCallerIdentity`: it takes 15 minutes, whatever the URL says, and EKS tokens rely on that.
    pub honour_expires: bool,
    /// Its clock.
    pub clock: Clock,
}

/// Somebody with a key.
#[derive(Clone)]
pub struct User {
    /// `AKIA…`
    pub access_key_id: String,
    /// What requests are signed with.
    pub secret_access_key: String,
    /// For temporary keys.
    pub session_token: Option<String>,
    /// `arn:aws:iam::111122223333:user/bob`, or an assumed role.
    pub arn: String,
}

/// A role, and its trust policy.
#[derive(Clone, Debug)]
pub struct Role {
    /// `arn:aws:iam::111122223333:role/portcullis`
    pub arn: String,
    /// Who may assume it, by ARN; everybody when empty.
    pub trusts: Vec<String>,
    /// The external id that it demands.
    pub external_id: Option<String>,
    /// The session tags that it demands.
    pub tags: Vec<String>,
    /// Whether it demands a source identity.
    pub source_identity: bool,
    /// Its longest session.
    pub max_session_seconds: u32,
}

impl Default for Options {
    /// A free port on loopback, the hosts of two regions, no users, no roles, the system's time.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            dir: None,
            hosts: ["sts.amazonaws.com", "sts.us-east-1.amazonaws.com", "sts.eu-central-1.amazonaws.com"]
                .map(str::to_owned)
                .into(),
            users: Vec::new(),
            roles: Vec::new(),
            web_identities: Vec::new(),
            honour_expires: false,
            clock: Arc::new(Timestamp::now),
        }
    }
}

impl User {
    /// Somebody with a lasting key.
    pub fn new(
        access_key_id: impl Into<String>,
        secret_access_key: impl Into<String>,
        arn: impl Into<String>,
    ) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
            arn: arn.into(),
        }
    }

    /// The same with a session token.
    #[must_use]
    pub fn with_session_token(self, token: impl Into<String>) -> Self {
        Self { session_token: Some(token.into()), ..self }
    }
}

impl Role {
    /// A role that anybody may assume.
    pub fn new(arn: impl Into<String>) -> Self {
        Self {
            arn: arn.into(),
            trusts: Vec::new(),
            external_id: None,
            tags: Vec::new(),
            source_identity: false,
            max_session_seconds: 3600,
        }
    }
}
