//! Why a login did not come about.

use crate::Uid;
use crate::oidc::{KeysError, TokenError, TokenRefusal};

/// Why `portcullis login` or `logout` failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// There is nobody to log in with.
    #[error("no OpenID Connect provider is configured (identity.oidc)")]
    NotConfigured,
    /// No issuer is called that.
    #[error("no issuer is called {0:?} (identity.oidc[].name)")]
    UnknownIssuer(String),
    /// The process belongs to no audit session, and logins are bound to one.
    #[error(
        "this process of uid {0} belongs to no login session of the kernel's, which logins are bound to: log in by ssh \
         or at a console, or have identity.oidc[].bindTo set to uid"
    )]
    NoSession(Uid),
    /// The provider has no endpoint for this flow.
    #[error("{issuer:?} offers no {what}")]
    NotOffered {
        /// The issuer's name.
        issuer: String,
        /// Which flow.
        what: &'static str,
    },
    /// The provider could not be asked where its endpoints are.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The provider refused, or could not be asked.
    #[error("{0}")]
    Provider(String),
    /// The provider answered with something that cannot be shown or used.
    #[error("the provider's answer holds {0}")]
    Answer(&'static str),
    /// RFC 8628, section 3.5: `access_denied`.
    #[error("the login was declined at the provider")]
    Declined,
    /// RFC 8628, section 3.5: `expired_token`; or our own bound.
    #[error("the login took too long: begin another")]
    Expired,
    /// Too many logins have begun and not ended.
    #[error("too many logins are under way; try again in some minutes")]
    TooMany,
    /// There is no such login under way.
    #[error("no such login is under way: it was never begun, or it took too long")]
    Unknown,
    /// The login has been completed before.
    #[error("this login has been completed before, and serves once")]
    Used,
    /// The login was begun by another uid or in another session.
    #[error("this login was begun by another account or in another session")]
    NotYours,
    /// The login is being completed by another call.
    #[error("this login is being completed already")]
    Busy,
    /// The login was begun for another flow.
    #[error("this login was begun for another flow")]
    OtherFlow,
    /// The `state` that came back is not the one that was sent.
    #[error("the browser came back from another login (its state is not ours): begin another")]
    State,
    /// The provider gave no ID token.
    #[error("the provider gave no ID token")]
    NoIdToken,
    /// The ID token is not believed.
    #[error("the ID token is refused: {0}")]
    Token(#[from] TokenRefusal),
}

impl From<TokenError> for LoginError {
    fn from(error: TokenError) -> Self {
        match &error {
            TokenError::Refused { code, .. } if code == "access_denied" => LoginError::Declined,
            TokenError::Refused { code, .. } if code == "expired_token" => LoginError::Expired,
            _ => LoginError::Provider(error.to_string()),
        }
    }
}
