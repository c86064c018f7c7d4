//! Leaves: what a caught client is shown in the target's place.
//!
//! A leaf carries one name, the one that the client asked for: by SNI, else the address that it meant to reach. A name
//! that is not the target's gets no leaf, and the handshake ends. All leaves share one key that lives in this process
//! only, so a new leaf costs one signature and a connection costs none.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData as _, SubjectPublicKeyInfo};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::PrivatePkcs8KeyDer,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::{CertifiedKey, SigningKey},
};
use zeroize::Zeroize as _;

use crate::{InterceptionCa, Name, TargetNames, TlsError, ca::LEAF_VALIDITY};

/// Tells the time; injected so that tests can turn the clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Makes the TLS configurations that clients are met with.
pub struct LeafIssuer {
    leaves: Arc<Leaves>,
    provider: Arc<CryptoProvider>,
    configs: Mutex<HashMap<String, TargetConfigs>>,
}

impl LeafIssuer {
    /// An issuer with a fresh leaf key.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(ca: InterceptionCa, clock: Clock) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let public_key = SubjectPublicKeyInfo::from_der(&key.subject_public_key_info())?;
        // rustls wipes what it is given; what stays in memory is its own copy alone.
        let pkcs8 = PrivatePkcs8KeyDer::from(key.serialize_der());
        key.zeroize();
        let signer = provider.key_provider.load_private_key(pkcs8.into())?;
        let leaves = Arc::new(Leaves { ca, public_key, signer, clock, issued: Mutex::default() });
        Ok(Self { leaves, provider, configs: Mutex::default() })
    }

    /// The configuration for a connection that was on its way to `original_dst`, a target called `names`. TLS 1.2 and
    /// 1.3, ALPN `h2` and `http/1.1`; a client that offers no ALPN speaks HTTP/1.1. Made once for each target and
    /// address, and anew when the target's names change.
    ///
    /// # Errors
    /// When the CA was made before one of the names was configured, or TLS cannot be set up.
    pub fn server_config(
        &self,
        target_name: &str,
        original_dst: SocketAddr,
        names: &TargetNames,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let address = original_dst.ip().to_canonical();
        // Addresses that the target is not called by share one configuration, which needs SNI: the addresses behind a
        // DNS name come and go, and must not fill the cache.
        let without_sni = Some(address).filter(|address| names.contains(&Name::Ip(*address)));
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = configs.get(target_name)
            && target.names == *names
            && let Some(config) = target.by_address.get(&without_sni)
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.configure(target_name, without_sni, names)?);
        let target = configs.entry(target_name.to_owned()).or_default();
        if target.names != *names {
            *target = TargetConfigs { names: names.clone(), by_address: HashMap::new() };
        }
        target.by_address.insert(without_sni, Arc::clone(&config));
        Ok(config)
    }

    fn configure(
        &self,
        target: &str,
        without_sni: Option<IpAddr>,
        names: &TargetNames,
    ) -> Result<ServerConfig, TlsError> {
        if let Some(name) = names.iter().find(|name| !self.leaves.ca.covers(name)) {
            return Err(TlsError::NotCovered(name.clone()));
        }
        let leaves = Arc::clone(&self.leaves);
        let resolver = Resolver { target: target.to_owned(), without_sni, names: names.clone(), leaves };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Tickets hold the session, so that idle clients cost no memory here; their keys are this target's alone.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

#[derive(Default)]
struct TargetConfigs {
    names: TargetNames,
    by_address: HashMap<Option<IpAddr>, Arc<ServerConfig>>,
}

/// Picks the leaf for one hello.
struct Resolver {
    target: String,
    without_sni: Option<IpAddr>,
    names: TargetNames,
    leaves: Arc<Leaves>,
}

impl Resolver {
    /// The name that the client wants to see, if it is the target's; else why it gets none.
    fn name(&self, sni: Option<&str>) -> Result<Name, String> {
        let Some(sni) = sni else {
            return self.without_sni.map(Name::Ip).ok_or_else(|| {
                "the client sent no SNI, and the address that it connected to is not a name of the target"
                    .to_owned()
            });
        };
        let name = sni.parse::<Name>().map_err(|error| error.to_string())?;
        if self.names.contains(&name) {
            Ok(name)
        } else {
            Err("the SNI is not a name of the target".to_owned())
        }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let sni = hello.server_name();
        let leaf = self.name(sni).and_then(|name| self.leaves.get(&name).map_err(|error| error.to_string()));
        if let Err(reason) = &leaf {
            tracing::warn!(target_name = self.target, sni, reason, "TLS handshake refused");
        }
        leaf.ok()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("target", &self.target).finish_non_exhaustive()
    }
}

/// The leaves in use, renewed when half their time is over.
struct Leaves {
    ca: InterceptionCa,
    public_key: SubjectPublicKeyInfo,
    signer: Arc<dyn SigningKey>,
    clock: Clock,
    issued: Mutex<HashMap<Name, Leaf>>,
}

struct Leaf {
    certified: Arc<CertifiedKey>,
    renew_at: Timestamp,
}

impl Leaves {
    fn get(&self, name: &Name) -> Result<Arc<CertifiedKey>, TlsError> {
        let now = (self.clock)();
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = issued.get(name)
            && now < leaf.renew_at
        {
            return Ok(Arc::clone(&leaf.certified));
        }
        let (certificate, not_after) = self.ca.sign_leaf(name, &self.public_key, now)?;
        let certified = Arc::new(CertifiedKey::new(vec![certificate], Arc::clone(&self.signer)));
        // Near the CA's end a leaf is shorter than usual, and the next one would end at the same moment.
        let renew_at = (now + LEAF_VALIDITY / 2).min(not_after);
        issued.insert(name.clone(), Leaf { certified: Arc::clone(&certified), renew_at });
        Ok(certified)
    }
}
