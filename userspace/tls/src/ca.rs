//! The interception CA: an ECDSA P-256 key that stays in one directory of this host, and a certificate for it that is
//! worth nothing outside the configured targets.
//!
//! The key outlives its certificates. When targets are added or dropped, a new certificate is issued for the same key
//! and subject, so that kubeconfigs which hold an older one keep working for the targets that it names.

use std::{
    fs::{DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    Constraints, Name, TlsError,
    file::{self, Access},
};

/// The start of the subject of every interception CA; the rest tells this host's from another's.
pub const CA_SUBJECT_PREFIX: &str = "Portcullis interception CA";

const CA_VALIDITY: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
pub(crate) const LEAF_VALIDITY: SignedDuration = SignedDuration::from_hours(24);
/// Certificates start in the past, for clocks that are behind.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);

/// A CA that can sign leaves for the configured targets.
pub struct InterceptionCa {
    path: PathBuf,
    certificate: Certificate,
    issuer: Issuer<'static, CaKey>,
}

/// Where the CA's certificate came from this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// There was no CA; key and certificate are new.
    Created,
    /// The certificate on disk names exactly the configured targets.
    Loaded,
    /// A new certificate for the same key. Kubeconfigs that hold an older one work for the targets which that one
    /// names; for those in `added` they need `portcullis trust install` again.
    Reissued {
        /// Names that the certificate before did not have (all, when it was missing).
        added: Vec<Name>,
        /// Names of targets that are configured no more.
        dropped: Vec<Name>,
    },
}

impl InterceptionCa {
    /// Reads `ca.key` and `ca.crt` from `dir`, and makes what is missing or names other targets.
    ///
    /// # Errors
    /// When the key can be read, or its directory written, by others; when the files are not such a CA; when the
    /// certificate has expired; when a file operation fails.
    pub fn load_or_create(
        dir: &Path,
        constraints: &Constraints,
        now: Timestamp,
    ) -> Result<(Self, Origin), TlsError> {
        prepare_directory(dir)?;
        let (key_path, path) = (dir.join("ca.key"), dir.join("ca.crt"));
        let existing = Certificate::read(&path)?;
        let (key, is_new) = match (CaKey::read(&key_path)?, &existing) {
            (Some(key), _) => (key, false),
            (None, None) => CaKey::create(&key_path)?,
            (None, Some(_)) => {
                let problem = format!(
                    "its key {} is gone; restore it, or delete the certificate to start anew \
                     (every kubeconfig then needs `portcullis trust install`)",
                    key_path.display()
                );
                return Err(TlsError::BadCa { path, problem });
            }
        };
        if let Some(existing) = &existing {
            existing.check(&path, &key, now)?;
        }
        let before = existing.as_ref().and_then(|existing| existing.constraints.as_ref());
        let (certificate, origin) = match existing {
            Some(existing) if existing.constraints.as_ref() == Some(constraints) => {
                (existing, Origin::Loaded)
            }
            _ => {
                let issued = Certificate::issue(&key, constraints, now)?;
                file::replace(&path, issued.pem.as_bytes(), Access::ours(0o644))?;
                let added = constraints.beyond(before);
                let dropped = before.map(|before| before.beyond(Some(constraints))).unwrap_or_default();
                (issued, if is_new { Origin::Created } else { Origin::Reissued { added, dropped } })
            }
        };
        let issuer = Issuer::from_ca_cert_der(&certificate.der, key)?;
        let ca = Self { path, certificate, issuer };
        if ca.expires_soon(now) {
            tracing::warn!(
                certificate = %ca.path.display(), expires = %ca.not_after(),
                "the interception CA expires soon: delete its certificate to have it issued anew for the same key, \
                 then run `portcullis trust install`"
            );
        }
        Ok((ca, origin))
    }

    /// The certificate that clients must trust, as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate.pem
    }

    /// Whether this CA may vouch for a name.
    pub fn covers(&self, name: &Name) -> bool {
        self.certificate.constraints.as_ref().is_some_and(|constraints| constraints.contains(name))
    }

    /// The end of the certificate's validity.
    pub fn not_after(&self) -> Timestamp {
        self.certificate.not_after
    }

    /// Whether fewer than 30 days are left.
    pub fn expires_soon(&self, now: Timestamp) -> bool {
        self.not_after().duration_since(now) < EXPIRES_SOON
    }

    /// Signs a leaf for one name, valid for [`LEAF_VALIDITY`] but never longer than the CA. Gives its end too.
    pub(crate) fn sign_leaf(
        &self,
        name: &Name,
        key: &impl PublicKeyData,
        now: Timestamp,
    ) -> Result<(CertificateDer<'static>, Timestamp), TlsError> {
        if !self.covers(name) {
            return Err(TlsError::NotCovered(name.clone()));
        }
        self.certificate.check_time(&self.path, now)?;
        let not_after = (now + LEAF_VALIDITY).min(self.not_after());
        let mut leaf = params((now - BACKDATED).max(self.certificate.not_before), not_after)?;
        // The subject has no common name: without a DNS name beside it, OpenSSL would hold it against the constraints.
        leaf.distinguished_name.push(DnType::OrganizationName, "Portcullis");
        leaf.subject_alt_names = vec![match name {
            Name::Dns(name) => SanType::DnsName(name.as_ref().try_into()?),
            Name::Ip(address) => SanType::IpAddress(*address),
        }];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.use_authority_key_identifier_extension = true;
        Ok((leaf.signed_by(key, &self.issuer)?.into(), not_after))
    }
}

/// A CA certificate and what we need to know of it.
struct Certificate {
    der: CertificateDer<'static>,
    pem: String,
    constraints: Option<Constraints>,
    public_key: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Certificate {
    fn issue(key: &CaKey, constraints: &Constraints, now: Timestamp) -> Result<Self, TlsError> {
        let mut ca = params(now - BACKDATED, now + CA_VALIDITY)?;
        let key_id: String =
            ca.key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        ca.distinguished_name.push(DnType::CommonName, format!("{CA_SUBJECT_PREFIX} {key_id}"));
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        ca.name_constraints = Some(constraints.extension());
        let issued = ca.self_signed(key)?;
        Self::parse(issued.pem())
            .map_err(|problem| TlsError::BadCa { path: PathBuf::from("new CA"), problem })
    }

    fn read(path: &Path) -> Result<Option<Self>, TlsError> {
        match std::fs::read_to_string(path) {
            Ok(pem) => Self::parse(pem)
                .map(Some)
                .map_err(|problem| TlsError::BadCa { path: path.to_owned(), problem }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(TlsError::io("read", path)(error)),
        }
    }

    fn parse(pem: String) -> Result<Self, String> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| format!("not a certificate in PEM: {error}"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|error| format!("not a certificate: {error}"))?;
        if !parsed.is_ca() {
            return Err("not the certificate of a CA".to_owned());
        }
        let time = |at: x509_parser::time::ASN1Time| {
            Timestamp::from_second(at.timestamp()).map_err(|e| e.to_string())
        };
        let validity = parsed.validity();
        let (not_before, not_after) = (time(validity.not_before)?, time(validity.not_after)?);
        let public_key = parsed.public_key().raw.to_vec();
        let constraints = Constraints::of_certificate(&parsed);
        Ok(Self { der, pem, constraints, public_key, not_before, not_after })
    }

    fn check(&self, path: &Path, key: &CaKey, now: Timestamp) -> Result<(), TlsError> {
        if self.public_key != key.subject_public_key_info() {
            let problem =
                "it belongs to another key than ca.key beside it; restore the matching pair".to_owned();
            return Err(TlsError::BadCa { path: path.to_owned(), problem });
        }
        self.check_time(path, now)
    }

    fn check_time(&self, path: &Path, now: Timestamp) -> Result<(), TlsError> {
        if now < self.not_after {
            return Ok(());
        }
        Err(TlsError::Expired { path: path.to_owned(), at: self.not_after })
    }
}

/// The CA's private key, wiped from memory when dropped.
struct CaKey(KeyPair);

impl CaKey {
    fn create(path: &Path) -> Result<(Self, bool), TlsError> {
        let key = Self(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?);
        if file::create(path, Zeroizing::new(key.0.serialize_pem()).as_bytes(), Access::ours(0o600))? {
            return Ok((key, true));
        }
        // Another process starting at the same moment was first: its key is the CA's.
        let theirs = Self::read(path)?;
        let vanished = || TlsError::io("read", path)(io::ErrorKind::NotFound.into());
        theirs.ok_or_else(vanished).map(|key| (key, false))
    }

    fn read(path: &Path) -> Result<Option<Self>, TlsError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(TlsError::io("open", path)(error)),
        };
        let metadata = file.metadata().map_err(TlsError::io("read", path))?;
        check_owner(path, &metadata)?;
        if metadata.mode() & 0o077 != 0 {
            let problem = format!(
                "others may read or write it (mode {:04o}). If nobody did: chmod 600 it; \
                 else delete it with ca.crt and install the new CA",
                metadata.mode() & 0o7777
            );
            return Err(TlsError::Unsafe { path: path.to_owned(), problem });
        }
        let mut pem = Zeroizing::new(String::new());
        file.read_to_string(&mut pem).map_err(TlsError::io("read", path))?;
        let key =
            KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &rcgen::PKCS_ECDSA_P256_SHA256).map_err(|_| {
                TlsError::BadCa { path: path.to_owned(), problem: "not an ECDSA P-256 key".to_owned() }
            })?;
        Ok(Some(Self(key)))
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

impl Drop for CaKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What CA and leaves have in common. Limiting the CA too to server authentication makes it useless for signing
/// client certificates and mail.
fn params(not_before: Timestamp, not_after: Timestamp) -> Result<CertificateParams, TlsError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut serial = [0; 16];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut serial).map_err(|_| TlsError::NoRandom)?;
    let mut params = CertificateParams::default();
    params.not_before = epoch + std::time::Duration::from_secs(not_before.as_second().max(0).unsigned_abs());
    params.not_after = epoch + std::time::Duration::from_secs(not_after.as_second().max(0).unsigned_abs());
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn prepare_directory(dir: &Path) -> Result<(), TlsError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(TlsError::io("create", dir))?;
    let metadata = std::fs::metadata(dir).map_err(TlsError::io("read", dir))?;
    check_owner(dir, &metadata)?;
    if metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    let problem = format!("others may write to it (mode {:04o}): chmod 700 it", metadata.mode() & 0o7777);
    Err(TlsError::Unsafe { path: dir.to_owned(), problem })
}

fn check_owner(path: &Path, metadata: &std::fs::Metadata) -> Result<(), TlsError> {
    let us = nix::unistd::geteuid().as_raw();
    if metadata.uid() == us {
        return Ok(());
    }
    let problem = format!("it belongs to uid {}, not to uid {us} that runs this program", metadata.uid());
    Err(TlsError::Unsafe { path: path.to_owned(), problem })
}
