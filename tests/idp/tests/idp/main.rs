//! The provider over plain HTTP, as clients and browsers talk to it, and as an independent library judges it.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod browser;
mod device;
mod judge;
mod pages;
mod process;
mod provider;
mod refresh;
mod rig;
