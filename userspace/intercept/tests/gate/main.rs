//! The gate, end to end: the real programs in the real kernel, in a cgroup and a network namespace of each
//! test's own, with unprivileged processes that try to get past it.
//!
//! Needs root. A test that cannot run fails: skipping would pass for closed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy.toml allows them in tests, but not in what tests call"
)]

mod cost;
mod engineer;
mod evade;
mod intercepted;
mod lifecycle;
mod world;
