//! Short-lived service-account tokens, which the cluster itself gives (TokenRequest, `authentication.k8s.io/v1`).

mod ask;
mod config;
mod source;

pub use ask::TargetPlace;
pub use config::{ServiceAccount, TokenRequestConfig, Using};
pub(crate) use source::AccountSource;

#[cfg(test)]
mod tests;
