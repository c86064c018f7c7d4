//! OpenID Connect: what is configured of an issuer, its keys, and what makes a token of its believable.
//!
//! Of the `openidconnect` crate the keys and signatures are used (`CoreJsonWebKey`): parsing key sets, matching keys
//! to algorithms, checking signatures. The claims are checked here instead of by its ID token type, because each
//! refusal must have its own words, the clock is injected, and that type refuses whole tokens over the form of
//! claims that nobody asked for (`updated_at`, `address`), which real providers write in their own ways.

mod audience;
mod claims;
mod config;
mod jwt;
mod keys;
mod refusal;
mod token;

pub(crate) use audience::problem_of_resource;
pub(crate) use claims::{Person, check_label, is_system};
pub(crate) use config::Issuer;
pub use config::{AccountRule, Algorithm, BindTo, KeysConfig, OidcConfig};
pub(crate) use jwt::{Purpose, Unverified, Verified, is_jwt_shaped, verify};
pub(crate) use keys::{Endpoints, Provider};
pub use refusal::{KeysError, TokenRefusal};
pub(crate) use token::{Grant, TokenError, Tokens, post, read, request_tokens, revoke};
