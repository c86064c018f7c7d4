//! Assertions of who the client is, signed with its key (`private_key_jwt`: RFC 7523 sections 2.2 and 3, RFC 7515).

use std::path::Path;

use aws_lc_rs::{
    rand::{SystemRandom, fill},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::json;
use zeroize::Zeroizing;

use crate::CredentialError;

/// How long an assertion is good for. It is used at once.
const LIFE: SignedDuration = SignedDuration::from_mins(2);

/// A client's private key. AWS-LC wipes it when it is dropped.
pub(crate) enum SigningKey {
    /// `RS256`: the algorithm that every server takes.
    Rsa(Box<RsaKeyPair>),
    /// `ES256`
    P256(Box<EcdsaKeyPair>),
    /// `ES384`
    P384(Box<EcdsaKeyPair>),
    /// `EdDSA`
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads PEM: PKCS#8, PKCS#1 or SEC1.
    pub(crate) fn parse(path: &Path, pem: &[u8]) -> Result<Self, CredentialError> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|source| CredentialError::Pem {
            path: path.to_owned(),
            what: "private key",
            source,
        })?;
        Self::of(&key).ok_or_else(|| {
            let problem = format!(
                "{} holds no key of RSA (2048 bits or more), P-256, P-384 or Ed25519",
                path.display()
            );
            CredentialError::config("oauthClientCredentials.privateKeyFile", problem)
        })
    }

    fn of(key: &PrivateKeyDer<'_>) -> Option<Self> {
        let der = key.secret_der();
        let (p256, p384) = (&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING);
        let rsa = |key: RsaKeyPair| Self::Rsa(Box::new(key));
        match key {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(der).ok().map(rsa),
            PrivateKeyDer::Sec1(_) => {
                let p256 = || EcdsaKeyPair::from_private_key_der(p256, der).map(|key| Self::P256(key.into()));
                let p384 = || EcdsaKeyPair::from_private_key_der(p384, der).map(|key| Self::P384(key.into()));
                p256().or_else(|_| p384()).ok()
            }
            _ => {
                let p256 = || EcdsaKeyPair::from_pkcs8(p256, der).map(|key| Self::P256(key.into()));
                let p384 = || EcdsaKeyPair::from_pkcs8(p384, der).map(|key| Self::P384(key.into()));
                let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::Ed25519);
                let found = RsaKeyPair::from_pkcs8(der).map(rsa);
                found.or_else(|_| p256()).or_else(|_| p384()).or_else(|_| ed25519()).ok()
            }
        }
    }

    /// An assertion that `client` asks, for `audience` alone and once.
    ///
    /// # Errors
    /// When there is no randomness, or the key cannot sign.
    pub(crate) fn assertion(
        &self,
        key_id: Option<&str>,
        client: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Zeroizing<String>, String> {
        let mut number = [0; 16];
        fill(&mut number).map_err(|_| "the system gives no random numbers".to_owned())?;
        let mut header = json!({"alg": self.algorithm(), "typ": "JWT"});
        if let Some(key_id) = key_id {
            header["kid"] = json!(key_id);
        }
        let claims = json!({
            "iss": client,
            "sub": client,
            "aud": audience,
            "jti": URL_SAFE_NO_PAD.encode(number),
            "iat": now.as_second(),
            "exp": (now + LIFE).as_second(),
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let signature = self.sign(text.as_bytes()).ok_or("the key does not sign")?;
        Ok(Zeroizing::new(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).ok()?;
                Some(signature)
            }
            Self::P256(key) | Self::P384(key) => Some(key.sign(&random, text).ok()?.as_ref().to_vec()),
            Self::Ed25519(key) => Some(key.sign(text).as_ref().to_vec()),
        }
    }
}
