//! The source of EKS tokens: one role session for each person, role, grant and AWS role.

use std::sync::Arc;

use aws_credential_types::provider::SharedCredentialsProvider;
use jiff::{SignedDuration, Timestamp};

use crate::{
    BearerToken, Credential, CredentialError, EksConfig, OnBehalf, Source, Unavailable, Why,
    aws::{
        assume::{Ask, Assumed},
        config::Settings,
        key::Key,
        region::role_arn,
        session::AwsSession,
        token,
    },
    cache::{Cache, Held},
    clock::WallClock,
    source::Presenting,
};

/// A token is replaced this long after it was made.
const RENEW: SignedDuration = SignedDuration::from_mins(14);
/// A session that ends sooner than this is good for nothing.
const SHORTEST: SignedDuration = SignedDuration::from_secs(60);
/// While STS cannot be reached, a token signed with the session at hand is tried to be replaced this often.
const RETRY: SignedDuration = SignedDuration::from_secs(30);

/// Presents EKS tokens.
pub(crate) struct EksSource {
    config: EksConfig,
    clock: WallClock,
    inner: Arc<Inner>,
    cache: Cache<Key, Signed>,
}

struct Inner {
    settings: Settings,
    session: AwsSession,
    clock: WallClock,
}

/// A token and the session that signed it.
#[derive(Clone)]
struct Signed {
    token: BearerToken,
    session: Assumed,
}

impl EksSource {
    /// # Errors
    /// As [`Source::check`].
    pub(crate) fn new(config: EksConfig, clock: WallClock) -> Result<Self, CredentialError> {
        Self::with_base(config, clock, None)
    }

    /// With other base credentials than the default chain's.
    pub(crate) fn with_base(
        config: EksConfig,
        clock: WallClock,
        base: Option<SharedCredentialsProvider>,
    ) -> Result<Self, CredentialError> {
        let settings = config.check()?;
        let session = AwsSession::new(settings.terms.clone(), Arc::clone(&clock), base)?;
        let inner = Arc::new(Inner { settings, session, clock: Arc::clone(&clock) });
        Ok(Self { config, inner, cache: Cache::new(Arc::clone(&clock)), clock })
    }

    async fn token(&self, on_behalf: &OnBehalf<'_>) -> Result<Credential, CredentialError> {
        let role = match on_behalf.aws_role {
            Some(role) => {
                role_arn("awsRole", role)?;
                role
            }
            None => &self.inner.settings.role_arn,
        };
        let fetch = |previous: Option<Signed>| {
            let inner = Arc::clone(&self.inner);
            let ask = Ask::new(role, on_behalf, (self.clock)());
            async move { inner.renew(&ask, previous).await }
        };
        let signed = self.cache.get(Key::of(role, on_behalf), fetch).await?;
        Ok(Credential::Bearer(signed.token))
    }
}

impl Inner {
    /// A new token: by the session at hand where that outlives it, else by a new one; and where STS gives none, by
    /// what is left of the one at hand.
    async fn renew(&self, ask: &Ask, previous: Option<Signed>) -> Result<Held<Signed>, Unavailable> {
        let now = (self.clock)();
        let at_hand = previous.map(|signed| signed.session);
        if let Some(session) = at_hand.as_ref().filter(|session| session.expires >= now + token::LIFE) {
            return self.sign(ask, session.clone(), now);
        }
        match ask.send(&self.session).await {
            Ok(session) => self.sign(ask, session, (self.clock)()),
            Err(error) => {
                let now = (self.clock)();
                let Some(session) = at_hand.filter(|session| session.expires > now + SHORTEST) else {
                    return Err(error);
                };
                tracing::warn!(%error, "an EKS token is signed with what is left of the role session");
                let held = self.sign(ask, session, now)?;
                Ok(Held { renew: held.renew.min(now + RETRY), ..held })
            }
        }
    }

    fn sign(&self, ask: &Ask, session: Assumed, now: Timestamp) -> Result<Held<Signed>, Unavailable> {
        let unusable = |why| Unavailable { what: ask.what(), why: Why::Unusable(why) };
        if session.expires < now + SHORTEST {
            return Err(unusable(format!(
                "the role session ends at {} and it is {now}: is this host's clock right?",
                session.expires
            )));
        }
        // Its date has no fractions.
        let made = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let token = token::make(&self.settings, &session.credentials, made).map_err(unusable)?;
        let expires = (made + token::LIFE).min(session.expires);
        let renew = (made + RENEW).min(expires - SHORTEST / 2);
        let keep = session.expires;
        Ok(Held { value: Signed { token, session }, made, renew, expires, keep })
    }
}

impl Source for EksSource {
    fn present<'a>(&'a self, on_behalf: &'a OnBehalf<'a>) -> Presenting<'a> {
        Box::pin(self.token(on_behalf))
    }

    fn check(&self) -> Result<(), CredentialError> {
        self.config.check().map(drop)
    }
}
