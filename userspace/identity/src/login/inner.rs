//! What all logins share, and the one way from a provider's tokens to a login.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::live::{Live, Login, Renewal};
use super::pending::{Pending, Taken, Waiting};
use super::{LoggedIn, LoginError};
use crate::oidc::{AccountRule, BindTo, Issuer, Purpose, Tokens, Unverified, Verified, revoke, verify};
use crate::people::{People, same_person, told_apart};
use crate::secret::Secret;
use crate::{Clock, IdentityError, Method, Process, Quota, Subject, Uid, UnixSource};

/// Where a login belongs. `session` is `None` where it is bound to the uid alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Seat {
    pub(super) uid: Uid,
    pub(super) session: Option<u32>,
}

/// What a login says of a caller.
pub(crate) struct Found {
    pub(crate) subject: Arc<Subject>,
    pub(crate) until: Timestamp,
    pub(crate) ended: CancellationToken,
}

pub(crate) struct Inner {
    pub(super) issuers: Vec<Arc<Issuer>>,
    pub(super) unix: Arc<UnixSource>,
    pub(super) people: Arc<People>,
    pub(super) clock: Clock,
    pub(super) waiting: Waiting,
    pub(super) live: Mutex<Live>,
    pub(super) generation: AtomicU64,
    pub(super) beginning: Arc<Quota>,
}

impl Inner {
    pub(super) fn issuer(&self, name: Option<&str>) -> Result<&Arc<Issuer>, LoginError> {
        match name {
            None => self.issuers.first().ok_or(LoginError::NotConfigured),
            Some(name) => self
                .issuers
                .iter()
                .find(|issuer| issuer.name == name)
                .ok_or_else(|| LoginError::UnknownIssuer(name.to_owned())),
        }
    }

    pub(super) fn seat(&self, issuer: &Issuer, uid: Uid, process: &Process) -> Result<Seat, IdentityError> {
        let uid = self.unix.person(uid, process)?;
        let session = match issuer.bind_to {
            BindTo::Uid => None,
            // No session is not a session that all processes without one could share.
            BindTo::Session => Some(process.session_id.ok_or(LoginError::NoSession(uid))?),
        };
        Ok(Seat { uid, session })
    }

    /// The seats whose logins are this process's: its session's before its uid's.
    pub(super) fn seats(&self, uid: Uid, process: &Process) -> Result<Vec<Seat>, IdentityError> {
        let uid = self.unix.person(uid, process)?;
        let session = process.session_id.map(|id| Seat { uid, session: Some(id) });
        Ok(session.into_iter().chain([Seat { uid, session: None }]).collect())
    }

    /// From tokens to a login at its seat. Whatever comes of it, what was under way has served.
    pub(super) async fn complete(
        &self,
        mut taken: Taken<'_>,
        nonce: Option<Secret>,
        mut tokens: Tokens,
    ) -> Result<LoggedIn, IdentityError> {
        let Pending { seat, issuer, .. } = taken.pending()?;
        let (seat, issuer) = (*seat, Arc::clone(issuer));
        let id_token = tokens.id_token.take();
        let admitted = async {
            let id_token = id_token.ok_or(LoginError::NoIdToken)?;
            let token = Unverified::parse(id_token.reveal()).map_err(LoginError::Token)?;
            let purpose = Purpose::Login { nonce: nonce.as_ref() };
            let verified = verify(&token, &issuer, purpose).await.map_err(LoginError::Token)?;
            let subject = self.admit(&issuer, &verified, seat.uid).await?;
            Ok::<_, IdentityError>((subject, verified))
        };
        let admitted = admitted.await;
        let served = taken.used().map_err(IdentityError::Login);
        let (subject, verified) = match served.and(admitted) {
            Ok(admitted) => admitted,
            Err(error) => {
                // Nobody may use them, so nobody shall be able to.
                let _ = revoke_tokens(&issuer, tokens.refresh_token, tokens.access_token).await;
                return Err(error);
            }
        };
        tracing::info!(%subject, issuer = %issuer.name, uid = %seat.uid, "logged in");
        let mut live = self.live();
        live.insert(seat, issuer, (subject, &verified), nonce, tokens, (self.clock)());
        self.changed();
        live.get(&[seat]).map(Login::shown).ok_or(LoginError::Unknown.into())
    }

    /// Whether a token's person may use the account of `uid`, and who they are.
    pub(super) async fn admit(
        &self,
        issuer: &Issuer,
        verified: &Verified,
        uid: Uid,
    ) -> Result<Subject, IdentityError> {
        let person = &verified.person;
        let account = Subject {
            issuer: issuer.issuer.clone(),
            id: person.sub.clone(),
            name: person.name.clone(),
            groups: person.groups.clone(),
            method: Method::Oidc,
            account: None,
        };
        let subject = self.people.person(account);
        if issuer.account == AccountRule::Match {
            let local = self.people.person(self.unix.look_up(uid).await?);
            if !same_person(&local, &subject) {
                let (local, presented) = told_apart(&local, &subject);
                return Err(IdentityError::OtherPerson { uid, local, presented });
            }
        }
        Ok(subject)
    }

    /// Ends what has run out; what is to be renewed.
    pub(super) fn turn(&self) -> Vec<Renewal> {
        let now = (self.clock)();
        let mut live = self.live();
        if live.expire(now) {
            self.changed();
        }
        live.due(now)
    }

    /// To be called with `live` held, after what changed.
    pub(super) fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Login {
    pub(super) fn shown(&self) -> LoggedIn {
        LoggedIn {
            issuer: self.issuer.name.clone(),
            subject: (*self.subject).clone(),
            until: self.until,
            renewed: self.refresh_token.is_some(),
        }
    }
}

/// Has the provider forget a login's tokens; the refresh token takes the others with it (RFC 7009, section 2.1).
pub(super) async fn revoke_tokens(
    issuer: &Issuer,
    refresh_token: Option<Secret>,
    access_token: Option<Secret>,
) -> Result<(), String> {
    let refresh = refresh_token.map(|token| (token, "refresh_token"));
    let Some((token, hint)) = refresh.or(access_token.map(|token| (token, "access_token"))) else {
        return Ok(());
    };
    let endpoints = issuer.provider.endpoints().await.map_err(|error| error.to_string())?;
    let url = endpoints.revocation.as_ref().ok_or("the provider has no revocation endpoint")?;
    revoke(issuer, &endpoints, url, &token, hint).await.map_err(|error| error.to_string())
}
