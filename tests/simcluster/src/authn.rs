//! Who makes a request: the ways to authenticate, asked in order.

use http::HeaderMap;

use crate::accounts::ServiceAccounts;
use crate::auth::{Tokens, User, bearer};
use crate::eks::Eks;
use crate::status::Status;

/// All that the server takes beside client certificates.
pub(crate) struct Authenticator {
    /// Tokens that were configured.
    pub tokens: Tokens,
    /// Tokens that this server issued for service accounts.
    pub accounts: ServiceAccounts,
    /// Tokens of EKS, where the cluster is one.
    pub eks: Option<Eks>,
}

impl Authenticator {
    /// Who makes a request: by certificate, `Authorization`, or the token in a WebSocket sub-protocol.
    ///
    /// # Errors
    /// 401 when none of them names a known user.
    pub(crate) async fn request(
        &self,
        headers: &HeaderMap,
        certificate: Option<&User>,
    ) -> Result<User, Status> {
        if let Some(user) = certificate {
            return Ok(user.clone());
        }
        let secret = bearer(headers).ok_or_else(Status::unauthorized)?;
        self.token(&secret).await.ok_or_else(Status::unauthorized)
    }

    /// Whom a bearer token stands for.
    pub(crate) async fn token(&self, secret: &str) -> Option<User> {
        if let Some(user) = self.tokens.user(secret).or_else(|| self.accounts.user(secret)) {
            return Some(user);
        }
        self.eks.as_ref()?.user(secret).await
    }
}
