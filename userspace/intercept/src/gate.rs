//! Loading, opening and unloading the kernel side.
//!
//! `gate load` is a short-lived privileged process of its own; it leaves links and maps pinned. The daemon
//! only opens the pins, so its death, however it dies, leaves connects redirected to a port where nobody
//! listens: refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::Path;

use aya::maps::{Array, MapData};
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use portcullis_abi::{self as abi, Address, Settings, maps};
use portcullis_identity::NetnsCookie;

use crate::attest::KernelAttestor;
use crate::cgroup::Cgroup;
use crate::config::{GateConfig, OlderConnections};
use crate::connections::{self, Connection};
use crate::counters::Counters;
use crate::exempt::Exemptions;
use crate::pins::{EGRESS, HOOKS, Pins};
use crate::targets::{Changes, TargetName, Targets};
use crate::{GateError, sys};

pub use crate::status::status;

/// The kernel programs, as `cargo xtask build` compiled them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("PORTCULLIS_GATE_OBJECT"));

/// What [`load`] did.
#[derive(Debug)]
pub struct Loaded {
    /// Whether a loaded gate had its programs swapped, rather than a new one been attached.
    pub swapped: bool,
    /// What changed among the endpoints.
    pub changes: Changes,
    /// Connections to targets that are older than the gate.
    pub older: Vec<Connection>,
}

/// The gate as the daemon sees it. Parts of it go to different owners.
#[derive(Debug)]
pub struct Gate {
    /// Attests accepted sockets.
    pub attestor: KernelAttestor,
    /// What is intercepted.
    pub targets: Targets,
    /// Whose connects pass.
    pub exemptions: Exemptions,
    /// What the programs counted.
    pub counters: Counters,
}

/// Loads the programs, attaches them to the configured cgroup and pins everything. On a loaded gate it swaps
/// each program atomically, and never leaves a moment without one.
///
/// `targets` are added to those of a loaded gate; the daemon removes what is no longer configured. Needs root, or CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and, to mount,
/// CAP_SYS_ADMIN.
///
/// # Errors
/// [`GateError`]. What was not loaded before is not left half loaded; what was loaded stays attached.
pub fn load(
    config: &GateConfig,
    targets: &BTreeMap<TargetName, Vec<SocketAddr>>,
) -> Result<Loaded, GateError> {
    let cgroup = attach_point(config)?;
    let settings = settings(config)?;
    let pins = Pins::new(&config.pin_dir);
    pins.prepare()?;
    let lock = pins.lock()?;
    pins.check(&cgroup)?;
    let fresh = pins.is_empty()?;

    let changes = match install(config, &cgroup, &pins, &settings, targets) {
        Err(error) if fresh => {
            if let Err(left) = pins.remove_all() {
                tracing::error!(%left, "a failed load could not be undone");
            }
            return Err(error);
        }
        result => result?,
    };
    drop(lock);

    let older = connections::to_targets(&cgroup, targets, &Exemptions::open(&pins)?.ids()?)?;
    if config.older_connections == OlderConnections::Reset {
        older.iter().try_for_each(connections::reset)?;
    }
    Ok(Loaded { swapped: !fresh, changes, older })
}

/// Opens the pins for the daemon, and exempts its cgroup. Attaches nothing.
///
/// # Errors
/// [`GateError::NotLoaded`]; [`GateError::Disagrees`] where the gate was set up for other listeners or another
/// network namespace; [`GateError::DaemonCgroup`] where exempting the daemon's cgroup would exempt others.
pub fn open(config: &GateConfig) -> Result<Gate, GateError> {
    let pins = Pins::new(&config.pin_dir);
    let (loaded, configured) = (pins.settings()?, settings(config)?);
    if loaded != configured {
        return Err(GateError::Disagrees { loaded: describe(&loaded), configured: describe(&configured) });
    }
    for hook in HOOKS.into_iter().filter(|&hook| hook != EGRESS) {
        pins.link(hook)?.ok_or_else(|| GateError::NotLoaded(pins.path(hook)))?;
    }
    let mut exemptions = Exemptions::open(&pins)?;
    exemptions.replace(&attach_point(config)?, daemon_cgroup(config)?, &config.exempt)?;
    Ok(Gate {
        attestor: KernelAttestor::open(&pins, Path::new("/proc"))?,
        targets: Targets::open(&pins)?,
        exemptions,
        counters: Counters::open(&pins)?,
    })
}

/// Detaches and unpins everything, also what is only half there. This opens the gate: targets become
/// reachable directly. Whether anything was loaded.
///
/// # Errors
/// [`GateError::Path`]
pub fn unload(config: &GateConfig) -> Result<bool, GateError> {
    let pins = Pins::new(&config.pin_dir);
    let _lock = match pins.lock() {
        Ok(lock) => lock,
        Err(GateError::NotLoaded(_)) => return Ok(false),
        Err(error) => return Err(error),
    };
    pins.remove_all()
}

/// The configured cgroup, or the root.
pub(crate) fn attach_point(config: &GateConfig) -> Result<Cgroup, GateError> {
    config.cgroup.as_deref().map_or_else(Cgroup::root, Cgroup::at)
}

fn install(
    config: &GateConfig,
    cgroup: &Cgroup,
    pins: &Pins,
    settings: &Settings,
    targets: &BTreeMap<TargetName, Vec<SocketAddr>>,
) -> Result<Changes, GateError> {
    let mut loader = EbpfLoader::new();
    for name in maps::ALL {
        loader.map_pin_path(name, pins.path(name));
    }
    let mut object = loader.load(OBJECT).map_err(GateError::Load)?;

    // Maps first: programs that are attached find what they need.
    let mut endpoints = Targets::open(pins)?;
    endpoints.own([settings.listen4, settings.listen6])?;
    let changes = endpoints.add(targets)?;
    Exemptions::open(pins)?.add(cgroup, &config.exempt)?;
    let mut map: Array<MapData, Settings> = pins.map(maps::SETTINGS)?;
    map.set(0, settings, 0).map_err(GateError::map(maps::SETTINGS))?;

    let directory = File::open(&cgroup.path).map_err(GateError::path("open", &cgroup.path))?;
    for hook in HOOKS {
        if hook == EGRESS && !config.egress_guard {
            pins.detach(hook)?;
        } else {
            attach(&mut object, hook, &directory, pins)?;
        }
    }
    Ok(changes)
}

/// Swaps the program behind a pinned link, or attaches it and pins the link.
fn attach(object: &mut Ebpf, hook: &'static str, cgroup: &File, pins: &Pins) -> Result<(), GateError> {
    let refused = |source| GateError::Program { program: hook, source };
    let program = object
        .program_mut(hook)
        .ok_or_else(|| GateError::Config(format!("the kernel programs lack {hook}: rebuild them")))?;
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
    .map_err(refused)?;

    if let Some(link) = pins.link(hook)? {
        let attached = sys::link_info(link.as_fd()).map_err(GateError::system("ask about a link"))?;
        if attached.cgroup != 0 {
            let program = program.fd().map_err(refused)?;
            return sys::update_link(link.as_fd(), program.as_fd())
                .map_err(GateError::path("swap the program of", pins.path(hook)));
        }
        pins.remove(hook)?; // its cgroup was removed, and took the attachment with it
    }
    let link = attach_to(program, cgroup).map_err(refused)?;
    link.pin(pins.path(hook))
        .map(drop)
        .map_err(|error| GateError::path("pin the link", pins.path(hook))(io::Error::other(error)))
}

/// `Single` on a link means: beside the links of others.
fn attach_to(program: &mut Program, cgroup: &File) -> Result<FdLink, ProgramError> {
    let mode = CgroupAttachMode::Single;
    let link = match program {
        Program::CgroupSockAddr(program) => {
            let id = program.attach(cgroup, mode)?;
            program.take_link(id)?.try_into()
        }
        Program::SockOps(program) => {
            let id = program.attach(cgroup, mode)?;
            program.take_link(id)?.try_into()
        }
        Program::CgroupSkb(program) => {
            let id = program.attach(cgroup, aya::programs::CgroupSkbAttachType::Egress, mode)?;
            program.take_link(id)?.try_into()
        }
        _ => return Err(ProgramError::UnexpectedProgramType),
    };
    link.map_err(|_| ProgramError::IOError(io::ErrorKind::Unsupported.into()))
}

/// What the programs are told: this process's network namespace, and where the proxy listens in it.
fn settings(config: &GateConfig) -> Result<Settings, GateError> {
    let (v4, v6) = config.listeners()?;
    let listen = |address: Option<SocketAddr>| address.map(Address::from).unwrap_or_default();
    Ok(Settings {
        version: abi::VERSION,
        reserved: 0,
        netns: own_netns()?.0,
        listen4: listen(v4),
        listen6: listen(v6),
    })
}

fn own_netns() -> Result<NetnsCookie, GateError> {
    const WHAT: &str = "cannot learn this network namespace's cookie (the gate needs Linux 5.15)";
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = TcpListener::bind(any).map_err(GateError::system(WHAT))?;
    sys::netns_cookie(socket.as_fd()).map(NetnsCookie).map_err(GateError::system(WHAT))
}

/// This process's cgroup, if it can be exempt, whole and alone, and its accepted sockets be attested.
fn daemon_cgroup(config: &GateConfig) -> Result<Cgroup, GateError> {
    let (own, attached) = (Cgroup::own()?, attach_point(config)?);
    let why = if own.is_root() {
        "exempting the root cgroup would exempt every process in it; start the daemon in a cgroup of its own"
    } else if own.id == attached.id {
        "it is the one that the gate is attached to, and exempting it would exempt the engineers in it; start \
         the daemon in a cgroup of its own below it"
    } else if !own.is_below(&attached)? {
        "it is not below the one that the gate is attached to, so that the sockets it accepts would not be attested"
    } else {
        return Ok(own);
    };
    Err(GateError::DaemonCgroup { path: own.path, why })
}

fn describe(settings: &Settings) -> String {
    let listen: Vec<String> = [settings.listen4, settings.listen6]
        .into_iter()
        .filter(|address| address.port != 0)
        .map(|address| SocketAddr::from(address).to_string())
        .collect();
    format!("listeners {} in network namespace {}", listen.join(" and "), settings.netns)
}
