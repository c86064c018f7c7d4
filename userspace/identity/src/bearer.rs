//! JWTs that clients send with their requests, as kubeconfigs with an OpenID Connect plugin and MCP clients do.
//!
//! What was verified is remembered for five minutes at most, by the digest of the token and of what it was presented
//! to: good for one resource, it is not for another. What was refused is not remembered: a key that was unknown a moment
//! ago may be known now, and how often an issuer is asked about that is bounded elsewhere.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use moka::sync::Cache;

use crate::Clock;
use crate::oidc::{Issuer, Purpose, TokenRefusal, Unverified, Verified, verify};
use crate::secret::digest;

/// How long a verified token is believed without looking at it again.
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_mins(5);
const REMEMBERED: u64 = 10_000;

/// Verifies bearer tokens of the configured issuers.
pub(crate) struct Bearer {
    issuers: Vec<Arc<Issuer>>,
    clock: Clock,
    remembered: Cache<[u8; 32], Arc<Known>>,
}

/// A token that was verified.
pub(crate) struct Known {
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) verified: Verified,
    forget_at: Timestamp,
}

impl Bearer {
    pub(crate) fn new(issuers: Vec<Arc<Issuer>>, clock: Clock) -> Self {
        Self { issuers, clock, remembered: Cache::new(REMEMBERED) }
    }

    /// Whom a JWT names that is presented to `resource`, or to a target that is none.
    pub(crate) async fn verify(
        &self,
        token: &str,
        resource: Option<&str>,
    ) -> Result<Arc<Known>, TokenRefusal> {
        let key = match resource {
            Some(resource) => digest(&[token, resource]),
            None => digest(&[token]),
        };
        if let Some(known) = self.remembered.get(&key).filter(|known| (self.clock)() < known.forget_at) {
            return Ok(known);
        }
        let parsed = Unverified::parse(token)?;
        let iss = parsed.issuer()?;
        let issuer = self.issuers.iter().find(|issuer| issuer.issuer == iss);
        let issuer = issuer.ok_or_else(|| TokenRefusal::UnknownIssuer(iss.chars().take(200).collect()))?;
        let verified = verify(&parsed, issuer, Purpose::Bearer { resource }).await?;
        let later = (self.clock)().checked_add(REMEMBERED_FOR).unwrap_or(Timestamp::MAX);
        let forget_at = verified.until.min(later);
        let known = Arc::new(Known { issuer: Arc::clone(issuer), verified, forget_at });
        self.remembered.insert(key, Arc::clone(&known));
        Ok(known)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("issuers", &self.issuers).finish_non_exhaustive()
    }
}
