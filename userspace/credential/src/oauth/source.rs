//! The source of access tokens: one for everybody, because it stands for the gate.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::{
    BearerToken, ClientCredentialsConfig, Credential, CredentialError, OnBehalf, Source, Unavailable, Why,
    cache::{Cache, Held},
    clock::WallClock,
    oauth::{
        ask::ask,
        client::Prover,
        config::{Server, Settings},
    },
    source::{Clock, Presenting},
};

/// A token is replaced when this much of its life is over, in percent.
const RENEW_AT: i32 = 80;
/// A token that lives shorter than this is not worth having.
const SHORTEST: SignedDuration = SignedDuration::from_secs(10);
/// A token is used no longer than this, so that a client that was taken away is noticed.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// The life of a token that does not say.
const UNSAID: SignedDuration = SignedDuration::from_mins(5);

/// Presents access tokens.
pub(crate) struct ClientCredentialsSource {
    config: ClientCredentialsConfig,
    inner: Arc<Inner>,
    cache: Cache<(), BearerToken>,
}

struct Inner {
    settings: Settings,
    prover: Prover,
    clock: WallClock,
}

impl ClientCredentialsSource {
    /// The secret's file is looked at by `looks`.
    ///
    /// # Errors
    /// As [`Source::check`], but for the secret.
    pub(crate) fn new(
        config: ClientCredentialsConfig,
        clock: WallClock,
        looks: Clock,
    ) -> Result<Self, CredentialError> {
        let (settings, proof) = config.check()?;
        let inner = Inner { settings, prover: Prover::new(proof, looks), clock: Arc::clone(&clock) };
        Ok(Self { config, inner: Arc::new(inner), cache: Cache::new(clock) })
    }

    async fn token(&self) -> Result<Credential, CredentialError> {
        let fetch = |_| {
            let inner = Arc::clone(&self.inner);
            async move { inner.fetch().await }
        };
        Ok(Credential::Bearer(self.cache.get((), fetch).await?))
    }
}

impl Inner {
    async fn fetch(&self) -> Result<Held<BearerToken>, Unavailable> {
        let failed = |why| {
            let (Server::Endpoint(url) | Server::Issuer(_, url)) = &self.settings.server;
            Unavailable {
                what: format!("get an access token for {} from {url}", self.settings.client_id),
                why,
            }
        };
        let made = (self.clock)();
        let given = ask(&self.settings, &self.prover, made).await.map_err(failed)?;
        let life = given.life.unwrap_or(UNSAID).min(LONGEST);
        if life < SHORTEST {
            let why = format!("it lasts {} seconds, which is too short to be used", life.as_secs());
            return Err(failed(Why::Unusable(why)));
        }
        let expires = made + life;
        Ok(Held { value: given.token, made, renew: made + life * RENEW_AT / 100, expires, keep: expires })
    }
}

impl Source for ClientCredentialsSource {
    fn present<'a>(&'a self, _on_behalf: &'a OnBehalf<'a>) -> Presenting<'a> {
        Box::pin(self.token())
    }

    fn check(&self) -> Result<(), CredentialError> {
        self.config.check()?;
        self.inner.prover.check()
    }
}
