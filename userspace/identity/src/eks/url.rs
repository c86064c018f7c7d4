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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENDPOINT: &str = "https://vpce-1.sts.eu-central-1.vpce.amazonaws.com:8443";

    fn hosts() -> Hosts {
        Hosts::new(&[ENDPOINT.to_owned()]).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    fn query() -> String {
        "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2Fb\
         &X-Amz-Date=20261125T115000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&X-Amz-Signature=00"
            .to_owned()
    }

    fn parse(url: &str) -> Result<PresignedUrl, EksRefusal> {
        let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(url));
        PresignedUrl::parse(&token, &hosts(), now())
    }

    /// What the specification of this reader allows, said another way: a list of whole hosts.
    fn is_listed(host: &str) -> bool {
        const REGIONS: &[(&str, &[&str])] = &[
            ("us-east-1", &["amazonaws.com", "api.aws"]),
            ("eu-central-1", &["amazonaws.com", "api.aws"]),
            ("us-gov-west-1", &["amazonaws.com", "api.aws"]),
            ("cn-north-1", &["amazonaws.com.cn", "api.amazonwebservices.com.cn"]),
            ("us-iso-east-1", &["c2s.ic.gov", "api.aws.ic.gov"]),
            ("us-isob-east-1", &["sc2s.sgov.gov", "api.aws.scloud"]),
            ("eu-isoe-west-1", &["cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"]),
            ("us-isof-south-1", &["csp.hci.ic.gov", "api.aws.hci.ic.gov"]),
            ("eusc-de-east-1", &["amazonaws.eu", "api.amazonwebservices.eu"]),
        ];
        host == "sts.amazonaws.com"
            || REGIONS.iter().any(|(region, suffixes)| {
                suffixes.iter().any(|suffix| {
                    host == format!("sts.{region}.{suffix}") || host == format!("sts-fips.{region}.{suffix}")
                })
            })
    }

    #[test]
    fn every_sts_of_aws_is_known() {
        for host in [
            "sts.amazonaws.com",
            "sts.us-east-1.amazonaws.com",
            "sts-fips.us-west-2.amazonaws.com",
            "sts.ap-southeast-7.amazonaws.com",
            "sts.il-central-1.api.aws",
            "sts-fips.us-east-1.api.aws",
            "sts.us-gov-west-1.amazonaws.com",
            "sts.cn-northwest-1.amazonaws.com.cn",
            "sts.cn-north-1.api.amazonwebservices.com.cn",
            "sts.us-iso-east-1.c2s.ic.gov",
            "sts.us-isob-east-1.sc2s.sgov.gov",
            "sts.eu-isoe-west-1.cloud.adc-e.uk",
            "sts.us-isof-south-1.csp.hci.ic.gov",
            "sts.eusc-de-east-1.amazonaws.eu",
        ] {
            let url = parse(&format!("https://{host}/?{}", query())).unwrap();
            assert_eq!(
                (url.host(), url.until().to_string().as_str()),
                (Host::Public, "2026-11-25T12:05:00Z")
            );
        }
        let private = parse(&format!("{ENDPOINT}/?{}", query())).unwrap();
        assert_eq!(private.host(), Host::Configured);
    }

    #[test]
    fn what_looks_like_an_sts_of_aws_is_not_one() {
        for host in [
            "sts.amazonaws.com.cn",
            "sts.cn-north-1.amazonaws.com",
            "sts.us-east-1.amazonaws.com.cn",
            "sts.us-east-1.amazonaws.eu",
            "sts.us-gov-west-1.c2s.ic.gov",
            "sts..amazonaws.com",
            "sts.us-east-1.evil.amazonaws.com",
            "x.sts.us-east-1.amazonaws.com",
            "sts.us-east-1a.amazonaws.com",
            "sts.us-east.amazonaws.com",
            "sts.us-east-111.amazonaws.com",
            "sts.us--1.amazonaws.com",
            "sts-us-east-1.amazonaws.com",
            "stsxus-east-1.amazonaws.com",
            "vpce-1.sts.eu-central-1.vpce.amazonaws.com",
            "vpce-2.sts.eu-central-1.vpce.amazonaws.com:8443",
        ] {
            let refusal = parse(&format!("https://{host}/?{}", query())).err();
            assert!(matches!(refusal, Some(EksRefusal::Host(_))), "{host}: {refusal:?}");
        }
    }

    proptest! {
        #[test]
        fn any_token_is_taken(token in "\\PC{0,80}", url in "\\PC{0,80}") {
            let _ = PresignedUrl::parse(&token, &hosts(), now());
            let _ = parse(&url);
        }

        /// Whatever stands before the good query, what is accepted goes to a listed host, at its port, over TLS.
        #[test]
        fn only_listed_hosts_are_ever_accepted(
            prefix in "(https|http|HTTPS|ftp)?:?[/\\\\]{0,3}([a-z0-9]{0,4}(:[a-z]{0,3})?@)?",
            host in prop_oneof![
                "(sts|sts-fips|s3|STS|x\\.sts)\\.(us-east-1|eu-central-1|cn-north-1|us-gov-west-1|evil|us-iso-east-1)\\.\
                 (amazonaws\\.com|api\\.aws|amazonaws\\.com\\.cn|c2s\\.ic\\.gov|example\\.com)",
                "sts\\.amazonaws\\.com[./@:#?a-z0-9]{0,8}",
                "[a-z0-9.@:%\\\\-]{0,30}",
            ],
            rest in "(:[0-9]{0,5})?[/.%2e\\\\]{0,4}",
        ) {
            let url = format!("{prefix}{host}{rest}?{}", query());
            if let Ok(accepted) = parse(&url) {
                prop_assert_eq!(accepted.url().scheme(), "https");
                prop_assert_eq!(accepted.url().path(), "/");
                prop_assert_eq!(accepted.url().username(), "");
                prop_assert_eq!(accepted.url().port(), None);
                prop_assert!(is_listed(accepted.url().host_str().unwrap()), "{url}");
                prop_assert_eq!(accepted.url().as_str(), url);
            }
        }

        /// Whatever is put into the query, what is accepted asks for nothing but GetCallerIdentity.
        #[test]
        fn only_get_caller_identity_is_ever_accepted(
            at in 0usize..200,
            insert in "[&;=%a-zA-Z0-9+-]{0,24}",
            action in prop::bool::ANY,
        ) {
            let mut query = query();
            if action {
                query = query.replace("Action=GetCallerIdentity", &format!("Action={insert}"));
            } else {
                let at = at.min(query.len());
                query.insert_str(at, &insert);
            }
            if let Ok(accepted) = parse(&format!("https://sts.amazonaws.com/?{query}")) {
                let actions: Vec<String> = accepted.url().query_pairs()
                    .filter(|(name, _)| name.eq_ignore_ascii_case("action"))
                    .map(|(_, value)| value.into_owned())
                    .collect();
                prop_assert_eq!(actions, ["GetCallerIdentity"]);
                let known = |name: &str| PARAMETERS.contains(&name.to_ascii_lowercase().as_str());
                prop_assert!(accepted.url().query_pairs().all(|(name, _)| known(&name)));
            }
        }
    }
}
