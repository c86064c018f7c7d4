//! Signing keys and hand-made JWTs.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

pub(crate) enum Key {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// One RSA key is enough: making one takes a while.
pub(crate) static RSA: LazyLock<Key> =
    LazyLock::new(|| Key::Rsa(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap()));

impl Key {
    pub(crate) fn ec() -> Self {
        Key::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Key::Ec(pair) => {
                let point = pair.public_key().as_ref(); // 04, x, y
                let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": x, "y": y})
            }
            Key::Rsa(pair) => {
                let (n, e) = rsa_numbers(pair.public_key().as_ref());
                let (n, e) = (BASE64.encode(n), BASE64.encode(e));
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e})
            }
        }
    }

    pub(crate) fn public(&self) -> &[u8] {
        match self {
            Key::Ec(pair) => pair.public_key().as_ref(),
            Key::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// A JWT whose header says the algorithm and `kid`.
    pub(crate) fn jwt(&self, kid: &str, claims: &Value) -> String {
        self.signed("JWT", kid, claims)
    }

    /// One that says that it is an access token: RFC 9068, section 2.1.
    pub(crate) fn access_token(&self, kid: &str, claims: &Value) -> String {
        self.signed("at+jwt", kid, claims)
    }

    fn signed(&self, typ: &str, kid: &str, claims: &Value) -> String {
        let alg = match self {
            Key::Ec(_) => "ES256",
            Key::Rsa(_) => "RS256",
        };
        let signed = unsigned(&json!({"alg": alg, "kid": kid, "typ": typ}), claims);
        let random = SystemRandom::new();
        let signature = match self {
            Key::Ec(pair) => pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", BASE64.encode(signature))
    }
}

/// Header and claims, without a signature.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

pub(crate) fn hs256(secret: &[u8], kid: &str, claims: &Value) -> String {
    let signed = unsigned(&json!({"alg": "HS256", "kid": kid}), claims);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

/// The two integers of a PKCS#1 `RSAPublicKey`.
fn rsa_numbers(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, skip) = match der[1] {
            short @ ..0x80 => (usize::from(short), 2),
            long => {
                let bytes = usize::from(long & 0x7f);
                let length = der[2..2 + bytes].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, 2 + bytes)
            }
        };
        der[skip..].split_at(length)
    }
    let (sequence, _) = element(der);
    let (n, rest) = element(sequence);
    let (e, _) = element(rest);
    let bare = |n: &[u8]| n.iter().copied().skip_while(|byte| *byte == 0).collect();
    (bare(n), bare(e))
}
