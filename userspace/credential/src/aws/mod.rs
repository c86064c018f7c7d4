//! EKS: tokens from role sessions that bear the engineer's name, and where a cluster is.

mod assume;
mod config;
mod discover;
mod eks;
mod names;
mod region;
mod session;
mod token;

pub use config::{EksConfig, EksEndpoints};
pub use discover::{DiscoveredCluster, Discovery, discover, discover_or_remembered};
pub(crate) use eks::EksSource;
pub use names::session_name;
pub use region::check_role_arn;

#[cfg(test)]
mod tests;
