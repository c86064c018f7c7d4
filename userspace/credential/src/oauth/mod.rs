//! Access tokens of an OAuth 2.0 authorization server, which the gate gets as a client of its own (RFC 6749 section 4.4).
//!
//! By hand, and not by the `oauth2` crate: that keeps secrets and tokens in strings that nobody wipes, and proves a
//! client by its secret alone.

mod ask;
mod assertion;
mod client;
mod config;
mod source;

pub use config::ClientCredentialsConfig;
pub(crate) use source::ClientCredentialsSource;

#[cfg(test)]
mod tests;
