//! The stage on which end-to-end tests and the demo play: a cgroup of its own, a simulated cluster, the real gate in the
//! kernel, the real daemon, and people who run real kubectl in it. Nothing is attached outside the stage's own cgroup,
//! so that two stages do not meet and a failing test cannot cut a machine off.

mod cgroup;
mod cluster;
mod daemon;
mod kubectl;
mod mcp;
mod oidc;
mod people;
mod postgres;
mod process;
mod scratch;
mod stage;
mod sts;
mod talk;
pub mod tools;

pub use cgroup::Cgroup;
pub use cluster::Cluster;
pub use daemon::Daemon;
pub use kubectl::{Kubectl, installed};
pub use mcp::{McpEverything, McpServer, Seat};
pub use oidc::{OidcProvider, Outage, Tokens};
pub use people::{ALICE, BOB, CAROL, MALLORY, Person};
pub use postgres::Postgres;
pub use process::{Output, Running, output, wait_for};
pub use stage::{McpTarget, MoreTarget, Stage, StageOptions, Upstream};
pub use sts::{Fault, Sts, StsUser};
