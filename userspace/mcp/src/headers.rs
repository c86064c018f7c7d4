//! The headers that repeat what the body says (2026-07-28).

use http::HeaderMap;

use crate::{Definition, Fault, Message};

/// The two shapes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// Up to 2025-11-25: `initialize`, sessions, streams by GET.
    Legacy,
    /// From 2026-07-28: each request stands alone.
    Modern,
}

/// Checks the headers against the body.
///
/// # Errors
/// Which header is missing, repeated, or says something else than the body.
pub fn check_headers(
    _message: &Message,
    _headers: &HeaderMap,
    _tool: Option<&Definition>,
) -> Result<Era, Fault> {
    unimplemented!()
}
