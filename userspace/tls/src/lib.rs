//! TLS toward the client: a CA that can vouch for nothing but the configured targets, leaves for their names, and the
//! installing of that CA in kubeconfigs. `docs/trust.md` tells operators how the pieces fit.

mod ca;
mod constraints;
mod error;
mod file;
mod leaf;
mod name;
pub mod trust;

pub use ca::{CA_SUBJECT_PREFIX, InterceptionCa, Origin};
pub use constraints::Constraints;
pub use error::TlsError;
pub use leaf::{Clock, LeafIssuer};
pub use name::{Endpoint, Name, TargetNames};
