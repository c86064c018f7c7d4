//! Whether a web page may speak to the server.

/// Whether a request with this `Origin` may pass.
#[must_use]
pub fn origin_allowed(_origin: &str, _own: &[String], _listed: &[String]) -> bool {
    unimplemented!()
}
