//! Puts the pipeline together from the configuration.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use listenfd::ListenFd;
use portcullis_access::{Access, Clock, SystemClock, load_roles};
use portcullis_credential::{TargetPlace, UpstreamTls};
use portcullis_identity::{Identities, Nss, UnixSource};
use portcullis_intercept::Listeners;
use portcullis_intercept::gate::{self, Gate};
use portcullis_mask::{MaskKey, Profile};
use portcullis_notify::{Decider, Notifier, Notify, Outbox, Server};
use portcullis_proxy::{Counts, Denials, Holds, Limits, McpMemory, Proxy, Target, Upstream};
use portcullis_record::Recorder;
use portcullis_tls::{Constraints, InterceptionCa, LeafIssuer, Origin, TargetNames};
use tokio::sync::watch;

use super::sync::{ByName, Routes};
use super::telling::Telling;
use crate::config::{Config, Trusted, private_dir};
use crate::control::{Commands, TrustAnchor};

/// Where the state directory keeps the definitions of tools that were agreed to.
const TOOLS: &str = "mcp-tools";

/// Everything the daemon runs.
pub(super) struct Parts {
    pub(super) proxy: Arc<Proxy>,
    pub(super) listeners: Listeners,
    pub(super) access: Arc<Access>,
    pub(super) commands: Commands,
    pub(super) routes: Arc<Routes>,
    /// Puts another mask profile in force.
    pub(super) profiles: watch::Sender<Arc<Profile>>,
    /// Where somebody is to be told.
    pub(super) notifying: Option<Notifying>,
}

/// Telling approvers, and hearing from them.
pub(super) struct Notifying {
    pub(super) notifier: Notifier,
    /// Where something is configured to be answered.
    pub(super) server: Option<Server>,
}

impl Parts {
    /// Opens or makes every part. Nothing is served unless all of it is there.
    pub(super) async fn assemble(config: &Config) -> Result<Self> {
        let Gate { attestor, targets, exemptions, .. } = gate::open(&config.gate)?;
        let state = &config.state_dir;
        prepare(state)?;
        let ca = interception_ca(config)?;
        let trust = TrustAnchor {
            certificate_pem: ca.certificate_pem().to_owned(),
            endpoints: config.targets.values().flat_map(crate::config::TargetConfig::addresses).collect(),
        };
        let recorder = Recorder::open(&config.record).context("record")?;
        let roles = load_roles(&config.roles)?;
        let access = Access::open(config.access.clone(), roles, Arc::new(SystemClock)).context("access")?;
        let access = Arc::new(access);
        let identities = identities(config)?;
        let listeners = listeners(config)?;
        let routes = Arc::new(Routes::start(config, targets, exemptions, targets_of(config)?));
        let remembered = Arc::new(portcullis_access::Denials::default());
        let (profiles, profile) = watch::channel(Arc::new(config.mask_profile()?));
        let tools = state.join(TOOLS);
        private_dir(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
        let notify = config.notify.as_ref().map(|notify| Notify::load(notify, state).map(Arc::new));
        let notify = notify.transpose().context("notify")?;
        let proxy = Proxy {
            attestor: Arc::new(attestor),
            identities: Arc::clone(&identities),
            routing: Arc::clone(&routes) as _,
            leaves: LeafIssuer::new(ca, Arc::new(Timestamp::now))?,
            snapshots: access.subscribe(),
            holds: Holds::new(Arc::clone(&access), hostname()?),
            hold_page: notify.as_ref().and_then(Notify::hold_pages).map(|page| Arc::new(page) as _),
            clock: Arc::new(SystemClock),
            recorder,
            profile,
            mask_key: MaskKey::load_or_create(&state.join("mask.key"))?,
            limits: Limits::new(config.limits.connections_per_uid.get()),
            remembered: Arc::clone(&remembered),
            denials: Denials::default(),
            counts: Counts::default(),
            mcp: McpMemory::new(Some(tools)),
        };
        let notifying = match &notify {
            Some(notify) => Some(Notifying::prepare(notify, &access, &identities).await.context("notify")?),
            None => None,
        };
        Ok(Self {
            notifying,
            proxy: Arc::new(proxy),
            listeners,
            commands: Commands::new(Arc::clone(&access), identities, trust, remembered),
            access,
            routes,
            profiles,
        })
    }
}

impl Notifying {
    async fn prepare(
        notify: &Arc<Notify>,
        access: &Arc<Access>,
        identities: &Arc<Identities>,
    ) -> Result<Self> {
        let telling = Arc::new(Telling::new(Arc::clone(access), Arc::clone(identities)));
        let (outbox, decider): (Arc<dyn Outbox>, Arc<dyn Decider>) = (telling.clone(), telling);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let notifier = Notifier::new(notify, &outbox, &clock, &hostname()?)?;
        Ok(Self { notifier, server: Server::bind(notify, &decider, &clock).await? })
    }
}

/// The targets as the proxy wants them. Credentials are looked at now, so that a wrong path is told at once.
pub(super) fn targets_of(config: &Config) -> Result<ByName> {
    config
        .targets
        .values()
        .map(|target| {
            let at = || format!("target {}", target.name);
            let tls = match &target.certificate_authority {
                Trusted::Nobody => None,
                Trusted::File(path) => Some(UpstreamTls::from_file(path).with_context(at)?),
                Trusted::Pem(pem) => {
                    let tls = UpstreamTls::from_pem(Path::new("what AWS says"), pem.as_bytes());
                    Some(tls.with_context(at)?)
                }
                Trusted::Undiscovered => bail!("target {}: it is not known where it is", target.name),
            };
            let place = tls.clone().map(|tls| TargetPlace {
                endpoints: target.addresses(),
                server_name: target.tls_server_name.as_ref().map(ToString::to_string),
                tls,
            });
            let source = target.credential.open(place.as_ref()).with_context(at)?;
            let made = Target {
                name: target.name.clone(),
                scheme: target.scheme,
                names: target.names(),
                server_name: target.tls_server_name.clone(),
                upstream: match target.mcp {
                    None => Upstream::new(source, tls),
                    Some(_) => Upstream::new(source, tls).of_impatient_server(),
                },
                impersonate: target.impersonate,
                accepted: target.accepted.clone(),
                mcp: target.mcp.clone(),
                mcp_services: target.mcp_services.clone(),
            };
            Ok((target.name.clone(), Arc::new(made)))
        })
        .collect()
}

/// All sources, for targets that ask only for such as there are. No server is asked.
pub(crate) fn identities(config: &Config) -> Result<Arc<Identities>> {
    let unix = UnixSource::new(config.identity.unix.clone(), Arc::new(Nss)).context("identity.unix")?;
    let unix = Arc::new(unix);
    let identities =
        Identities::build(unix, &config.identity, Arc::new(Timestamp::now)).context("identity")?;
    check_identities(&identities, config)?;
    Ok(Arc::new(identities))
}

/// Whether the targets ask only for sources that there are.
pub(super) fn check_identities(identities: &Identities, config: &Config) -> Result<()> {
    for target in config.targets.values() {
        identities.check(&target.accepted).with_context(|| format!("target {}: identity", target.name))?;
    }
    Ok(())
}

/// The sockets that a service manager holds for us, else our own.
fn listeners(config: &Config) -> Result<Listeners> {
    let mut passed = ListenFd::from_env();
    let sockets: Vec<TcpListener> = (0..passed.len())
        .filter_map(|index| passed.take_tcp_listener(index).transpose())
        .collect::<Result<_, _>>()
        .context("a socket passed by the service manager is no TCP listener")?;
    Ok(if sockets.is_empty() {
        Listeners::bind(&config.gate)?
    } else {
        Listeners::adopt(&config.gate, sockets)?
    })
}

fn interception_ca(config: &Config) -> Result<InterceptionCa> {
    let names: Vec<TargetNames> = config.targets.values().map(crate::config::TargetConfig::names).collect();
    let constraints = Constraints::of(&names)?;
    let (ca, origin) = InterceptionCa::load_or_create(&config.state_dir, &constraints, Timestamp::now())?;
    match origin {
        Origin::Loaded => {}
        Origin::Created => {
            tracing::info!("interception CA made: engineers need `portcullis trust install` once");
        }
        Origin::Reissued { added, dropped } => {
            let list = |names: &[portcullis_tls::Name]| {
                names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            tracing::warn!(
                added = list(&added),
                dropped = list(&dropped),
                "interception CA issued anew: for the added names engineers need `portcullis trust install` again"
            );
        }
    }
    Ok(ca)
}

/// What tells this bastion from another.
fn hostname() -> Result<String> {
    let name = nix::unistd::gethostname().context("the host's name")?;
    name.into_string().map_err(|name| anyhow::anyhow!("the host's name {name:?} is no text"))
}

/// Makes the folder of our keys, and refuses one in which somebody else could put theirs.
fn prepare(state: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    private_dir(state).with_context(|| format!("cannot make stateDir {}", state.display()))?;
    let found =
        std::fs::metadata(state).with_context(|| format!("cannot look at stateDir {}", state.display()))?;
    let (mode, owner) = (found.mode() & 0o7777, found.uid());
    ensure!(
        mode & 0o022 == 0 && owner == nix::unistd::geteuid().as_raw(),
        "stateDir {} can be written by others (mode {mode:04o}, owner {owner}): they could put keys of their own there",
        state.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nobody_else_may_write_where_our_keys_are() {
        let dir = std::env::temp_dir().join(format!("portcullis-state-{}", std::process::id()));
        prepare(&dir).unwrap();
        prepare(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o770)).unwrap();
        let error = prepare(&dir).unwrap_err().to_string();
        std::fs::remove_dir(&dir).unwrap();
        assert!(error.contains("mode 0770"), "{error}");
    }
}
