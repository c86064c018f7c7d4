//! The keyed digest of a value: the tag that AES-256-GCM-SIV (RFC 8452) authenticates it by, as additional data under a
//! nonce of zeros, with nothing encrypted.
//!
//! That mode is made to be safe under one nonce: its tag is a pseudorandom function of the data, as HMAC is. It is taken
//! for its speed, since hashing was half of masking a long value: carry-less multiplication is a part of nearly every CPU,
//! instructions for SHA-256 are not.

use std::sync::Arc;

use aes::Aes256Enc;
use aes::cipher::{BlockEncrypt, KeyInit};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
use zeroize::Zeroizing;

use crate::MaskKey;

const BLOCK: usize = 16;

/// The digest of one value after another, each taken in pieces.
#[derive(Clone)]
pub(crate) struct Digest {
    hash: Polyval,
    /// Shared, since it is large.
    cipher: Arc<Aes256Enc>,
    /// What of the value is no whole block yet.
    rest: [u8; BLOCK],
    /// Bytes of the value so far.
    length: u64,
}

impl Digest {
    pub(crate) fn new(key: &MaskKey) -> Self {
        let keys = derived(key);
        Self {
            hash: Polyval::new(&keys.authentication.into()),
            cipher: Arc::new(Aes256Enc::new(&keys.encryption.into())),
            rest: [0; BLOCK],
            length: 0,
        }
    }

    /// Takes the next bytes of the value.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        let held = self.length as usize % BLOCK;
        self.length += bytes.len() as u64;
        if held > 0 {
            let (first, after) = bytes.split_at(bytes.len().min(BLOCK - held));
            self.rest[held..held + first.len()].copy_from_slice(first);
            if held + first.len() < BLOCK {
                return;
            }
            self.hash.update_padded(&self.rest);
            bytes = after;
        }
        let (blocks, rest) = bytes.split_at(bytes.len() / BLOCK * BLOCK);
        self.hash.update_padded(blocks);
        self.rest[..rest.len()].copy_from_slice(rest);
    }

    /// Ends the value. The next one begins.
    pub(crate) fn finish(&mut self) -> [u8; BLOCK] {
        // Section 4: what is no whole block ends in zeros, then come the lengths in bits, of the data and of the text, which is
        // none.
        let mut last = [0; 2 * BLOCK];
        let rest = self.length as usize % BLOCK;
        last[..rest].copy_from_slice(&self.rest[..rest]);
        last[BLOCK..BLOCK + 8].copy_from_slice(&(self.length * 8).to_le_bytes());
        self.hash.update_padded(if rest > 0 { &last } else { &last[BLOCK..] });
        self.length = 0;
        let mut tag: [u8; BLOCK] = self.hash.finalize_reset().into();
        tag[BLOCK - 1] &= 0x7f;
        self.cipher.encrypt_block((&mut tag).into());
        tag
    }
}

/// The keys of a nonce.
#[derive(zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
struct Derived {
    authentication: [u8; 16],
    encryption: [u8; 32],
}

/// Section 4, `derive_keys`, for the nonce of zeros.
fn derived(key: &MaskKey) -> Derived {
    let cipher = Aes256Enc::new(key.bytes().into());
    let mut derived = Derived { authentication: [0; 16], encryption: [0; 32] };
    let halves = derived.authentication.chunks_mut(8).chain(derived.encryption.chunks_mut(8));
    for (counter, half) in (0_u8..).zip(halves) {
        let mut block = Zeroizing::new([0; BLOCK]);
        block[0] = counter;
        cipher.encrypt_block((&mut *block).into());
        half.copy_from_slice(&block[..8]);
    }
    derived
}

#[cfg(test)]
mod tests {
    use aes_gcm_siv::Aes256GcmSiv;
    use aes_gcm_siv::aead::{Aead, KeyInit as _, Payload};
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = *b"a key that only the tests are on";

    /// By another implementation of the whole mode.
    fn tag(value: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: b"", aad: value };
        Aes256GcmSiv::new(&KEY.into()).encrypt(&[0; 12].into(), payload).unwrap()
    }

    proptest! {
        #[test]
        fn it_is_the_tag_however_the_value_comes(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4),
            size in 1_usize..70,
        ) {
            let mut digest = Digest::new(&MaskKey::from_bytes(KEY));
            for value in values {
                value.chunks(size).for_each(|piece| digest.update(piece));
                prop_assert_eq!(digest.finish().to_vec(), tag(&value));
            }
        }
    }
}
