//! The EKS token: a presigned STS `GetCallerIdentity` that the cluster sends off to learn who made it.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::{
    BearerToken,
    aws::{config::Settings, signature::Scope},
    error::causes,
};

const PREFIX: &str = "k8s-aws-v1.";
/// STS and EKS take a token for this long after its date, whatever it says of its expiry.
pub(crate) const LIFE: SignedDuration = SignedDuration::from_mins(15);
/// What the token says of its expiry: the value that EKS' own clients use.
const EXPIRES: Duration = Duration::from_secs(60);
/// The longest token that EKS takes.
const LONGEST: usize = 4096;

/// Signs a token as of `at`, to the second.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn make(
    settings: &Settings,
    credentials: &Credentials,
    at: Timestamp,
) -> Result<BearerToken, String> {
    // The public name, also where STS is reached through a VPC endpoint: the cluster asks from where it is.
    let host = settings.terms.region.host("sts");
    let url = presigned(&host, settings, credentials, at)?;
    let mut token = Zeroizing::new(String::with_capacity(PREFIX.len() + url.len() * 4 / 3 + 4));
    token.push_str(PREFIX);
    URL_SAFE_NO_PAD.encode_string(url.as_bytes(), &mut token);
    if token.len() > LONGEST {
        return Err(format!(
            "the token would have {} bytes, and EKS takes {LONGEST}: shorten or drop the session policy",
            token.len()
        ));
    }
    BearerToken::new(token.as_bytes()).ok_or_else(|| "the token is not one".to_owned())
}

fn presigned(
    host: &str,
    settings: &Settings,
    credentials: &Credentials,
    at: Timestamp,
) -> Result<Zeroizing<String>, String> {
    let base = format!("https://{host}/?Action=GetCallerIdentity&Version=2011-06-15");
    let mut how = SigningSettings::default();
    how.signature_location = SignatureLocation::QueryParams;
    how.expires_in = Some(EXPIRES);
    let headers = [("x-k8s-aws-id", settings.cluster.as_str())];
    let request = SignableRequest::new("GET", &base, headers.into_iter(), SignableBody::Bytes(&[]))
        .map_err(|error| causes(&error))?;
    let scope = Scope { credentials, region: &settings.terms.region.name, service: "sts", at };
    let instructions = scope.sign(request, how)?;
    let added = instructions.params();
    // Room for all of it from the start: growing would leave copies behind.
    let room = added.iter().map(|(name, value)| name.len() + 2 + value.len() * 3).sum::<usize>();
    let mut url = Zeroizing::new(String::with_capacity(base.len() + room));
    url.push_str(&base);
    for (name, value) in added {
        url.push('&');
        url.push_str(name);
        url.push('=');
        encode(&mut url, value);
    }
    Ok(url)
}

/// Percent-encodes as the signature's canonical form does (RFC 3986's unreserved characters stay).
fn encode(url: &mut String, value: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push('%');
            url.push(char::from(HEX[usize::from(byte >> 4)]));
            url.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}
