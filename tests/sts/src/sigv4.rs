//! Signature Version 4, the verifying side: the canonical request is made anew from what arrived, and signed again.
//!
//! Written from AWS's description of the algorithm and not with the library that signs, so that each checks the other.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use sha2::{Digest as _, Sha256};

use crate::Refusal;
use crate::form::{Form, encode};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a request's date may be from ours, and how long an EKS token lives.
const FRESH: SignedDuration = SignedDuration::from_mins(15);
/// A week, the longest that a presigned URL may say.
const LONGEST_EXPIRES: u32 = 604_800;
/// The query parameters that presigning adds.
const SIGNATURE: &str = "X-Amz-Signature";
/// In place of the body's digest.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A request as it came.
pub(crate) struct Arrived<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a Form,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// What a request says of its signature.
pub(crate) struct Signed {
    pub(crate) access_key_id: String,
    pub(crate) session_token: Option<String>,
    pub(crate) presigned: bool,
    /// The names of the signed headers, in order.
    pub(crate) headers: Vec<String>,
    at: Timestamp,
    /// The date as it was written.
    stamp: String,
    expires: Option<u32>,
    date: String,
    region: String,
    service: String,
    signature: String,
}

impl Signed {
    /// Reads it, from the Authorization header or from the query.
    ///
    /// # Errors
    /// When there is none, not one that can be checked, or one for another service.
    pub(crate) fn read(request: &Arrived<'_>, service: &str) -> Result<Self, Refusal> {
        let signed = Self::parse(request)?;
        if signed.service == service {
            return Ok(signed);
        }
        let message = format!("Credential should be scoped to correct service: '{service}'.");
        Err(Refusal::signature(message))
    }

    fn parse(request: &Arrived<'_>) -> Result<Self, Refusal> {
        let header = request.headers.get_all(header::AUTHORIZATION).iter().collect::<Vec<_>>();
        let in_query =
            request.query.get("X-Amz-Algorithm").is_some() || request.query.get(SIGNATURE).is_some();
        match header.as_slice() {
            [] if in_query => Self::of_query(request),
            [value] if !in_query => {
                let value = value.to_str().map_err(|_| Refusal::incomplete("Authorization is not text"))?;
                Self::of_header(request, value)
            }
            [] => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "MissingAuthenticationToken",
                "Request is missing Authentication Token",
            )),
            _ => Err(Refusal::incomplete("there is more than one signature")),
        }
    }

    fn of_header(request: &Arrived<'_>, value: &str) -> Result<Self, Refusal> {
        let rest = value
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(|| Refusal::incomplete("Unsupported AWS 'algorithm' in the Authorization header"))?;
        let mut fields = [None; 3];
        for field in rest.split(',') {
            let (name, value) = field
                .trim()
                .split_once('=')
                .ok_or_else(|| Refusal::incomplete("Authorization header: a field has no value"))?;
            let place = match name {
                "Credential" => 0,
                "SignedHeaders" => 1,
                "Signature" => 2,
                _ => return Err(Refusal::incomplete(format!("Authorization header: unknown field {name}"))),
            };
            if fields[place].replace(value).is_some() {
                return Err(Refusal::incomplete(format!("Authorization header: {name} is there twice")));
            }
        }
        let [Some(credential), Some(headers), Some(signature)] = fields else {
            return Err(Refusal::incomplete(
                "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters.",
            ));
        };
        let stamp = only(request.headers, "x-amz-date")?
            .ok_or_else(|| Refusal::incomplete("Authorization header requires existence of 'X-Amz-Date'"))?;
        let session_token = only(request.headers, "x-amz-security-token")?;
        Self::assemble(credential, headers, signature, stamp, session_token, None, false)
    }

    fn of_query(request: &Arrived<'_>) -> Result<Self, Refusal> {
        let field = |name: &str| {
            request.query.get(name).ok_or_else(|| {
                Refusal::incomplete(format!("AWS query-string parameters must include '{name}'"))
            })
        };
        if field("X-Amz-Algorithm")? != ALGORITHM {
            return Err(Refusal::incomplete("Unsupported AWS 'algorithm'"));
        }
        let expires = field("X-Amz-Expires")?
            .parse()
            .ok()
            .filter(|seconds| (1..=LONGEST_EXPIRES).contains(seconds))
            .ok_or_else(|| Refusal::invalid("X-Amz-Expires must be between 1 and 604800"))?;
        Self::assemble(
            field("X-Amz-Credential")?,
            field("X-Amz-SignedHeaders")?,
            field(SIGNATURE)?,
            field("X-Amz-Date")?.to_owned(),
            request.query.get("X-Amz-Security-Token").map(str::to_owned),
            Some(expires),
            true,
        )
    }

    fn assemble(
        credential: &str,
        headers: &str,
        signature: &str,
        stamp: String,
        session_token: Option<String>,
        expires: Option<u32>,
        presigned: bool,
    ) -> Result<Self, Refusal> {
        let scope: Vec<&str> = credential.split('/').collect();
        let [key, date, region, service, "aws4_request"] = scope.as_slice() else {
            return Err(Refusal::incomplete("Credential must be KEY/DATE/REGION/SERVICE/aws4_request"));
        };
        let at = DateTime::strptime("%Y%m%dT%H%M%SZ", &stamp)
            .ok()
            .and_then(|at| TimeZone::UTC.to_timestamp(at).ok())
            .ok_or_else(|| {
                Refusal::incomplete(format!("Date must be in ISO-8601 'basic format'. Got '{stamp}'."))
            })?;
        if stamp.get(..8) != Some(*date) {
            return Err(Refusal::signature("Date in Credential scope does not match YYYYMMDD of X-Amz-Date"));
        }
        let headers: Vec<String> = headers.split(';').map(str::to_owned).collect();
        if !headers.is_sorted_by(|a, b| a < b)
            || headers.iter().any(|name| name.to_ascii_lowercase() != *name)
        {
            return Err(Refusal::incomplete("SignedHeaders must be lower-case, sorted, and each there once"));
        }
        if !headers.iter().any(|name| name == "host") {
            return Err(Refusal::signature("'Host' must be a 'SignedHeader' in the AWS Authorization."));
        }
        Ok(Self {
            access_key_id: (*key).to_owned(),
            session_token,
            presigned,
            headers,
            at,
            stamp,
            expires,
            date: (*date).to_owned(),
            region: (*region).to_owned(),
            service: (*service).to_owned(),
            signature: signature.to_owned(),
        })
    }

    /// Whether it is the signature of this request by this key, made for this region, and neither old nor early.
    ///
    /// # Errors
    /// As the service words it.
    pub(crate) fn verify(
        &self,
        request: &Arrived<'_>,
        secret: &str,
        region: Option<&str>,
        now: Timestamp,
        honour_expires: bool,
    ) -> Result<(), Refusal> {
        if region.is_some_and(|region| region != self.region) {
            return Err(Refusal::signature("Credential should be scoped to a valid region."));
        }
        let life = match self.expires {
            Some(seconds) if honour_expires => SignedDuration::from_secs(seconds.into()),
            _ => FRESH,
        };
        if now.duration_since(self.at) >= life {
            return Err(Refusal::signature(format!(
                "Signature expired: {} is now too old ({now})",
                self.stamp
            )));
        }
        if self.at.duration_since(now) > FRESH {
            return Err(Refusal::signature(format!("Signature not yet current: {} ({now})", self.stamp)));
        }
        let canonical = self.canonical_request(request)?;
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{}", self.stamp, hex(&Sha256::digest(canonical)));
        let key = [self.date.as_str(), &self.region, &self.service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part));
        if hex(&hmac(&key, &to_sign)) != self.signature {
            return Err(Refusal::signature(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details.",
            ));
        }
        Ok(())
    }

    fn canonical_request(&self, request: &Arrived<'_>) -> Result<String, Refusal> {
        // What AWS adds meaning to must not be added behind the signer's back.
        for name in request.headers.keys().map(header::HeaderName::as_str) {
            if name.starts_with("x-amz-") && !self.headers.iter().any(|signed| signed == name) {
                return Err(Refusal::signature(format!("header {name} is there and not signed")));
            }
        }
        let mut query: Vec<(String, String)> = request
            .query
            .iter()
            .filter(|(name, _)| *name != SIGNATURE)
            .map(|(name, value)| (encode(name), encode(value)))
            .collect();
        query.sort();
        let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        // As it was sent, and encoded once more: every service but S3 has it so.
        let path: Vec<String> = request.path.split('/').map(encode).collect();
        let mut headers = String::new();
        for name in &self.headers {
            let values = request.headers.get_all(name).iter().map(|value| value.to_str().map(squeeze));
            let values: Vec<String> = values
                .collect::<Result<_, _>>()
                .map_err(|_| Refusal::signature(format!("header {name} is not text")))?;
            if values.is_empty() {
                return Err(Refusal::signature(format!("header {name} is signed and not there")));
            }
            headers.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        Ok(format!(
            "{}\n{}\n{}\n{headers}\n{}\n{}",
            request.method,
            path.join("/"),
            query.join("&"),
            self.headers.join(";"),
            self.payload(request)?
        ))
    }

    /// The body's digest. A header may say it too, or that the body is not signed, which STS itself does not take.
    fn payload(&self, request: &Arrived<'_>) -> Result<String, Refusal> {
        let digest = hex(&Sha256::digest(request.body));
        match only(request.headers, "x-amz-content-sha256")? {
            Some(said) if said == UNSIGNED && self.service != "sts" => Ok(said),
            Some(said) if said != digest => {
                Err(Refusal::signature("x-amz-content-sha256 is not the digest of the body"))
            }
            _ => Ok(digest),
        }
    }
}

/// The value of a header that may be there once.
fn only(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Refusal::incomplete(format!("{name} is there twice")));
    }
    first
        .map(|value| value.to_str().map(str::to_owned))
        .transpose()
        .map_err(|_| Refusal::incomplete(format!("{name} is not text")))
}

/// Trimmed, and runs of blanks made one.
fn squeeze(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
