//! The certificate shown at `notify.listen`, read again when it was renewed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::NotifyError;
use crate::config::TlsFiles;
use crate::secret::content;

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Certificate and key, as of at most a minute ago.
#[derive(Clone)]
pub(crate) struct Certificate {
    files: TlsFiles,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    config: Arc<ServerConfig>,
    stamps: [Option<Stamp>; 2],
    looked: Timestamp,
}

/// What tells one state of a file from the next (inode(7)).
type Stamp = (u64, u64, i64, i64);

impl Certificate {
    pub(crate) fn load(files: &TlsFiles, now: Timestamp) -> Result<Self, NotifyError> {
        let stamps = stamps(files);
        let seen = Seen { config: read(files)?, stamps, looked: now };
        Ok(Self { files: files.clone(), seen: Arc::new(Mutex::new(seen)) })
    }

    /// With what is valid now. A renewal that cannot be read leaves the old certificate in place, and a warning.
    pub(crate) fn acceptor(&self, now: Timestamp) -> TlsAcceptor {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(seen.looked).unsigned_abs() >= LOOK_EVERY {
            seen.looked = now;
            let stamps = stamps(&self.files);
            if stamps != seen.stamps {
                match read(&self.files) {
                    Ok(config) => (seen.config, seen.stamps) = (config, stamps),
                    Err(error) => tracing::warn!(%error, "the renewed certificate of notify.tls is not used"),
                }
            }
        }
        TlsAcceptor::from(Arc::clone(&seen.config))
    }
}

fn stamps(files: &TlsFiles) -> [Option<Stamp>; 2] {
    [&files.cert_file, &files.key_file].map(|path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
    })
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, NotifyError> {
    let bad = |path: &Path, problem: String| NotifyError::Tls { path: path.to_owned(), problem };
    let (cert, key) = (&files.cert_file, &files.key_file);
    let pem = fs::read(cert).map_err(|source| NotifyError::File { path: cert.clone(), source })?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| bad(cert, "holds no certificate in PEM".to_owned()))?;
    let key_der = PrivateKeyDer::from_pem_slice(&content(key, 0o007)?)
        .map_err(|error| bad(key, format!("holds no private key in PEM: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key_der))
        .map_err(|error| bad(cert, format!("cannot be used with {}: {error}", key.display())))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
