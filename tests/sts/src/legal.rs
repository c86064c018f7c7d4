//! Which names, tags and policies the API reference allows.

use crate::Refusal;

/// Whether all characters are of `[\w+=,.@-]` or among `more`.
fn word(text: &str, more: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) || more.contains(c))
}

/// A `RoleSessionName` or `SourceIdentity`: `[\w+=,.@-]{2,64}`.
///
/// # Errors
/// In the service's words.
pub(crate) fn name(field: &str, value: &str) -> Result<(), Refusal> {
    if (2..=64).contains(&value.len()) && word(value, "") && !value.to_ascii_lowercase().starts_with("aws:") {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: Member must satisfy \
         regular expression pattern: [\\w+=,.@-]{{2,64}}"
    )))
}

/// An `ExternalId`: `[\w+=,.@:\/-]{2,1224}`.
///
/// # Errors
/// In the service's words.
pub(crate) fn external_id(value: &str) -> Result<(), Refusal> {
    if (2..=1224).contains(&value.len()) && word(value, ":/") {
        return Ok(());
    }
    Err(Refusal::invalid("1 validation error detected: Value at 'externalId' is not [\\w+=,.@:\\/-]{2,1224}"))
}

/// A session tag: key of 1 to 128, value of at most 256, both of `[\p{L}\p{Z}\p{N}_.:/=+\-@]`.
///
/// # Errors
/// In the service's words.
pub(crate) fn tag(key: &str, value: &str) -> Result<(), Refusal> {
    // char::is_alphanumeric is \p{Alphabetic} and \p{N}; the marks that it adds to \p{L} are not told apart here.
    let legal = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
    if (1..=128).contains(&key.chars().count())
        && value.chars().count() <= 256
        && key.chars().chain(value.chars()).all(legal)
        && !key.to_ascii_lowercase().starts_with("aws:")
    {
        return Ok(());
    }
    Err(Refusal::invalid(format!("1 validation error detected: tag {key:?}={value:?} is not allowed")))
}

/// A session policy: a JSON object of at most 2048 characters with a version and statements.
///
/// # Errors
/// In the service's words.
pub(crate) fn policy(text: &str) -> Result<(), Refusal> {
    let malformed = |why: String| Refusal::new(http::StatusCode::BAD_REQUEST, "MalformedPolicyDocument", why);
    if text.chars().count() > 2048 {
        return Err(malformed("the policy is longer than 2048 characters".into()));
    }
    let policy: serde_json::Value =
        serde_json::from_str(text).map_err(|error| malformed(format!("Syntax errors in policy: {error}")))?;
    if policy.get("Statement").is_none() || policy.get("Version").is_none() {
        return Err(malformed("a policy has Version and Statement".into()));
    }
    Ok(())
}
