//! What a client that could not be identified is told, so that it comes back with a token: RFC 6750, section 3.

/// That a token, or another one, would help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// The error code. Whoever presented no token did nothing wrong and is told none: RFC 6750, section 3.1.
    pub error: Option<&'static str>,
}

impl Challenge {
    /// The client presented none.
    pub const NO_TOKEN: Self = Self { error: None };
    /// The one that it presented is not believed, or is for somebody else.
    pub const INVALID_TOKEN: Self = Self { error: Some("invalid_token") };
}
