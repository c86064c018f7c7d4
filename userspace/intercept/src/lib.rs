//! The gate seen from userspace: loading and pinning the kernel programs, what they intercept, whose connects
//! pass, and who is behind an accepted connection.
//!
//! ```text
//! gate::load     once, privileged: programs attached, links and maps pinned
//! gate::open     the daemon: opens the pins, exempts its own cgroup
//!   targets      what is intercepted      ┐ keep_in_sync
//!   exemptions   whose connects pass      ┘
//!   attestor     accepted socket → Attestation
//! Listeners      where redirected connections arrive
//! ```

mod attest;
mod cgroup;
mod config;
mod connections;
mod counters;
mod error;
mod exempt;
pub mod gate;
mod listen;
mod pins;
mod resolve;
mod status;
mod sys;
mod targets;

pub use attest::KernelAttestor;
pub use config::{GateConfig, OlderConnections};
pub use connections::Connection;
pub use counters::Counters;
pub use error::GateError;
pub use exempt::Exemptions;
pub use listen::Listeners;
pub use portcullis_abi::{Counter, Tally};
pub use resolve::{Lookup, Place, Resolver, SystemLookup, Unresolved, keep_in_sync};
pub use status::{Count, ProgramStatus, State, Status};
pub use targets::{Changes, TargetName, TargetTable, Targets};
