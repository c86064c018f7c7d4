//! AWS: role sessions that bear the engineer's name, the EKS tokens and signatures made with them, and where a cluster
//! is.

mod assume;
mod config;
mod discover;
mod eks;
mod key;
mod names;
mod region;
mod session;
mod signature;
mod sigv4;
mod terms;
mod token;

pub use config::{EksConfig, EksEndpoints};
pub use discover::{DiscoveredCluster, Discovery, discover, discover_or_remembered};
pub(crate) use eks::EksSource;
pub use names::session_name;
pub use region::check_role_arn;
pub(crate) use sigv4::SigV4Source;
pub use sigv4::{AwsSigner, SigV4Config, SigV4Endpoints};

#[cfg(test)]
mod tests;
