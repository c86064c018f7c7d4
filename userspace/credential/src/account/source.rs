//! The source of service-account tokens: one for each account, whoever it is presented for.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::{
    BearerToken, ClientCertificateFiles, Credential, CredentialError, OnBehalf, ServiceAccount, Source,
    TargetPlace, TokenRequestConfig, Unavailable, Using, Why,
    account::ask::ask,
    cache::{Cache, Held},
    clock::WallClock,
    source::{BearerFile, CertificateFiles, Presenting},
};

/// A token is replaced when this much of its life is over, in percent.
const RENEW_AT: i32 = 80;
/// A token that lives shorter than this is not worth having.
const SHORTEST: SignedDuration = SignedDuration::from_secs(60);

/// Presents service-account tokens.
pub(crate) struct AccountSource {
    inner: Arc<Inner>,
    cache: Cache<ServiceAccount, BearerToken>,
}

struct Inner {
    config: TokenRequestConfig,
    place: TargetPlace,
    using: Asker,
    clock: WallClock,
}

/// What asks.
enum Asker {
    Bearer(BearerFile),
    Certificate(CertificateFiles),
}

impl AccountSource {
    pub(crate) fn new(config: TokenRequestConfig, place: TargetPlace, clock: WallClock) -> Self {
        let monotonic = Arc::new(std::time::Instant::now);
        let using = match &config.using {
            Using::BearerTokenFile(path) => Asker::Bearer(BearerFile::new(path.clone(), monotonic)),
            Using::ClientCertificate(ClientCertificateFiles { cert_file, key_file }) => {
                let files =
                    ClientCertificateFiles { cert_file: cert_file.clone(), key_file: key_file.clone() };
                Asker::Certificate(CertificateFiles::new(files, monotonic))
            }
        };
        let inner = Inner { config, place, using, clock: Arc::clone(&clock) };
        Self { inner: Arc::new(inner), cache: Cache::new(clock) }
    }

    async fn token(&self, on_behalf: &OnBehalf<'_>) -> Result<Credential, CredentialError> {
        let account = match on_behalf.service_account {
            Some((namespace, name)) => {
                let account = ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() };
                account.check("serviceAccount")?;
                account
            }
            None => self.inner.config.service_account.clone(),
        };
        let fetch = |_| {
            let (inner, account) = (Arc::clone(&self.inner), account.clone());
            async move { inner.fetch(&account).await }
        };
        Ok(Credential::Bearer(self.cache.get(account.clone(), fetch).await?))
    }
}

impl Inner {
    async fn fetch(&self, account: &ServiceAccount) -> Result<Held<BearerToken>, Unavailable> {
        let failed = |why| Unavailable {
            what: format!("get a token of service account {}/{}", account.namespace, account.name),
            why,
        };
        let using = self.using.current().map_err(|error| failed(Why::Unusable(error.to_string())))?;
        let made = (self.clock)();
        let given = ask(&self.place, &using, &self.config, account).await.map_err(failed)?;
        let life = given.expires.duration_since(made);
        if life < SHORTEST {
            let why =
                format!("the token ends at {} and it is {made}: is this host's clock right?", given.expires);
            return Err(failed(Why::Unusable(why)));
        }
        let renew = made + life * RENEW_AT / 100;
        Ok(Held { value: given.token, made, renew, expires: given.expires, keep: given.expires })
    }
}

impl Asker {
    fn current(&self) -> Result<Credential, CredentialError> {
        match self {
            Self::Bearer(file) => file.current(),
            Self::Certificate(files) => files.current(),
        }
    }
}

impl Source for AccountSource {
    fn present<'a>(&'a self, on_behalf: &'a OnBehalf<'a>) -> Presenting<'a> {
        Box::pin(self.token(on_behalf))
    }

    fn check(&self) -> Result<(), CredentialError> {
        self.inner.config.check()?;
        self.inner.place.check()?;
        self.inner.using.current().map(drop)
    }
}
