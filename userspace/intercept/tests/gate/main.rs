//! The gate, end to end: the real programs in the real kernel, in a cgroup and a network namespace of each
//! test's own, with unprivileged processes that try to get past it.
//!
//! Needs root. A test that cannot run fails: skipping would pass for closed.

mod cost;
mod engineer;
mod evade;
mod intercepted;
mod lifecycle;
mod world;
