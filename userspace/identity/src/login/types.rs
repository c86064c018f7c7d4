//! What a login looks like from outside: to the person who logs in, and to the control socket.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Subject;

/// A device login that has begun: what to show the person, and how to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceLogin {
    /// What [`Logins::poll`](crate::Logins::poll) takes.
    pub id: String,
    /// The configured name of the issuer.
    pub issuer: String,
    /// Where the person enters the code.
    pub verification_uri: String,
    /// The same with the code in it, where the provider offers that.
    pub verification_uri_complete: Option<String>,
    /// What the person enters there.
    pub user_code: String,
    /// How many seconds to leave between polls.
    pub interval: u64,
    /// When the code runs out.
    pub expires_at: Timestamp,
}

/// A browser login that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrowserLogin {
    /// What [`Logins::finish_browser`](crate::Logins::finish_browser) takes.
    pub id: String,
    /// The configured name of the issuer.
    pub issuer: String,
    /// What to open in the browser.
    pub authorization_uri: String,
    /// Where the browser comes back to, with `code` and `state` in its query.
    pub redirect_uri: String,
    /// When it is too late.
    pub expires_at: Timestamp,
}

/// What became of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// The person has not confirmed yet: poll again after this long.
    Pending {
        /// How long.
        after: Duration,
    },
    /// They have.
    Done(LoggedIn),
}

/// A login that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedIn {
    /// The configured name of the issuer.
    pub issuer: String,
    /// Who they are.
    pub subject: Subject,
    /// When it ends, unless it is renewed before.
    pub until: Timestamp,
    /// Whether it is renewed: the provider gave a refresh token.
    pub renewed: bool,
}

/// A login that was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedOut {
    /// The configured name of the issuer.
    pub issuer: String,
    /// Who they were.
    pub subject: Subject,
    /// Why its tokens are not revoked at the provider, where they are not. It is ended here all the same.
    pub not_revoked: Option<String>,
}
