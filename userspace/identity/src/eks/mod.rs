//! EKS tokens (`aws eks get-token`): a presigned request to STS, which says whose credentials signed it.
//!
//! The token is a URL that the client chose, and we go there. So first everything about it is checked that could make
//! it lead elsewhere, do something else, or prove something else ([`PresignedUrl`]); then STS is asked, with the header
//! that binds the signature to one cluster; then the ARN that it answers with is mapped to a person ([`Mapping`]).

mod arn;
mod config;
mod refusal;
mod url;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use http::header::HeaderValue;
use http::{HeaderMap, HeaderName, StatusCode};
use jiff::Timestamp;
use moka::sync::Cache;
use serde::Deserialize;

use self::arn::{Arn, Mapping};
use self::url::{Host, Hosts, PresignedUrl};
use crate::secret::digest;
use crate::web::Web;
use crate::{Clock, IdentityError, Method, Quota, Subject, Uid};

pub use self::config::{ArnMapping, EksConfig};
pub use self::refusal::EksRefusal;

/// The issuer of subjects that STS vouches for.
pub const AWS_ISSUER: &str = "aws";

const PREFIX: &str = "k8s-aws-v1.";
const CLUSTER_HEADER: HeaderName = HeaderName::from_static("x-k8s-aws-id");
const REMEMBERED: u64 = 10_000;
/// How many tokens of one uid may be with STS at a time.
const ASKING: usize = 8;

/// Verifies EKS tokens.
pub(crate) struct Eks {
    hosts: Hosts,
    mapping: Mapping,
    public: Web,
    private: Web,
    clock: Clock,
    asking: Arc<Quota>,
    remembered: Cache<[u8; 32], Arc<Known>>,
}

/// A token that was verified.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) subject: Subject,
    /// When the token runs out: 15 minutes after it was signed.
    pub(crate) until: Timestamp,
}

/// What STS answers to `GetCallerIdentity` with `accept: application/json`.
#[derive(Deserialize)]
struct Response {
    #[serde(rename = "GetCallerIdentityResponse")]
    response: Inner,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(rename = "GetCallerIdentityResult")]
    result: CallerIdentity,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CallerIdentity {
    account: String,
    arn: String,
}

/// Whether a bearer token is meant as an EKS token.
pub(crate) fn is_eks_shaped(token: &str) -> bool {
    token.starts_with(PREFIX)
}

impl Eks {
    pub(crate) fn new(config: &EksConfig, clock: Clock) -> Result<Self, IdentityError> {
        Ok(Self {
            hosts: Hosts::new(&config.endpoints)?,
            mapping: Mapping::new(&config.mapping)?,
            public: Web::new(None, false)?,
            private: Web::new(config.certificate_authority.as_deref(), true)?,
            clock,
            asking: Quota::new(ASKING),
            remembered: Cache::new(REMEMBERED),
        })
    }

    /// Whom an EKS token names that must have been signed for `cluster`. `uid` is on whose behalf STS is asked.
    pub(crate) async fn verify(
        &self,
        token: &str,
        cluster: &str,
        uid: Uid,
    ) -> Result<Arc<Known>, EksRefusal> {
        let key = digest(&[token, cluster]);
        if let Some(known) = self.remembered.get(&key).filter(|known| (self.clock)() < known.until) {
            return Ok(known);
        }
        let url = PresignedUrl::parse(token, &self.hosts, (self.clock)())?;
        let _share = self.asking.take(uid).ok_or(EksRefusal::Busy(ASKING))?;
        let caller = self.ask(&url, cluster).await?;
        let arn = Arn::parse(&caller.arn).filter(|arn| arn.account() == caller.account);
        let arn = arn.ok_or(EksRefusal::Answer("an ARN that is none, or of another account"))?;
        let (name, groups) = self.mapping.person(&arn)?;
        let subject = Subject {
            issuer: AWS_ISSUER.to_owned(),
            id: caller.arn,
            name,
            groups: groups.iter().cloned().collect::<BTreeSet<_>>(),
            method: Method::EksToken,
            account: None,
        };
        let known = Arc::new(Known { subject, until: url.until() });
        self.remembered.insert(key, Arc::clone(&known));
        Ok(known)
    }

    async fn ask(&self, url: &PresignedUrl, cluster: &str) -> Result<CallerIdentity, EksRefusal> {
        let mut headers = HeaderMap::new();
        let cluster = HeaderValue::from_str(cluster).map_err(|_| EksRefusal::Cluster)?;
        headers.insert(CLUSTER_HEADER, cluster);
        let web = match url.host() {
            Host::Public => &self.public,
            Host::Configured => &self.private,
        };
        let answer = web.get(url.url(), headers).await?;
        if answer.status == StatusCode::FORBIDDEN {
            return Err(EksRefusal::Signature);
        }
        let Response { response } = answer.json("a GetCallerIdentity answer")?;
        Ok(response.result)
    }
}

impl fmt::Debug for Eks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eks").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}
