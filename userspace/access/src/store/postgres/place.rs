//! Where the database is, by whose credentials, and how the way there is protected.

use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use zeroize::Zeroizing;

use super::tls::Tls;
use crate::PostgresConfig;

/// How long a connection to one address may take.
const CONNECT: Duration = Duration::from_secs(3);
/// Longer than any connection URL.
const LONGEST_URL: u64 = 16 * 1024;

/// What is needed for a connection. Its `Debug` shows no password, as that of [`Config`] shows none.
pub(super) struct Place {
    pub(super) config: Config,
    pub(super) tls: Tls,
}

impl Place {
    /// Reads the files that `written` names.
    ///
    /// # Errors
    /// What is wrong with which file; never what the URL says.
    pub(super) fn read(written: &PostgresConfig) -> Result<Self, String> {
        let at = |what: &str| format!("urlFile {}: {what}", written.url_file.display());
        let url = read_private(&written.url_file).map_err(|what| at(&what))?;
        let (mut config, sslmode) = parse(url.trim()).map_err(at)?;
        let protected = match sslmode {
            Some("disable") if !is_local(&config) => {
                return Err(at("sslmode=disable is for a Unix socket or this host alone"));
            }
            Some("disable") => false,
            Some("require" | "verify-full") => true,
            None => !config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))),
            Some(_) => return Err(at("sslmode can be verify-full, and disable on this host")),
        };
        config.ssl_mode(if protected { SslMode::Require } else { SslMode::Disable });
        config
            .application_name("portcullis")
            .connect_timeout(CONNECT)
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(10))
            // Of several hosts the one that takes writes.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        let roots = match (&written.certificate_authority, protected) {
            (Some(path), _) => roots(path)?,
            (None, false) => RootCertStore::empty(),
            (None, true) => {
                return Err("needs certificateAuthority: the file of the CA that issued the server's \
                            certificate, which is always verified"
                    .to_owned());
            }
        };
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config, tls: Tls::new(client) })
    }

    /// Which database it is, for people: no user, no password.
    pub(super) fn name(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(host) => format!("{host}:{port}"),
                Host::Unix(folder) => folder.display().to_string(),
            }
        });
        let hosts: Vec<String> = hosts.collect();
        format!("{} of PostgreSQL at {}", self.config.get_dbname().unwrap_or("?"), hosts.join(", "))
    }
}

/// A connection URL, and what it says of `sslmode`. The library knows fewer words for that than its users do.
fn parse(url: &str) -> Result<(Config, Option<&str>), &'static str> {
    const NO_URL: &str =
        "is no connection URL; write postgres://user:password@host:5432/database?sslmode=verify-full";
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(NO_URL);
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (modes, others): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(|part| !part.is_empty()).partition(|part| part.starts_with("sslmode="));
    let rest = Zeroizing::new(format!("{base}?{}", others.join("&")));
    // The error would quote the URL.
    let config: Config = rest.parse().map_err(|_| NO_URL)?;
    if config.get_hosts().is_empty() || config.get_dbname().is_none() || config.get_user().is_none() {
        return Err("must name a user, a host and a database");
    }
    match modes[..] {
        [] => Ok((config, None)),
        [mode] => Ok((config, mode.strip_prefix("sslmode="))),
        _ => Err("names sslmode twice"),
    }
}

/// Whether nothing leaves this host.
fn is_local(config: &Config) -> bool {
    let local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    };
    config.get_hosts().iter().all(local) && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// A file that nobody but its owner and its group can read, and only its owner can write.
fn read_private(path: &Path) -> Result<Zeroizing<String>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mode =
        file.metadata().map_err(|error| format!("cannot be read: {error}"))?.permissions().mode() & 0o777;
    if mode & 0o027 != 0 {
        return Err(format!("its mode {mode:04o} opens it to others; chmod it to 0600 or 0640"));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(LONGEST_URL).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(text)
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let at = |what: String| format!("certificateAuthority {}: {what}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(|error| at(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in found {
        let certificate = certificate.map_err(|error| at(error.to_string()))?;
        roots.add(certificate).map_err(|error| at(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(at("holds no certificate".to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<Place, String> {
        let dir = tempfile::tempdir().unwrap();
        let url_file = dir.path().join("url");
        std::fs::write(&url_file, url).unwrap();
        std::fs::set_permissions(&url_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        Place::read(&PostgresConfig { url_file, certificate_authority: None })
    }

    fn refused(url: &str) -> String {
        let error = place(url).err().unwrap_or_else(|| panic!("{url} was taken"));
        assert!(!error.contains("hunter2"), "{error}");
        error
    }

    #[test]
    fn the_way_to_the_server_is_verified_unless_it_stays_on_this_host() {
        for mode in ["", "?sslmode=require", "?sslmode=verify-full"] {
            let error = refused(&format!("postgres://p:hunter2@db.example.com/grants{mode}"));
            assert!(error.starts_with("needs certificateAuthority"), "{mode}: {error}");
        }
        for mode in ["prefer", "allow", "verify-ca"] {
            let error = refused(&format!("postgres://p:hunter2@db.example.com/grants?sslmode={mode}"));
            assert!(error.contains("sslmode can be verify-full"), "{mode}: {error}");
        }
        for host in ["db.example.com", "10.0.0.7", "localhost,db.example.com"] {
            let error = refused(&format!("postgres://p:hunter2@{host}/grants?sslmode=disable"));
            assert!(error.contains("this host alone"), "{host}: {error}");
        }
        let elsewhere = refused("postgres://p:hunter2@localhost/grants?sslmode=disable&hostaddr=10.0.0.7");
        assert!(elsewhere.contains("this host alone"), "{elsewhere}");
        assert!(refused("postgres://p@localhost/grants").starts_with("needs certificateAuthority"));

        let socket = place("postgres://p:hunter2@%2Frun%2Fpostgresql/grants").unwrap();
        assert_eq!(socket.config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(socket.name(), "grants of PostgreSQL at /run/postgresql");
        let loopback = place("postgresql://p:hunter2@127.0.0.1:5433/grants?sslmode=disable").unwrap();
        assert_eq!(loopback.name(), "grants of PostgreSQL at 127.0.0.1:5433");
    }

    #[test]
    fn what_is_no_url_is_refused_without_repeating_it() {
        for url in [
            "host=db password=hunter2",
            "mysql://p:hunter2@db/x",
            "postgres://p:hunter2@db:port/x",
            "postgres://p:hunter2@db/x?sslkey=y",
            "postgres://p:hunter2@db/x?connect_timeout=hunter2",
            "postgres://p:hunter2@db",
            "postgres:///x",
            "",
        ] {
            let error = refused(url);
            assert!(error.contains("is no connection URL") || error.contains("must name"), "{url}: {error}");
        }
        assert!(refused("postgres://p@db/x?sslmode=disable&sslmode=require").contains("twice"));
    }

    #[test]
    fn a_url_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let url_file = dir.path().join("url");
        std::fs::write(&url_file, "postgres://p:hunter2@%2Frun/grants").unwrap();
        let read = |mode| {
            std::fs::set_permissions(&url_file, std::fs::Permissions::from_mode(mode)).unwrap();
            Place::read(&PostgresConfig { url_file: url_file.clone(), certificate_authority: None })
        };
        for mode in [0o600, 0o400, 0o640] {
            assert!(read(mode).is_ok(), "{mode:o}");
        }
        for mode in [0o644, 0o604, 0o660, 0o666] {
            let error = read(mode).err().unwrap();
            assert!(error.contains("opens it to others"), "{error}");
        }
    }
}
