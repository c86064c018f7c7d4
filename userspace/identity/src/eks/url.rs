//! The presigned URL inside an EKS token.
//!
//! It is read once, and the very value that was checked is what is requested: no second reader can see another host or
//! parameter. Where a URL could be read in two ways it is refused, so it must be spelled as our own reader would spell
//! it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use zeroize::Zeroizing;

use super::{EksRefusal, PREFIX};
use crate::IdentityError;

const MAX_TOKEN: usize = 4096;
const LIFETIME: SignedDuration = SignedDuration::from_mins(15);
/// By how much the clock that signed it may be ahead of ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Every parameter that a presigned GetCallerIdentity may have, in lower case.
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
    "x-amz-user-agent",
];

/// A partition of AWS: how its regions are named and what its STS hosts end with. The first suffix is that of `sts.` and
/// `sts-fips.`, the second that of their dual-stack twins.
struct Partition {
    prefixes: &'static [&'static str],
    suffixes: [&'static str; 2],
}

/// After the SDKs' partition metadata (`regionRegex`, `dnsSuffix`, `dualStackDnsSuffix`).
const PARTITIONS: &[Partition] = &[
    Partition {
        prefixes: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"],
        suffixes: ["amazonaws.com", "api.aws"],
    },
    Partition { prefixes: &["us-gov"], suffixes: ["amazonaws.com", "api.aws"] },
    Partition { prefixes: &["cn"], suffixes: ["amazonaws.com.cn", "api.amazonwebservices.com.cn"] },
    Partition { prefixes: &["us-iso"], suffixes: ["c2s.ic.gov", "api.aws.ic.gov"] },
    Partition { prefixes: &["us-isob"], suffixes: ["sc2s.sgov.gov", "api.aws.scloud"] },
    Partition { prefixes: &["eu-isoe"], suffixes: ["cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"] },
    Partition { prefixes: &["us-isof"], suffixes: ["csp.hci.ic.gov", "api.aws.hci.ic.gov"] },
    Partition { prefixes: &["eusc-de"], suffixes: ["amazonaws.eu", "api.amazonwebservices.eu"] },
];

/// Where STS is.
#[derive(Debug)]
pub(super) struct Hosts {
    /// Host and port of the configured endpoints.
    configured: Vec<(String, u16)>,
}

/// Which kind of STS endpoint a token leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    Public,
    Configured,
}

/// A URL that was checked to be a GetCallerIdentity of STS, signed for some cluster, and of now.
pub(super) struct PresignedUrl {
    url: Url,
    host: Host,
    until: Timestamp,
}

impl Hosts {
    pub(super) fn new(endpoints: &[String]) -> Result<Self, IdentityError> {
        let bad =
            |endpoint: &str, why: &str| IdentityError::Config(format!("eks.endpoints: {endpoint:?}: {why}"));
        let mut configured = Vec::new();
        for endpoint in endpoints {
            let url = Url::parse(endpoint).map_err(|error| bad(endpoint, &error.to_string()))?;
            let bare = matches!(url.path(), "" | "/")
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none();
            match (url.scheme(), url.host_str(), url.port_or_known_default()) {
                ("https", Some(host), Some(port)) if bare => configured.push((host.to_owned(), port)),
                _ => return Err(bad(endpoint, "write https://host or https://host:port")),
            }
        }
        Ok(Self { configured })
    }

    fn find(&self, url: &Url) -> Option<Host> {
        let (host, port) = (url.host_str()?, url.port_or_known_default()?);
        if self.configured.iter().any(|(known, at)| known == host && *at == port) {
            return Some(Host::Configured);
        }
        (port == 443 && is_public_sts(host)).then_some(Host::Public)
    }
}

impl PresignedUrl {
    pub(super) fn parse(token: &str, hosts: &Hosts, now: Timestamp) -> Result<Self, EksRefusal> {
        if token.len() > MAX_TOKEN {
            return Err(EksRefusal::TooLong);
        }
        let encoded = token.strip_prefix(PREFIX).ok_or(EksRefusal::Malformed("it has another prefix"))?;
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(encoded)
            .map(Zeroizing::new)
            .map_err(|_| EksRefusal::Malformed("it is not unpadded base64url"))?;
        let text = str::from_utf8(&bytes).map_err(|_| EksRefusal::Malformed("what it encodes is no text"))?;
        let url = Url::parse(text).map_err(|_| EksRefusal::Malformed("what it encodes is no URL"))?;
        if url.scheme() != "https" {
            return Err(EksRefusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EksRefusal::Malformed("its URL holds a user or a password"));
        }
        if url.fragment().is_some() {
            return Err(EksRefusal::Malformed("its URL has a fragment"));
        }
        let host = hosts.find(&url).ok_or_else(|| {
            EksRefusal::Host(url.host_str().unwrap_or("(none)").chars().take(253).collect())
        })?;
        if url.path() != "/" {
            return Err(EksRefusal::Path);
        }
        // Tabs, line feeds, upper-case hosts, default ports: whatever reading it took away.
        if url.as_str() != text {
            return Err(EksRefusal::Malformed("its URL is not spelled plainly"));
        }
        let until = check_parameters(&url, now)?;
        Ok(Self { url, host, until })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn host(&self) -> Host {
        self.host
    }

    pub(super) fn until(&self) -> Timestamp {
        self.until
    }
}

/// When the token runs out.
fn check_parameters(url: &Url, now: Timestamp) -> Result<Timestamp, EksRefusal> {
    // Some readers take a semicolon for an ampersand.
    if url.query().is_some_and(|query| query.contains(';')) {
        return Err(EksRefusal::Malformed("its URL's query has a bare semicolon"));
    }
    let mut parameters = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        let lower = name.to_ascii_lowercase();
        let known = PARAMETERS.iter().find(|known| **known == lower);
        let known = known.ok_or_else(|| EksRefusal::Parameter(name.chars().take(64).collect()))?;
        if parameters.insert(*known, value).is_some() {
            return Err(EksRefusal::Duplicate(lower));
        }
    }
    let get = |name| parameters.get(name).map(|value| &**value);
    let value = |name, problem| EksRefusal::Value { name, problem };
    let must_be = |name, expected: &str| match get(name) {
        None => Err(value(name, "is missing")),
        Some(found) if found == expected => Ok(()),
        Some(_) => Err(value(name, "has another value than it must have")),
    };
    must_be("action", "GetCallerIdentity")?;
    if get("version").is_some() {
        must_be("version", "2011-06-15")?;
    }
    must_be("x-amz-algorithm", "AWS4-HMAC-SHA256")?;
    for name in ["x-amz-credential", "x-amz-signature"] {
        if get(name).is_none_or(str::is_empty) {
            return Err(value(name, "is missing"));
        }
    }
    let expires = get("x-amz-expires").ok_or_else(|| value("x-amz-expires", "is missing"))?;
    if !decimal(expires).is_some_and(|seconds| (1..=900).contains(&seconds)) {
        return Err(value("x-amz-expires", "is not between 1 and 900"));
    }
    let headers = get("x-amz-signedheaders").ok_or_else(|| value("x-amz-signedheaders", "is missing"))?;
    if !headers.split(';').any(|header| header.eq_ignore_ascii_case("x-k8s-aws-id")) {
        return Err(EksRefusal::ClusterUnsigned);
    }
    let date = get("x-amz-date").ok_or_else(|| value("x-amz-date", "is missing"))?;
    let signed = amz_date(date).ok_or_else(|| value("x-amz-date", "is not like 20060102T150405Z"))?;
    if signed.duration_since(now) > CLOCK_SKEW {
        return Err(EksRefusal::Future(signed));
    }
    let until = signed.checked_add(LIFETIME).map_err(|_| value("x-amz-date", "is no date of now"))?;
    if now >= until {
        return Err(EksRefusal::Expired(until));
    }
    Ok(until)
}

/// `sts.amazonaws.com`, `sts.<region>.<suffix>` or `sts-fips.<region>.<suffix>`.
fn is_public_sts(host: &str) -> bool {
    if host == "sts.amazonaws.com" {
        return true;
    }
    let rest = host.strip_prefix("sts.").or_else(|| host.strip_prefix("sts-fips."));
    let Some((region, suffix)) = rest.and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    PARTITIONS.iter().any(|partition| {
        partition.suffixes.contains(&suffix)
            && partition.prefixes.iter().any(|prefix| is_region(region, prefix))
    })
}

/// `<prefix>-<word>-<number>`.
fn is_region(region: &str, prefix: &str) -> bool {
    let rest = region.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    rest.and_then(|rest| rest.split_once('-')).is_some_and(|(word, number)| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_lowercase())
            && (1..=2).contains(&number.len())
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `20060102T150405Z`, and nothing else.
fn amz_date(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || time.len() != 6 {
        return None;
    }
    // By bytes, so that a character of several cannot be cut in two.
    let part =
        |text: &str, from, to| text.get(from..to).and_then(decimal).and_then(|n| i16::try_from(n).ok());
    let small = |text: &str, from, to| part(text, from, to).and_then(|n| i8::try_from(n).ok());
    let (year, month, day) = (part(date, 0, 4)?, small(date, 4, 6)?, small(date, 6, 8)?);
    let (hour, minute, second) = (small(time, 0, 2)?, small(time, 2, 4)?, small(time, 4, 6)?);
    let civil = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    TimeZone::UTC.to_timestamp(civil).ok()
}
