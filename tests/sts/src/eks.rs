//! EKS tokens, verified as a cluster's authenticator does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

use crate::Refusal;
use crate::answer::Answer;
use crate::form::Form;
use crate::service::Service;

const PREFIX: &str = "k8s-aws-v1.";
const LONGEST: usize = 4096;
/// What a presigned GetCallerIdentity consists of, in lower case; nothing else may be there.
const PARAMETERS: &[&str] = &[
    "action",
    "version",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// Who a token or a signature stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// `arn:aws:sts::111122223333:assumed-role/portcullis/alice`
    pub arn: String,
    /// `AROA…:alice`
    pub user_id: String,
    /// The account.
    pub account: String,
    /// The last part of an assumed role's ARN.
    pub session_name: Option<String>,
}

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// It is not a token for an EKS cluster, or not for this one.
    #[error("not an EKS token for this cluster: {0}")]
    Malformed(String),
    /// STS says no.
    #[error("STS: {0}")]
    Sts(#[from] Refusal),
}

/// The person behind `token`, if it was made for `cluster`.
pub(crate) fn authenticate(service: &Service, token: &str, cluster: &str) -> Result<Identity, TokenRefused> {
    let no = |why: &str| TokenRefused::Malformed(why.to_owned());
    if token.len() > LONGEST {
        return Err(no("longer than 4096 bytes"));
    }
    let encoded = token.strip_prefix(PREFIX).ok_or_else(|| no("it does not begin with k8s-aws-v1."))?;
    let url = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| no("it is not unpadded base64url"))?;
    let url = String::from_utf8(url).map_err(|_| no("it is not a URL"))?;
    let rest = url.strip_prefix("https://").ok_or_else(|| no("its URL is not https"))?;
    let (host, query) = rest.split_once("/?").ok_or_else(|| no("its URL has another path than /"))?;
    if query.contains('#') {
        return Err(no("its URL has a fragment"));
    }
    if !service.is_called(host) {
        return Err(no("its URL names another host"));
    }
    let form = Form::query(query)?;
    let mut seen = Vec::new();
    for (name, _) in form.iter() {
        let name = name.to_ascii_lowercase();
        if !PARAMETERS.contains(&name.as_str()) || seen.contains(&name) {
            return Err(no("its URL has an unknown parameter, or one twice"));
        }
        seen.push(name);
    }
    if form.get("Action") != Some("GetCallerIdentity") {
        return Err(no("its action is not GetCallerIdentity"));
    }
    let signed = form.get("X-Amz-SignedHeaders").unwrap_or_default();
    if !signed.split(';').any(|name| name == "x-k8s-aws-id") {
        return Err(no("the cluster's name is not signed"));
    }
    let mut headers = HeaderMap::new();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| no("not fit for a header"));
    headers.insert(header::HOST, value(host)?);
    headers.insert("x-k8s-aws-id", value(cluster)?);
    match service.call("GET", "/", query, &headers, &[])? {
        Answer::Identity { arn, user_id } => Ok(Identity::new(arn, user_id)),
        Answer::Session { .. } => Err(no("STS answered something else")),
    }
}

impl Identity {
    pub(crate) fn new(arn: String, user_id: String) -> Self {
        let account = arn.split(':').nth(4).unwrap_or_default().to_owned();
        let session = arn.split_once(":assumed-role/").and_then(|(_, rest)| rest.split_once('/'));
        let session_name = session.map(|(_, name)| name.to_owned());
        Self { arn, user_id, account, session_name }
    }
}
