//! Signing keys, the tokens they sign (RFC 7515, RFC 7519) and how they are published (RFC 7517).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::options::Algorithm;
use crate::{Error, secret};

/// The key that signs, and those that signed tokens which are still good.
pub(crate) struct Keys {
    current: Key,
    /// With when the last of their tokens runs out.
    former: Vec<(Key, Timestamp)>,
}

struct Key {
    id: String,
    pair: Pair,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl Keys {
    pub(crate) fn new(algorithm: Algorithm) -> Result<Self, Error> {
        Ok(Self { current: Key::generate(algorithm)?, former: Vec::new() })
    }

    /// Signs with a new key from now on; the one before stays published until its tokens have run out.
    pub(crate) fn rotate(&mut self, algorithm: Algorithm, until: Timestamp) -> Result<(), Error> {
        let former = std::mem::replace(&mut self.current, Key::generate(algorithm)?);
        self.former.push((former, until));
        Ok(())
    }

    pub(crate) fn published(&mut self, now: Timestamp) -> Value {
        self.former.retain(|(_, until)| now < *until);
        let keys = [&self.current].into_iter().chain(self.former.iter().map(|(key, _)| key));
        json!({ "keys": keys.map(Key::published).collect::<Vec<_>>() })
    }

    /// A JWT that says `claims`.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, Error> {
        let Key { id, pair } = &self.current;
        let header = json!({ "alg": pair.algorithm().name(), "kid": id, "typ": "JWT" });
        let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())?);
        Ok(format!("{signed}.{signature}"))
    }
}

impl Key {
    fn generate(algorithm: Algorithm) -> Result<Self, Error> {
        let failed = |_| Error::Crypto("make a signing key");
        let pair = match algorithm {
            Algorithm::Es256 => {
                Pair::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?)
            }
            Algorithm::Rs256 => Pair::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?),
        };
        let id = BASE64_URL_SAFE_NO_PAD.encode(secret::bytes::<12>()?);
        Ok(Self { id, pair })
    }

    fn published(&self) -> Value {
        let encode = |number: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(number);
        let mut key = match &self.pair {
            Pair::Es256(pair) => {
                // An uncompressed point (SEC 1, section 2.3.3): 4, x, y.
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) })
            }
            Pair::Rs256(pair) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                let encode =
                    |number: aws_lc_rs::io::Positive<'_>| encode(number.big_endian_without_leading_zero());
                json!({ "kty": "RSA", "n": encode(n), "e": encode(e) })
            }
        };
        key["kid"] = self.id.clone().into();
        key["use"] = "sig".into();
        key["alg"] = self.pair.algorithm().name().into();
        key
    }
}

impl Pair {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::Rs256(_) => Algorithm::Rs256,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::Crypto("sign a token");
        let random = SystemRandom::new();
        match self {
            Self::Es256(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }
}
