//! Tokens of EKS, checked as its webhook does: the token is a presigned request to STS, and STS says whose it is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::uri::Authority;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Error;
use crate::auth::User;
use crate::request::Query;

/// What the tokens begin with.
const PREFIX: &str = "k8s-aws-v1.";
/// The header that binds a token to one cluster.
const CLUSTER_HEADER: &str = "x-k8s-aws-id";
/// How long an answer of STS is remembered, as the API server does by default.
const REMEMBERED: Duration = Duration::from_secs(120);
/// How long STS may take.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: usize = 64 * 1024;

/// How the cluster takes tokens of EKS.
#[derive(Debug, Clone)]
pub struct EksConfig {
    /// The cluster's name, which tokens must be signed for.
    pub cluster: String,
    /// STS, as tokens name it: `https://host:port`.
    pub sts: Uri,
    /// The CA of its certificate, a PEM file.
    pub sts_ca: PathBuf,
    /// Who is who; the first that fits counts.
    pub users: Vec<EksUser>,
}

/// Whom an IAM role or user is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EksUser {
    /// `arn:aws:iam::111122223333:role/name` or `…:user/name`.
    pub arn: String,
    /// What they are called; `{{SessionName}}` stands for the session's name, with `-` for `@`.
    pub name: String,
    /// Their groups.
    pub groups: Vec<String>,
}

/// The check, ready to be made.
pub(crate) struct Eks {
    cluster: String,
    sts: Authority,
    users: Vec<EksUser>,
    tls: TlsConnector,
    known: Mutex<HashMap<String, (Instant, User)>>,
}

impl Eks {
    /// Reads the CA.
    ///
    /// # Errors
    /// When it cannot be read, or STS is no `https://` address.
    pub(crate) fn new(config: &EksConfig) -> Result<Eks, Error> {
        let unreadable = |why: String| Error::Sts { address: config.sts.to_string(), why };
        let sts = config.sts.authority().filter(|_| config.sts.scheme_str() == Some("https"));
        let sts = sts.ok_or_else(|| unreadable("want https://host:port".to_owned()))?.clone();
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(&config.sts_ca);
        roots.add(ca.map_err(|error| unreadable(format!("{}: {error}", config.sts_ca.display())))?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(tls));
        Ok(Eks {
            cluster: config.cluster.clone(),
            sts,
            users: config.users.clone(),
            tls,
            known: Mutex::default(),
        })
    }

    /// Whom a token stands for, as far as this cluster knows them.
    pub(crate) async fn user(&self, token: &str) -> Option<User> {
        let encoded = token.strip_prefix(PREFIX)?;
        let known = || self.known.lock().expect("no holder of this lock panics");
        if let Some((_, user)) = known().get(token).filter(|(since, _)| since.elapsed() < REMEMBERED) {
            return Some(user.clone());
        }
        match tokio::time::timeout(PATIENCE, self.verify(encoded)).await {
            Ok(Ok(user)) => {
                known().insert(token.to_owned(), (Instant::now(), user.clone()));
                Some(user)
            }
            Ok(Err(why)) => {
                tracing::info!("EKS token refused: {why}");
                None
            }
            Err(_) => {
                tracing::info!("EKS token refused: STS takes too long");
                None
            }
        }
    }

    async fn verify(&self, encoded: &str) -> anyhow::Result<User> {
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded)?)?;
        let url: Uri = url.parse()?;
        let host = url.authority().filter(|host| **host == self.sts || is_public(host.as_str()));
        let host = host.ok_or_else(|| anyhow::anyhow!("it is for another host than STS"))?;
        let query = Query::parse(url.query().unwrap_or_default());
        anyhow::ensure!(query.filled("Action") == Some("GetCallerIdentity"), "it asks for something else");
        // Without this, one cluster could use what it was shown at another.
        let signed = query.filled("X-Amz-SignedHeaders").unwrap_or_default();
        anyhow::ensure!(signed.split(';').any(|name| name == CLUSTER_HEADER), "it is signed for no cluster");
        let answer = self.ask(host, &url).await?;
        let result = &answer["GetCallerIdentityResponse"]["GetCallerIdentityResult"];
        let text = |name: &str| {
            result[name].as_str().ok_or_else(|| anyhow::anyhow!("STS named no {name}: {answer}"))
        };
        self.known(text("Arn")?, text("Account")?, text("UserId")?, &query)
            .ok_or_else(|| anyhow::anyhow!("{} is nobody in this cluster", result["Arn"]))
    }

    /// Asks our STS, which answers for the public one too, by the name that was signed.
    async fn ask(&self, signed: &Authority, url: &Uri) -> anyhow::Result<Value> {
        let (host, port) = (self.sts.host(), self.sts.port_u16().unwrap_or(443));
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await?;
        let stream = self.tls.connect(ServerName::try_from(bare.to_owned())?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let request = Request::get(target)
            .header(HOST, signed.as_str())
            .header(CLUSTER_HEADER, &self.cluster)
            .header(ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("STS breaks off: {error}"))?.to_bytes();
        // A redirect is a refusal like any other.
        let shown = || String::from_utf8_lossy(&body).into_owned();
        anyhow::ensure!(status == StatusCode::OK, "STS answered {status}: {}", shown());
        Ok(serde_json::from_slice(&body)?)
    }

    fn known(&self, arn: &str, account: &str, id: &str, query: &Query) -> Option<User> {
        let (canonical, session) = canonical(arn)?;
        let entry = self.users.iter().find(|user| user.arn == canonical)?;
        let name = entry.name.replace("{{SessionName}}", &session.replace('@', "-"));
        let mut user = User::new(name, entry.groups.iter().cloned());
        // As aws-iam-authenticator puts it into the audit log.
        user.uid = format!("aws-iam-authenticator:{account}:{id}");
        let access_key = query.filled("X-Amz-Credential").and_then(|credential| credential.split('/').next());
        for (key, value) in [
            ("accessKeyId", access_key.unwrap_or_default()),
            ("arn", arn),
            ("canonicalArn", &canonical),
            ("principalId", id),
            ("sessionName", &session),
        ] {
            user.extra.insert(key.to_owned(), vec![value.to_owned()]);
        }
        Some(user)
    }
}

impl std::str::FromStr for EksUser {
    type Err = String;

    /// `ARN=name=group,group`
    fn from_str(text: &str) -> Result<EksUser, String> {
        let mut parts = text.splitn(3, '=');
        let (Some(arn), Some(name)) = (parts.next(), parts.next()) else {
            return Err(format!("{text:?}: want ARN=name=group,group"));
        };
        let groups = parts.next().unwrap_or_default();
        let groups = groups.split(',').filter(|group| !group.is_empty()).map(str::to_owned).collect();
        Ok(EksUser { arn: arn.to_owned(), name: name.to_owned(), groups })
    }
}

/// The role or user behind what STS calls the caller, and the name of the session, empty for a user.
fn canonical(arn: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, service, _, account, resource] = parts[..] else { return None };
    let mut path = resource.split('/');
    match (service, path.next()?, path.next(), path.next()) {
        ("sts", "assumed-role", Some(role), Some(session)) => {
            Some((format!("arn:{partition}:iam::{account}:role/{role}"), session.to_owned()))
        }
        ("iam", "user", Some(_), _) => Some((arn.to_owned(), String::new())),
        _ => None,
    }
}

/// Whether a host is one at which AWS itself answers for a region, or for all.
fn is_public(host: &str) -> bool {
    let region = host.strip_prefix("sts.").and_then(|rest| rest.strip_suffix("amazonaws.com"));
    region.is_some_and(|region| {
        region.is_empty() || region.ends_with('.') && !region.trim_end_matches('.').contains('.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_traced_to_its_role() {
        let of = canonical;
        assert_eq!(
            of("arn:aws:sts::111122223333:assumed-role/Dev/alice@x"),
            Some(("arn:aws:iam::111122223333:role/Dev".to_owned(), "alice@x".to_owned()))
        );
        let user = "arn:aws-cn:iam::111122223333:user/team/bob";
        assert_eq!(of(user), Some((user.to_owned(), String::new())));
        for other in ["arn:aws:iam::111122223333:root", "arn:aws:sts::1:federated-user/x", "alice", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_mapping_is_read() {
        let user: EksUser = "arn:aws:iam::1:role/Dev=eng:{{SessionName}}=dev,ops".parse().expect("reads");
        assert_eq!((user.name.as_str(), user.groups.len()), ("eng:{{SessionName}}", 2));
        assert!("arn:aws:iam::1:role/Dev".parse::<EksUser>().is_err());
    }
}
