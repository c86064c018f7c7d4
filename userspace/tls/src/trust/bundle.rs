//! A CA bundle (certificates in PEM, one after the other) with and without our CA. Every other byte stays.

use std::ops::Range;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{Constraints, Name, TlsError};

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// Our CA: the certificate to install, and the key by which its older certificates are known.
pub(super) struct Ours {
    der: CertificateDer<'static>,
    pem: Vec<u8>,
    public_key: Vec<u8>,
}

/// What a bundle holds of our CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// A certificate that vouches for the name now.
    Works,
    /// Only one that has expired, or was made before this target was configured.
    Outdated,
    Nothing,
}

impl Ours {
    pub(super) fn read(pem: &str) -> Result<Self, TlsError> {
        let bad = |problem: String| TlsError::BadCa { path: "ca.crt".into(), problem };
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| bad(error.to_string()))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| bad(error.to_string()))?;
        let public_key = parsed.public_key().raw.to_vec();
        let pem = format!("{}\n", pem.trim()).into_bytes();
        Ok(Self { der, pem, public_key })
    }

    /// The bundle with exactly our present certificate; `None` when it is so already.
    pub(super) fn added_to(&self, bundle: &[u8]) -> Option<Vec<u8>> {
        let ours = self.find(bundle);
        if let [(_, der)] = ours.as_slice()
            && *der == self.der
        {
            return None;
        }
        let mut result = self.removed_from(bundle).unwrap_or_else(|| bundle.to_vec());
        if !result.is_empty() {
            // Put in any case, so that removing it again gives back a bundle that lacked its final line break.
            result.push(b'\n');
        }
        result.extend_from_slice(&self.pem);
        Some(result)
    }

    /// The bundle without any of our certificates; `None` when there is none.
    pub(super) fn removed_from(&self, bundle: &[u8]) -> Option<Vec<u8>> {
        let ours = self.find(bundle);
        if ours.is_empty() {
            return None;
        }
        let mut result = bundle.to_vec();
        for (range, _) in ours.into_iter().rev() {
            let (before, after) = (&result[..range.start], &result[range.end..]);
            let separated = before.ends_with(b"\n\n") || (after.is_empty() && before.ends_with(b"\n"));
            result.drain(range.start - usize::from(separated)..range.end);
        }
        Some(result)
    }

    /// Whether a client with this bundle accepts our leaves for `name`.
    pub(super) fn presence(&self, bundle: &[u8], name: &Name, now: Timestamp) -> Presence {
        let ours = self.find(bundle);
        if ours.iter().any(|(_, der)| vouches(der, name, now)) {
            Presence::Works
        } else if ours.is_empty() {
            Presence::Nothing
        } else {
            Presence::Outdated
        }
    }

    /// Our certificates in a bundle: all those for our key.
    fn find(&self, bundle: &[u8]) -> Vec<(Range<usize>, CertificateDer<'static>)> {
        certificates(bundle)
            .filter_map(|range| {
                let der = CertificateDer::from_pem_slice(&bundle[range.clone()]).ok()?;
                let (_, parsed) = X509Certificate::from_der(&der).ok()?;
                let is_ours = parsed.public_key().raw == self.public_key;
                is_ours.then_some((range, der))
            })
            .collect()
    }
}

/// Whether there is any certificate in a bundle. Without one, kubectl refuses it.
pub(super) fn is_bundle(bytes: &[u8]) -> bool {
    certificates(bytes).next().is_some()
}

/// Where the PEM blocks stand, each with its last line's end.
fn certificates(bundle: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + find(&bundle[at..], BEGIN)?;
        let end = start + find(&bundle[start..], END)? + END.len();
        let line_end = [&b"\r\n"[..], b"\n"].into_iter().find(|eol| bundle[end..].starts_with(eol));
        at = end + line_end.map_or(0, <[u8]>::len);
        Some(start..at)
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn vouches(der: &CertificateDer<'_>, name: &Name, now: Timestamp) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return false;
    };
    let valid = certificate.validity().not_after.timestamp() > now.as_second();
    valid && Constraints::of_certificate(&certificate).is_some_and(|constraints| constraints.contains(name))
}
