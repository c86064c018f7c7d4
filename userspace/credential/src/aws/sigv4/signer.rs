//! The keys that sign requests, and what of a request is signed.

use std::fmt;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::{CredentialError, CredentialId, aws::signature::Scope, clock::WallClock, error::causes};

/// Headers by which AWS is told who calls. None of them is the client's to send. The last asks a Bedrock AgentCore
/// runtime to act as another user than the one who signs.
const WHO_CALLS: [&str; 5] = [
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "x-amz-region-set",
    "x-amzn-bedrock-agentcore-runtime-user-id",
];

/// AWS' keys, for one service in one region. Wiped with the last user.
pub struct AwsSigner {
    credentials: Credentials,
    region: String,
    service: String,
    sign_payload: bool,
    clock: WallClock,
    id: CredentialId,
}

impl AwsSigner {
    pub(crate) fn new(
        credentials: Credentials,
        region: &str,
        service: &str,
        sign_payload: bool,
        clock: WallClock,
    ) -> Self {
        // Each session has an access key of its own.
        let of = [credentials.access_key_id(), region, service].join("\n");
        let id = CredentialId::of("aws signature", of.as_bytes());
        Self { credentials, region: region.to_owned(), service: service.to_owned(), sign_payload, clock, id }
    }

    pub(crate) fn id(&self) -> CredentialId {
        self.id
    }

    /// Signs the request as it will be sent: method, path and query, host, the headers that say what is meant, body.
    /// Other headers are not signed, because proxies and HTTP libraries change them.
    pub(crate) fn sign(
        &self,
        method: &Method,
        target: &str,
        host: &str,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<(), CredentialError> {
        let failed = |why: String| CredentialError::Sign { host: host.to_owned(), why };
        refuse_presigned(target).map_err(failed)?;
        for name in WHO_CALLS {
            headers.remove(name);
        }
        let mut signed = vec![("host", host)];
        for (name, value) in headers.iter().filter(|(name, _)| is_signed(name)) {
            let value = value.to_str().map_err(|_| failed(format!("header {name} is not plain ASCII")))?;
            signed.push((name.as_str(), value));
        }
        let mut settings = SigningSettings::default();
        let body = if self.sign_payload {
            SignableBody::Bytes(body)
        } else {
            // Only a header says so.
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            SignableBody::UnsignedPayload
        };
        let url = format!("https://{host}{target}");
        let request = SignableRequest::new(method.as_str(), url, signed.into_iter(), body)
            .map_err(|error| failed(causes(&error)))?;
        let at = (self.clock)();
        let scope =
            Scope { credentials: &self.credentials, region: &self.region, service: &self.service, at };
        let (added, _) = scope.sign(request, settings).map_err(failed)?.into_parts();
        for header in added {
            let mut value = HeaderValue::from_str(header.value()).map_err(|error| failed(causes(&error)))?;
            value.set_sensitive(true);
            headers.insert(header.name(), value);
        }
        Ok(())
    }
}

/// What steers the server: the body's type, AWS' own headers and MCP's, which repeat what the body says.
fn is_signed(name: &HeaderName) -> bool {
    *name == header::CONTENT_TYPE || name.as_str().starts_with("x-amz") || name.as_str().starts_with("mcp-")
}

/// A signature in the query would be the client's own, and compete with ours.
fn refuse_presigned(target: &str) -> Result<(), String> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.to_ascii_lowercase());
    match names.into_iter().find(|name| name.starts_with("x-amz-")) {
        Some(name) => Err(format!("the query already has {name}, and only the gate signs")),
        None => Ok(()),
    }
}

impl fmt::Debug for AwsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsSigner({})", self.id)
    }
}
