//! A JWT, from text to verified claims: its form, signature, times and nonce. OpenID Connect Core, section 3.1.3.7.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use openidconnect::JsonWebKey;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::audience::check_audience;
use super::claims::{claim, text};
use super::{Algorithm, Issuer, Person, TokenRefusal};
use crate::secret::Secret;

/// ID tokens with hundreds of groups have some KiB; HTTP servers take no longer header.
const MAX_TOKEN: usize = 16 * 1024;

/// A JWT of which nothing has been proved.
pub(crate) struct Unverified<'t> {
    algorithm: String,
    kid: Option<String>,
    kind: Kind,
    claims: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

/// What the header says that it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A JWT of no kind in particular, such as an ID token.
    Plain,
    /// An access token that says so: RFC 9068, section 2.1.
    Access,
}

/// What a token is presented for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// It ends a login of ours, for which this nonce was sent; none is sent with device codes.
    Login { nonce: Option<&'a Secret> },
    /// It continues such a login. OpenID Connect Core, section 12.2: it need not repeat the nonce.
    Refresh { nonce: Option<&'a Secret> },
    /// The client sent it with its request, to a target that may be a protected resource (RFC 8707).
    Bearer { resource: Option<&'a str> },
}

/// A token that was proved to be its issuer's, for us, and of now.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) person: Person,
    /// When it stops being believed: `exp` and the clock skew after it.
    pub(crate) until: Timestamp,
}

/// Whether a bearer token is meant as a JWT. Garbage such as `none`, which kubeconfigs hold for want of a credential,
/// is not.
pub(crate) fn is_jwt_shaped(token: &str) -> bool {
    let mut parts = token.split('.');
    let header = parts.next().and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    parts.count() >= 2
        && header.is_some_and(|json| matches!(serde_json::from_slice(&json), Ok(Value::Object(_))))
}

/// Proves `token` to be `issuer`'s and reads who it names.
pub(crate) async fn verify(
    token: &Unverified<'_>,
    issuer: &Issuer,
    purpose: Purpose<'_>,
) -> Result<Verified, TokenRefusal> {
    // An access token is no proof of who holds it, but where it is for the target that it is presented to and for no
    // other, whoever could pass it on is not there.
    if token.kind == Kind::Access && !matches!(purpose, Purpose::Bearer { resource: Some(_) }) {
        return Err(TokenRefusal::Kind("typ".to_owned()));
    }
    let algorithm = token.algorithm(&issuer.algorithms)?;
    let found = token.issuer()?;
    if found != issuer.issuer {
        return Err(TokenRefusal::Issuer { found: found.to_owned(), expected: issuer.issuer.clone() });
    }
    let signing = algorithm.signing();
    let key = issuer.provider.key(token.kid.as_deref(), &signing).await?;
    key.verify_signature(&signing, token.signed.as_bytes(), &token.signature)
        .map_err(|_| TokenRefusal::Signature)?;
    let until = check_times(&token.claims, (issuer.clock)(), issuer.clock_skew)?;
    check_audience(&token.claims, issuer, purpose)?;
    check_nonce(&token.claims, purpose)?;
    Ok(Verified { person: Person::of(issuer, &token.claims)?, until })
}

impl<'t> Unverified<'t> {
    pub(crate) fn parse(token: &'t str) -> Result<Self, TokenRefusal> {
        let malformed = TokenRefusal::Malformed;
        if token.len() > MAX_TOKEN {
            return Err(malformed("it is longer than 16 KiB"));
        }
        let Some((signed, signature)) = token.rsplit_once('.') else {
            return Err(malformed("it has no parts"));
        };
        let Some((header, payload)) = signed.split_once('.').filter(|(_, rest)| !rest.contains('.')) else {
            return Err(malformed("it has not three parts (an encrypted token has five)"));
        };
        let decode = |part, problem| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed(problem));
        let object = |part, problem| {
            let bytes = decode(part, problem)?;
            serde_json::from_slice::<Unique>(&bytes).map(|Unique(map)| map).map_err(|_| malformed(problem))
        };
        let header = object(header, "its header is no JSON object without repetitions")?;
        let claims = object(payload, "its claims are no JSON object without repetitions")?;
        let signature = decode(signature, "its signature is not base64url")?;
        let kind = kind(&header)?;
        let optional = |name| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(malformed("alg or kid in its header is not a text")),
        };
        let algorithm = optional("alg")?.ok_or(malformed("its header names no algorithm"))?;
        Ok(Self { algorithm, kid: optional("kid")?, kind, claims, signed, signature })
    }

    pub(crate) fn issuer(&self) -> Result<&str, TokenRefusal> {
        text(&self.claims, "iss")
    }

    fn algorithm(&self, accepted: &[Algorithm]) -> Result<Algorithm, TokenRefusal> {
        let name = &self.algorithm;
        if name.eq_ignore_ascii_case("none") {
            return Err(TokenRefusal::Unsigned);
        }
        if name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("HS")) {
            return Err(TokenRefusal::SharedSecret(shown(name)));
        }
        Algorithm::named(name).filter(|found| accepted.contains(found)).ok_or_else(|| {
            let accepted: Vec<String> = accepted.iter().map(ToString::to_string).collect();
            TokenRefusal::Algorithm { found: shown(name), accepted: accepted.join(", ") }
        })
    }
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// RFC 7519, section 5; RFC 7515, section 4.1.11; RFC 9068, section 2.1.
fn kind(header: &Map<String, Value>) -> Result<Kind, TokenRefusal> {
    if header.contains_key("crit") {
        return Err(TokenRefusal::Kind("crit".to_owned()));
    }
    if header.contains_key("cty") {
        return Err(TokenRefusal::Kind("cty".to_owned()));
    }
    let other = || TokenRefusal::Kind("typ".to_owned());
    let Some(typ) = header.get("typ") else {
        return Ok(Kind::Plain);
    };
    let typ = typ.as_str().ok_or_else(other)?.to_ascii_lowercase();
    match typ.strip_prefix("application/").unwrap_or(&typ) {
        "jwt" | "jose" => Ok(Kind::Plain),
        "at+jwt" => Ok(Kind::Access),
        _ => Err(other()),
    }
}

/// When the token stops being believed.
fn check_times(
    claims: &Map<String, Value>,
    now: Timestamp,
    skew: SignedDuration,
) -> Result<Timestamp, TokenRefusal> {
    let (exp, iat) = (required_time(claims, "exp")?, required_time(claims, "iat")?);
    let until = exp.checked_add(skew).map_err(|_| claim("exp", "is not a time"))?;
    if now >= until {
        return Err(TokenRefusal::Expired(exp));
    }
    let latest = now.checked_add(skew).unwrap_or(Timestamp::MAX);
    if let Some(nbf) = time(claims, "nbf")?.filter(|nbf| *nbf > latest) {
        return Err(TokenRefusal::NotYet(nbf));
    }
    if iat > latest {
        return Err(TokenRefusal::IssuedInFuture(iat));
    }
    Ok(until)
}

fn required_time(claims: &Map<String, Value>, name: &str) -> Result<Timestamp, TokenRefusal> {
    time(claims, name)?.ok_or_else(|| claim(name, "is missing"))
}

/// A NumericDate: seconds since 1970, possibly with a fraction (RFC 7519, section 2).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, TokenRefusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_i64().or_else(|| {
        #[allow(clippy::cast_possible_truncation)] // bounded before
        value.as_f64().filter(|float| float.abs() < 1e12).map(|float| float as i64)
    });
    seconds
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map(Some)
        .ok_or_else(|| claim(name, "is not a time"))
}

fn check_nonce(claims: &Map<String, Value>, purpose: Purpose<'_>) -> Result<(), TokenRefusal> {
    let (expected, required) = match purpose {
        Purpose::Login { nonce: Some(nonce) } => (nonce, true),
        Purpose::Refresh { nonce: Some(nonce) } => (nonce, false),
        Purpose::Login { nonce: None } | Purpose::Refresh { nonce: None } | Purpose::Bearer { .. } => {
            return Ok(());
        }
    };
    match claims.get("nonce") {
        None if !required => Ok(()),
        Some(Value::String(nonce)) if expected.is(nonce) => Ok(()),
        _ => Err(TokenRefusal::Nonce),
    }
}

/// What an unproved token says, cut to a length that fits into a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// A JSON object in which no name is there twice: readers differ in which of the two counts.
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if map.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name is there twice"));
                    }
                }
                Ok(Unique(map))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", encode(header), encode(claims))
    }

    fn refusal(header: &str, claims: &str) -> TokenRefusal {
        Unverified::parse(&token(header, claims)).unwrap_err()
    }

    #[test]
    fn what_is_a_jwt_and_what_is_not() {
        assert!(is_jwt_shaped(&token(r#"{"alg":"ES256"}"#, "{}")));
        assert!(is_jwt_shaped("eyJhbGciOiJub25lIn0.e30."));
        for other in ["", "none", "a.b.c", "k8s-aws-v1.aHR0cHM6", "eyJhbGciOiJub25lIn0.e30", "W10.e30.x"] {
            assert!(!is_jwt_shaped(other), "{other}");
        }
    }

    #[test]
    fn a_name_that_is_there_twice_is_refused() {
        for (header, claims) in [
            (r#"{"alg":"ES256","alg":"none"}"#, r#"{"iss":"a"}"#),
            (r#"{"alg":"ES256"}"#, r#"{"sub":"a","sub":"b"}"#),
            (r#"{"alg":"ES256"}"#, r#"{"sub":"a","s\u0075b":"b"}"#),
        ] {
            assert!(matches!(refusal(header, claims), TokenRefusal::Malformed(_)));
        }
    }

    #[test]
    fn another_kind_of_token_is_refused() {
        for (header, field) in [
            (r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, "crit"),
            (r#"{"alg":"ES256","cty":"JWT"}"#, "cty"),
            (r#"{"alg":"ES256","typ":"dpop+jwt"}"#, "typ"),
            (r#"{"alg":"ES256","typ":7}"#, "typ"),
        ] {
            assert_eq!(refusal(header, "{}"), TokenRefusal::Kind(field.to_owned()));
        }
        for typ in ["JWT", "jwt", "application/jwt", "JOSE"] {
            Unverified::parse(&token(&format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#), "{}")).unwrap();
        }
    }

    #[test]
    fn algorithms_are_those_of_the_list() {
        let accepted = [Algorithm::ES256, Algorithm::RS256];
        let of = |alg: &str| {
            let token = token(&format!(r#"{{"alg":"{alg}"}}"#), "{}");
            Unverified::parse(&token).unwrap().algorithm(&accepted)
        };
        assert_eq!(of("ES256").unwrap(), Algorithm::ES256);
        for none in ["none", "None", "nOnE"] {
            assert_eq!(of(none).unwrap_err(), TokenRefusal::Unsigned);
        }
        for shared in ["HS256", "HS384", "HS512", "hs256"] {
            assert_eq!(of(shared).unwrap_err(), TokenRefusal::SharedSecret(shared.to_owned()));
        }
        for other in ["PS256", "ES512", "es256", "RSA-OAEP", ""] {
            assert!(matches!(of(other).unwrap_err(), TokenRefusal::Algorithm { .. }), "{other}");
        }
    }

    #[test]
    fn times_are_read_with_the_skew_both_ways() {
        let (now, skew) = (Timestamp::from_second(1_000).unwrap(), SignedDuration::from_secs(60));
        let check = |claims: Value| check_times(claims.as_object().unwrap(), now, skew);
        assert_eq!(check(json!({"exp": 941, "iat": 900})).unwrap().as_second(), 1_001);
        assert!(matches!(check(json!({"exp": 940, "iat": 900})), Err(TokenRefusal::Expired(_))));
        check(json!({"exp": 2_000, "iat": 1_060, "nbf": 1_060})).unwrap();
        check(json!({"exp": 2_000.5, "iat": 900.25})).unwrap();
        let late = check(json!({"exp": 2_000, "iat": 900, "nbf": 1_061}));
        assert!(matches!(late, Err(TokenRefusal::NotYet(_))));
        assert!(matches!(check(json!({"exp": 2_000, "iat": 1_061})), Err(TokenRefusal::IssuedInFuture(_))));
        for claims in [
            json!({"iat": 1}),
            json!({"exp": 2_000}),
            json!({"exp": "2000", "iat": 1}),
            json!({"exp": 1e300, "iat": 1}),
            json!({"exp": i64::MAX, "iat": 1}),
            json!({"exp": u64::MAX, "iat": 1}),
            json!({"exp": 2_000, "iat": 1, "nbf": null}),
        ] {
            assert!(matches!(check(claims.clone()), Err(TokenRefusal::Claim { .. })), "{claims}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC{0,200}") {
            let _ = is_jwt_shaped(&text);
            let _ = Unverified::parse(&text);
        }

        #[test]
        fn any_header_and_claims_are_taken(header in "\\PC{0,60}", claims in "\\PC{0,60}") {
            let _ = Unverified::parse(&token(&header, &claims));
        }
    }
}
