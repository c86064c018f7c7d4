//! Base credentials and the way to AWS: the SDK's default chain (environment, profile, IRSA's web identity, container
//! and pod identity, instance role), over TLS by rustls and aws-lc-rs.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials as _, SharedCredentialsProvider},
};
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::OnceCell;

use crate::{
    CredentialError, Unavailable, Why,
    aws::terms::Terms,
    clock::{WallClock, system_time},
    error::causes,
};

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);
/// Of a call with its retries. Below the cache's limit, so that the SDK's own words are what is reported.
const CALL_LIMIT: Duration = Duration::from_secs(12);

/// The SDK's configuration, loaded at first use: until then nothing is called, and the daemon starts without AWS.
pub(crate) struct AwsSession {
    terms: Terms,
    clock: WallClock,
    /// Instead of the default chain.
    base: Option<SharedCredentialsProvider>,
    http: SharedHttpClient,
    loaded: OnceCell<SdkConfig>,
}

impl AwsSession {
    pub(crate) fn new(
        terms: Terms,
        clock: WallClock,
        base: Option<SharedCredentialsProvider>,
    ) -> Result<Self, CredentialError> {
        let http = http_client(terms.ca.as_deref())?;
        Ok(Self { terms, clock, base, http, loaded: OnceCell::new() })
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(crate) async fn config(&self) -> &SdkConfig {
        self.loaded.get_or_init(|| self.load()).await
    }

    /// The gate's own credentials.
    pub(crate) async fn base(&self) -> Result<Credentials, Unavailable> {
        let unreachable = |why: String| Unavailable {
            what: "get the gate's own AWS credentials".into(),
            why: Why::Unreachable(why),
        };
        let provider = self.config().await.credentials_provider();
        let provider = provider.ok_or_else(|| unreachable("the SDK has no provider".into()))?;
        provider.provide_credentials().await.map_err(|error| unreachable(causes(&error)))
    }

    async fn load(&self) -> SdkConfig {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_LIMIT)
            .operation_attempt_timeout(ATTEMPT_LIMIT)
            .operation_timeout(CALL_LIMIT)
            .build();
        // One retry by the SDK. The cache does the rest, and more slowly.
        let retries =
            RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(200));
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .region(aws_config::Region::new(self.terms.region.name.clone()))
            .http_client(self.http.clone())
            .time_source(Ticking(Arc::clone(&self.clock)))
            .timeout_config(timeouts)
            .retry_config(retries);
        match &self.base {
            Some(base) => loader.credentials_provider(base.clone()).load().await,
            None => loader.load().await,
        }
    }
}

/// Trusts the given CA alone, or the system's roots.
fn http_client(ca: Option<&[u8]>) -> Result<SharedHttpClient, CredentialError> {
    let trust = match ca {
        Some(pem) => TrustStore::empty().with_pem_certificate(pem),
        None => TrustStore::default(),
    };
    let context = TlsContext::builder().with_trust_store(trust).build();
    let context = context.map_err(|error| CredentialError::config("certificateAuthority", causes(&error)))?;
    let builder = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    Ok(builder.tls_context(context).build_https())
}

/// Our clock, for the SDK.
struct Ticking(WallClock);

impl TimeSource for Ticking {
    fn now(&self) -> SystemTime {
        system_time((self.0)())
    }
}

impl fmt::Debug for Ticking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticking")
    }
}
