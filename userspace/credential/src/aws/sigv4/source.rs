//! The source of signing keys: one role session for each person, role, grant and AWS role; or the gate's own keys.

use std::sync::Arc;

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use jiff::{SignedDuration, Timestamp};

use crate::{
    AwsSigner, Credential, CredentialError, OnBehalf, SigV4Config, Source, Unavailable, Why,
    aws::{assume::Ask, key::Key, region::role_arn, session::AwsSession},
    cache::{Cache, Held},
    clock::WallClock,
    source::Presenting,
};

/// Keys are replaced this long before they end, or when four fifths of their life are over, whichever is later.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// Keys that end sooner than this are good for nothing.
const SHORTEST: SignedDuration = SignedDuration::from_secs(60);
/// Keys that do not say when they end are looked up anew after this long, and used no longer than that.
const LASTING_RENEW: SignedDuration = SignedDuration::from_mins(5);
const LASTING: SignedDuration = SignedDuration::from_mins(15);

/// Presents keys that sign.
pub(crate) struct SigV4Source {
    config: SigV4Config,
    clock: WallClock,
    inner: Arc<Inner>,
    /// The gate's own keys are under `None`.
    cache: Cache<Option<Key>, Arc<AwsSigner>>,
}

struct Inner {
    session: AwsSession,
    service: String,
    sign_payload: bool,
    clock: WallClock,
}

impl SigV4Source {
    /// # Errors
    /// As [`Source::check`].
    pub(crate) fn new(config: SigV4Config, clock: WallClock) -> Result<Self, CredentialError> {
        Self::with_base(config, clock, None)
    }

    /// With other base credentials than the default chain's.
    pub(crate) fn with_base(
        config: SigV4Config,
        clock: WallClock,
        base: Option<SharedCredentialsProvider>,
    ) -> Result<Self, CredentialError> {
        let inner = Inner {
            session: AwsSession::new(config.check()?, Arc::clone(&clock), base)?,
            service: config.service.clone(),
            sign_payload: config.sign_payload,
            clock: Arc::clone(&clock),
        };
        Ok(Self { config, inner: Arc::new(inner), cache: Cache::new(Arc::clone(&clock)), clock })
    }

    async fn signer(&self, on_behalf: &OnBehalf<'_>) -> Result<Credential, CredentialError> {
        if let Some(role) = on_behalf.aws_role {
            role_arn("awsRole", role)?;
        }
        let role = on_behalf.aws_role.or(self.config.role_arn.as_deref());
        let fetch = |_| {
            let inner = Arc::clone(&self.inner);
            let ask = role.map(|role| Ask::new(role, on_behalf, (self.clock)()));
            async move {
                match ask {
                    Some(ask) => inner.assumed(&ask).await,
                    None => inner.own().await,
                }
            }
        };
        let signer = self.cache.get(role.map(|role| Key::of(role, on_behalf)), fetch).await?;
        Ok(Credential::AwsSigV4(signer))
    }
}

impl Inner {
    async fn assumed(&self, ask: &Ask) -> Result<Held<Arc<AwsSigner>>, Unavailable> {
        let assumed = ask.send(&self.session).await?;
        self.held(ask.what(), assumed.credentials, Some(assumed.expires))
    }

    async fn own(&self) -> Result<Held<Arc<AwsSigner>>, Unavailable> {
        let credentials = self.session.base().await?;
        let expires = credentials.expiry().and_then(|at| Timestamp::try_from(at).ok());
        self.held("use the gate's own AWS credentials".into(), credentials, expires)
    }

    fn held(
        &self,
        what: String,
        credentials: Credentials,
        expires: Option<Timestamp>,
    ) -> Result<Held<Arc<AwsSigner>>, Unavailable> {
        let made = (self.clock)();
        let (renew, expires) = match expires {
            Some(expires) => {
                let left = expires.duration_since(made);
                if left < SHORTEST {
                    let why =
                        format!("the keys end at {expires} and it is {made}: is this host's clock right?");
                    return Err(Unavailable { what, why: Why::Unusable(why) });
                }
                (expires - RENEW_BEFORE.min(left / 5), expires)
            }
            None => (made + LASTING_RENEW, made + LASTING),
        };
        let region = &self.session.terms().region.name;
        let clock = Arc::clone(&self.clock);
        let signer = AwsSigner::new(credentials, region, &self.service, self.sign_payload, clock);
        Ok(Held { value: Arc::new(signer), made, renew, expires, keep: expires })
    }
}

impl Source for SigV4Source {
    fn present<'a>(&'a self, on_behalf: &'a OnBehalf<'a>) -> Presenting<'a> {
        Box::pin(self.signer(on_behalf))
    }

    fn check(&self) -> Result<(), CredentialError> {
        self.config.check().map(drop)
    }
}
