//! Where a cluster is and what its CA is: one signed GET of the EKS API.
//!
//! By hand, and not by the SDK's client for EKS: that is one call out of a hundred operations, and the client would
//! take longer to compile than this crate. Requests are signed by AWS's own library all the same.

use std::{fs, path::Path, sync::Arc};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    CredentialError, EksConfig, Unavailable, Why,
    aws::{config::Settings, session::AwsSession, signature::Scope},
    clock::{self, WallClock},
    credential::certificates,
    error::{causes, quote},
    file::read_public,
    web,
};

/// What is public of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiscoveredCluster {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its ARN.
    pub arn: String,
    /// `https://….eks.amazonaws.com`
    pub endpoint: String,
    /// The CA that vouches for it, in PEM.
    pub certificate_authority_pem: String,
}

/// A cluster, and whether AWS said so just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The cluster.
    pub cluster: DiscoveredCluster,
    /// Why AWS could not be asked, where this is what it said some earlier time.
    pub remembered: Option<Unavailable>,
}

/// Asks AWS where the cluster is. reqwest needs the process' default provider of rustls to be installed.
///
/// # Errors
/// When the configuration is wrong, AWS cannot be reached or refuses, or what it says cannot be used.
pub async fn discover(config: &EksConfig) -> Result<DiscoveredCluster, CredentialError> {
    discover_with(config, clock::system(), None).await
}

/// The same, keeping the answer in `file`, of a folder that nobody else can write. When AWS cannot be reached, what is
/// kept there is used, and said to be. A refusal is final: a cluster that is gone is not remembered.
///
/// # Errors
/// As [`discover`].
pub async fn discover_or_remembered(config: &EksConfig, file: &Path) -> Result<Discovery, CredentialError> {
    discover_or_remembered_with(config, file, clock::system(), None).await
}

pub(crate) async fn discover_or_remembered_with(
    config: &EksConfig,
    file: &Path,
    clock: WallClock,
    base: Option<SharedCredentialsProvider>,
) -> Result<Discovery, CredentialError> {
    match discover_with(config, clock, base).await {
        Ok(cluster) => {
            remember(file, &cluster);
            Ok(Discovery { cluster, remembered: None })
        }
        Err(CredentialError::Unavailable(error)) if matches!(error.why, Why::Unreachable(_)) => {
            match recall(file, config) {
                Some(cluster) => {
                    tracing::warn!(%error, file = %file.display(), "AWS is not reachable: using what it said earlier");
                    Ok(Discovery { cluster, remembered: Some(error) })
                }
                None => Err(error.into()),
            }
        }
        Err(error) => Err(error),
    }
}

pub(crate) async fn discover_with(
    config: &EksConfig,
    clock: WallClock,
    base: Option<SharedCredentialsProvider>,
) -> Result<DiscoveredCluster, CredentialError> {
    let settings = config.check()?;
    let session = AwsSession::new(settings.terms.clone(), Arc::clone(&clock), base)?;
    let credentials = session.base().await?;
    let failed = |why| Unavailable { what: format!("look up EKS cluster {}", settings.cluster), why };
    let answer = ask(&settings, &credentials, clock()).await.map_err(failed)?;
    Ok(answer.cluster.usable(&settings.terms.region.name).map_err(|why| failed(Why::Unusable(why)))?)
}

/// `DescribeCluster`'s answer, as far as it is wanted.
#[derive(Deserialize)]
struct Described {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cluster {
    name: String,
    arn: String,
    status: Option<String>,
    endpoint: Option<String>,
    certificate_authority: Option<Authority>,
}

#[derive(Deserialize)]
struct Authority {
    data: Option<String>,
}

impl Cluster {
    fn usable(self, region: &str) -> Result<DiscoveredCluster, String> {
        let status = self.status.as_deref().unwrap_or("of no status").to_owned();
        let endpoint = self.endpoint.filter(|endpoint| endpoint.starts_with("https://"));
        let endpoint =
            endpoint.ok_or_else(|| format!("the cluster is {status} and has no https endpoint"))?;
        let data = self.certificate_authority.and_then(|authority| authority.data);
        let data = data.ok_or_else(|| format!("the cluster is {status} and has no CA"))?;
        let pem = STANDARD.decode(data).map_err(|_| "its CA is not base64".to_owned())?;
        certificates(&pem).map_err(|error| format!("its CA is not PEM: {error}"))?;
        let certificate_authority_pem =
            String::from_utf8(pem).map_err(|_| "its CA is not text".to_owned())?;
        let Self { name, arn, .. } = self;
        Ok(DiscoveredCluster { name, region: region.to_owned(), arn, endpoint, certificate_authority_pem })
    }
}

async fn ask(settings: &Settings, credentials: &Credentials, now: Timestamp) -> Result<Described, Why> {
    let url = format!("{}/clusters/{}", settings.eks, settings.cluster);
    let mut request = web::client(settings.terms.ca.as_deref())?.get(&url);
    for (name, value) in signature(settings, credentials, &url, now)? {
        request = request.header(name, value);
    }
    let response = request.send().await.map_err(web::unreachable)?;
    let status = response.status();
    let kind = response.headers().get("x-amzn-errortype").and_then(|kind| kind.to_str().ok());
    let code = kind.map_or_else(
        || format!("HTTP {}", status.as_u16()),
        |kind| quote(kind.split(':').next().unwrap_or(kind)),
    );
    let body = web::body(response).await?;
    if status.is_success() {
        return serde_json::from_slice(&body)
            .map_err(|error| Why::Unusable(format!("the EKS API answered what is no cluster: {error}")));
    }
    #[derive(Deserialize)]
    struct Said {
        #[serde(alias = "Message")]
        message: String,
    }
    let said = serde_json::from_slice::<Said>(&body);
    let message = said.map_or_else(|_| "the EKS API gave no reason".to_owned(), |said| quote(&said.message));
    if status.is_server_error() || status.as_u16() == 429 || code.contains("Throttl") {
        return Err(Why::Unreachable(format!("{code}: {message}")));
    }
    Err(Why::Refused { code, message })
}

/// The headers that sign a GET of `url`.
fn signature(
    settings: &Settings,
    credentials: &Credentials,
    url: &str,
    now: Timestamp,
) -> Result<Vec<(String, String)>, Why> {
    let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::Bytes(&[]))
        .map_err(|error| Why::Unusable(causes(&error)))?;
    let scope = Scope { credentials, region: &settings.terms.region.name, service: "eks", at: now };
    let instructions = scope.sign(request, SigningSettings::default()).map_err(Why::Unusable)?;
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Written beside and renamed, so that a crash leaves the old one or the new one. What cannot be kept is said, and
/// missed only when AWS is.
fn remember(file: &Path, cluster: &DiscoveredCluster) {
    let beside = file.with_extension("new");
    let write = || {
        let mut new = fs::File::create(&beside)?;
        serde_json::to_writer_pretty(&mut new, cluster)?;
        new.sync_all()?;
        fs::rename(&beside, file)
    };
    let written: Result<(), std::io::Error> = write();
    if let Err(error) = written {
        tracing::warn!(%error, file = %file.display(), "cannot keep where the cluster is for when AWS is down");
    }
}

/// What was kept, if it is about the cluster that is configured now.
fn recall(file: &Path, config: &EksConfig) -> Option<DiscoveredCluster> {
    let content = read_public(file).ok()?;
    let cluster: DiscoveredCluster = serde_json::from_slice(&content).ok()?;
    (cluster.name == config.cluster && cluster.region == config.region).then_some(cluster)
}
