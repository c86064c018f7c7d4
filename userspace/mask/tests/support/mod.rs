//! What the tests share: a key, masking in chunks, and an independent reckoning of placeholders.

#![allow(dead_code, reason = "each test file takes what it needs of this")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::sync::{Arc, LazyLock};

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_mask::{JsonMasker, MaskError, MaskKey, Profile, Rules};

pub(crate) const KEY: [u8; 32] = *b"a key that only the tests are on";

pub(crate) fn key() -> MaskKey {
    MaskKey::from_bytes(KEY)
}

/// The rules for a resource of the default profile; `""` for a document of which nothing is known.
pub(crate) fn rules(resource: &str) -> Arc<Rules> {
    static DEFAULT: LazyLock<Profile> = LazyLock::new(Profile::default);
    rules_of(&DEFAULT, resource)
}

/// The rules for a resource (`secrets`, `deployments.apps`, `serviceaccounts/token`).
pub(crate) fn rules_of(profile: &Profile, resource: &str) -> Arc<Rules> {
    if resource.is_empty() {
        return profile.for_unknown();
    }
    let (whole, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (resource, group) = whole.split_once('.').unwrap_or((whole, ""));
    profile.for_request(group, resource, subresource).unwrap()
}

/// The profile of a policy.
pub(crate) fn profile(policy: &str) -> Profile {
    let head = "apiVersion: portcullis.dev/v1alpha1\nkind: MaskPolicy\n";
    Profile::new(&serde_saphyr::from_str(&format!("{head}{policy}")).unwrap()).unwrap()
}

/// Masks `body` in chunks whose sizes come from `sizes` (over and over).
pub(crate) fn mask(body: &[u8], sizes: &[usize]) -> (Vec<u8>, Result<(), MaskError>) {
    mask_by(&rules(""), body, sizes)
}

/// The same by other rules.
pub(crate) fn mask_by(rules: &Arc<Rules>, body: &[u8], sizes: &[usize]) -> (Vec<u8>, Result<(), MaskError>) {
    let mut masker = JsonMasker::new(Arc::clone(rules), &key());
    let (mut out, mut rest, mut sizes) = (Vec::new(), body, sizes.iter().cycle());
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        if let Err(error) = masker.push(chunk, &mut out) {
            return (out, Err(error));
        }
        rest = after;
    }
    let outcome = masker.finish(&mut out);
    (out, outcome)
}

/// Masks what is valid.
pub(crate) fn masked(body: &str) -> String {
    let (out, outcome) = mask(body.as_bytes(), &[usize::MAX]);
    outcome.unwrap();
    String::from_utf8(out).unwrap()
}

/// Masks what is valid, in chunks of every size.
pub(crate) fn masked_by(rules: &Arc<Rules>, body: &str) -> String {
    let (out, outcome) = mask_by(rules, body.as_bytes(), &[usize::MAX]);
    outcome.unwrap_or_else(|error| panic!("{error} in {body}"));
    for size in [1, 2, 3, 7] {
        assert_eq!(mask_by(rules, body.as_bytes(), &[size]).0, out, "chunks of {size}: {body}");
    }
    String::from_utf8(out).unwrap()
}

/// The placeholder of a value.
pub(crate) fn placeholder(value: &[u8]) -> String {
    let payload = Payload { msg: b"", aad: value };
    let digest = Aes256GcmSiv::new(&KEY.into()).encrypt(&[0; 12].into(), payload).unwrap();
    let hex: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("portcullis-masked:{hex}")
}

/// The placeholder of a value, in base64.
pub(crate) fn placeholder_base64(value: &[u8]) -> String {
    STANDARD.encode(placeholder(value))
}

/// Whether `secret` shows in `output`, as it is, in hex, or in base64 at any alignment.
pub(crate) fn shows(output: &[u8], secret: &[u8]) -> bool {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![secret.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for before in 0..3 {
        let encoded = STANDARD.encode([&[0; 2][..before], secret].concat());
        let sure = (before * 8).div_ceil(6)..(before + secret.len()) * 8 / 6;
        forms.push(encoded.as_bytes()[sure].to_vec());
    }
    forms.iter().any(|form| output.windows(form.len()).any(|window| window == form))
}
