//! Why an EKS token is not believed, each reason in its own words and none with the token in them.

use jiff::Timestamp;

use crate::web::WebError;

/// Why an EKS token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EksRefusal {
    /// More than 4096 bytes.
    #[error("it is longer than 4096 bytes")]
    TooLong,
    /// It is not `k8s-aws-v1.` and unpadded base64url of a URL.
    #[error("it is not well-formed: {0}")]
    Malformed(&'static str),
    /// It leads to something else than https.
    #[error("its URL is not https")]
    Scheme,
    /// It leads to a host that is not STS.
    #[error("its host {0:?} is neither a public STS endpoint nor a configured one")]
    Host(String),
    /// It leads to another path than `/`.
    #[error("its URL has a path; GetCallerIdentity has none")]
    Path,
    /// It has a parameter that such a request has not.
    #[error("its URL has a parameter {0:?}, which has no place in it")]
    Parameter(String),
    /// It has a parameter twice.
    #[error("its URL has the parameter {0:?} twice")]
    Duplicate(String),
    /// It lacks a parameter that such a request has, or has it with another value.
    #[error("its URL's parameter {name:?} {problem}")]
    Value {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The header that names the cluster is not signed, so that the token would be good for any.
    #[error("its signature does not cover x-k8s-aws-id: it could be meant for any cluster")]
    ClusterUnsigned,
    /// It was signed more than 15 minutes ago.
    #[error("it ran out at {0}, 15 minutes after it was signed")]
    Expired(Timestamp),
    /// It was signed in the future.
    #[error("it claims to have been signed in the future, at {0}")]
    Future(Timestamp),
    /// The cluster's name cannot be sent as a header.
    #[error("the configured cluster name cannot be sent in a header")]
    Cluster,
    /// Too many tokens of this uid are being verified.
    #[error("{0} tokens of this uid are being verified already")]
    Busy(usize),
    /// STS answered 403.
    #[error("STS says that its signature is not valid, or it was signed for another cluster")]
    Signature,
    /// STS could not be asked, redirected, or answered with something else.
    #[error("STS could not confirm it: {0}")]
    Sts(#[from] WebError),
    /// STS answered with something that cannot be.
    #[error("STS answered with {0}")]
    Answer(&'static str),
    /// The ARN is not mapped to anybody.
    #[error("{0} is nobody's in identity.eks.mapping")]
    Unmapped(String),
    /// The session name cannot be somebody's name.
    #[error("the session name of {0} cannot name anybody")]
    SessionName(String),
}
