//! What can go wrong with the gate. Every variant leaves it closed, or not loaded and says so.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

use crate::TargetName;

/// The gate could not be loaded, opened or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// A file or directory.
    #[error("cannot {what} {}: {source}", path.display())]
    Path {
        /// A verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A system call without a path.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The configuration contradicts itself or the host.
    #[error("gate: {0}")]
    Config(String),
    /// `gate load` has not run, or somebody removed a pin.
    #[error("the gate is not loaded: {} is missing; run `portcullis gate load`", .0.display())]
    NotLoaded(PathBuf),
    /// Pins from another version of the programs.
    #[error(
        "{} was pinned by another version of Portcullis ({found}); run `portcullis gate unload`, then load again",
        path.display()
    )]
    OtherVersion {
        /// The pin.
        path: PathBuf,
        /// In what it differs.
        found: String,
    },
    /// The pinned gate is attached elsewhere.
    #[error(
        "the gate is attached to another cgroup (id {attached}) than {} (id {configured}); run `portcullis gate \
         unload` first",
        path.display()
    )]
    OtherCgroup {
        /// Where it is attached.
        attached: u64,
        /// Where the configuration wants it.
        configured: u64,
        /// The configured cgroup.
        path: PathBuf,
    },
    /// The pinned gate and the configuration disagree.
    #[error(
        "the loaded gate was set up for {loaded}, the configuration says {configured}; run `portcullis gate load`"
    )]
    Disagrees {
        /// What `gate load` wrote.
        loaded: String,
        /// What this process wants.
        configured: String,
    },
    /// The daemon runs where its exemption would exempt others, or where it would not be attested.
    #[error("the daemon cannot run in cgroup {}: {why}", path.display())]
    DaemonCgroup {
        /// Its cgroup.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A target's address that cannot be guarded.
    #[error("target {target}: {address}: {why}")]
    Address {
        /// Whose.
        target: TargetName,
        /// Which.
        address: SocketAddr,
        /// Why not.
        why: String,
    },
    /// The endpoints do not fit; what was there stays.
    #[error("the gate has room for {max} endpoints, and is full")]
    Full {
        /// Of the map.
        max: usize,
    },
    /// A socket that the daemon cannot serve on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The embedded object was refused.
    #[error("the kernel programs cannot be loaded: {}", chain(.0))]
    Load(#[source] EbpfError),
    /// A program was refused, with the verifier's words.
    #[error("the kernel refused the program {program}: {}", chain(.source))]
    Program {
        /// Its name.
        program: &'static str,
        /// What the verifier or the kernel said.
        source: ProgramError,
    },
    /// A map could not be read or written.
    #[error("map {map}: {}", chain(.source))]
    Map {
        /// Its name.
        map: &'static str,
        /// What the kernel answered.
        source: MapError,
    },
}

impl GateError {
    pub(crate) fn path(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path { what, path, source }
    }

    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    pub(crate) fn map(map: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| Self::Map { map, source }
    }
}

/// aya's messages leave the kernel's own answer to their sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
