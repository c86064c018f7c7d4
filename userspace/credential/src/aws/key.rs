//! For whom a role session is kept.

use sha2::{Digest as _, Sha256};

use crate::OnBehalf;

/// Person, role, grant and AWS role, as a digest: requests are many, and the parts are long.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// Over each part with its length, so that no two askers read the same.
    pub(crate) fn of(aws_role: &str, on_behalf: &OnBehalf<'_>) -> Self {
        let OnBehalf { subject, role, grant, .. } = on_behalf;
        let grant = grant.map_or_else(|| [0].to_vec(), |grant| [&[1], grant.as_bytes()].concat());
        let mut sha = Sha256::new();
        let parts = [&subject.issuer, &subject.id, &subject.name, *role, aws_role].map(str::as_bytes);
        for part in parts.into_iter().chain([grant.as_slice()]) {
            sha.update(part.len().to_be_bytes());
            sha.update(part);
        }
        Self(sha.finalize().into())
    }
}
