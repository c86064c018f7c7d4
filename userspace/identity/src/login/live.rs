//! Logins that people have: whose seat they are bound to, how they are renewed, and how they end.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Inner, LoginError, Seat};
use crate::oidc::{
    Grant, Issuer, Purpose, TokenError, TokenRefusal, Tokens, Unverified, Verified, request_tokens, verify,
};
use crate::secret::Secret;
use crate::{IdentityError, Subject};

/// A login is renewed when a fifth of its time is left, but within these bounds before its end.
const LEAST_MARGIN: SignedDuration = SignedDuration::from_secs(30);
const MOST_MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// A login that nobody has used for this long is not renewed any more: its session may be long over, and nothing tells.
const IDLE: SignedDuration = SignedDuration::from_hours(12);
/// How long after a failure to renew a login it is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(30);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Live {
    logins: HashMap<Seat, Login>,
    serial: u64,
}

/// One login.
#[derive(Debug)]
pub(super) struct Login {
    /// Tells a login from its successor at the same seat.
    serial: u64,
    pub(super) issuer: Arc<Issuer>,
    /// As `people` names them.
    pub(super) subject: Arc<Subject>,
    sub: String,
    nonce: Option<Secret>,
    pub(super) until: Timestamp,
    renew_at: Timestamp,
    renewing: bool,
    used: Timestamp,
    pub(super) refresh_token: Option<Secret>,
    pub(super) access_token: Option<Secret>,
    pub(super) ended: CancellationToken,
}

/// What a renewal needs, taken out of the lock.
pub(super) struct Renewal {
    seat: Seat,
    serial: u64,
    issuer: Arc<Issuer>,
    sub: String,
    nonce: Option<Secret>,
    token: Secret,
}

/// Why a login was not renewed.
enum NotRenewed {
    /// It may be later.
    Later(String),
    /// It never will, and runs out.
    Never(String),
    /// It is somebody else's now, and ends here.
    SomebodyElse(String),
}

impl Live {
    pub(super) fn get(&self, seats: &[Seat]) -> Option<&Login> {
        seats.iter().find_map(|seat| self.logins.get(seat))
    }

    /// As [`Live::get`], for somebody who comes with it.
    pub(super) fn touch(&mut self, seats: &[Seat], now: Timestamp) -> Option<&Login> {
        let seat = seats.iter().find(|seat| self.logins.contains_key(seat))?;
        let login = self.logins.get_mut(seat)?;
        login.used = now;
        Some(login)
    }

    /// Whether the login of one of these seats wants attention: it has run out, or is to be renewed.
    pub(super) fn is_due(&self, seats: &[Seat], now: Timestamp) -> bool {
        let due = |login: &Login| now >= login.until || login.is_due(now);
        seats.iter().filter_map(|seat| self.logins.get(seat)).any(due)
    }

    /// Seats a login. Streams of the same person's login before it go on; those of another's end.
    pub(super) fn insert(
        &mut self,
        seat: Seat,
        issuer: Arc<Issuer>,
        (subject, verified): (Subject, &Verified),
        nonce: Option<Secret>,
        tokens: Tokens,
        now: Timestamp,
    ) {
        let before = self.logins.remove(&seat);
        let ended = match before {
            Some(before) if before.subject.issuer == subject.issuer && before.subject.id == subject.id => {
                before.ended
            }
            Some(before) => {
                before.ended.cancel();
                CancellationToken::new()
            }
            None => CancellationToken::new(),
        };
        self.serial += 1;
        let renew_at = renew_at(verified.until, issuer.clock_skew, now);
        let login = Login {
            serial: self.serial,
            issuer,
            subject: Arc::new(subject),
            sub: verified.person.sub.clone(),
            nonce,
            until: verified.until,
            renew_at,
            renewing: false,
            used: now,
            refresh_token: tokens.refresh_token,
            access_token: tokens.access_token,
            ended,
        };
        self.logins.insert(seat, login);
    }

    /// Ends those of some seats.
    pub(super) fn remove(&mut self, seats: &[Seat]) -> Vec<Login> {
        let removed: Vec<Login> = seats.iter().filter_map(|seat| self.logins.remove(seat)).collect();
        removed.iter().for_each(|login| login.ended.cancel());
        removed
    }

    /// Ends those whose time is over; whether there were any.
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.logins.len();
        self.logins.retain(|_, login| {
            let lives = now < login.until;
            if !lives {
                tracing::info!(subject = %login.subject, issuer = %login.issuer.name, "a login has run out");
                login.ended.cancel();
            }
            lives
        });
        self.logins.len() != before
    }

    /// Those that are to be renewed now. Each is given out once until it is settled.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Renewal> {
        self.logins.iter_mut().filter_map(|(seat, login)| login.due(*seat, now)).collect()
    }

    fn current(&mut self, renewal: &Renewal) -> Option<&mut Login> {
        self.logins.get_mut(&renewal.seat).filter(|login| login.serial == renewal.serial)
    }
}

impl Login {
    fn is_due(&self, now: Timestamp) -> bool {
        self.refresh_token.is_some() && !self.renewing && now >= self.renew_at
    }

    fn due(&mut self, seat: Seat, now: Timestamp) -> Option<Renewal> {
        if !self.is_due(now) || now.duration_since(self.used) > IDLE {
            return None;
        }
        let token = self.refresh_token.clone()?;
        self.renewing = true;
        Some(Renewal {
            seat,
            serial: self.serial,
            issuer: Arc::clone(&self.issuer),
            sub: self.sub.clone(),
            nonce: self.nonce.clone(),
            token,
        })
    }
}

impl Inner {
    /// Renews one login and settles what became of it.
    pub(super) async fn renew(&self, renewal: Renewal) {
        let outcome = self.renewed(&renewal).await;
        let now = (self.clock)();
        let mut live = self.live();
        let Some(login) = live.current(&renewal) else {
            return; // it was replaced or ended meanwhile
        };
        login.renewing = false;
        let (subject, issuer) = (Arc::clone(&login.subject), Arc::clone(&login.issuer));
        match outcome {
            Ok((renewed, until)) => {
                login.renew_at = renew_at(until, issuer.clock_skew, now);
                login.until = until;
                login.subject = Arc::new(renewed);
                self.changed();
            }
            Err(NotRenewed::Later(why)) => {
                login.renew_at = now.checked_add(RETRY).unwrap_or(Timestamp::MAX);
                tracing::warn!(%subject, issuer = %issuer.name, why, "a login could not be renewed, and is tried again");
            }
            Err(NotRenewed::Never(why)) => {
                login.refresh_token = None;
                tracing::warn!(%subject, issuer = %issuer.name, why, "a login is not renewed, and will run out");
            }
            Err(NotRenewed::SomebodyElse(why)) => {
                live.remove(&[renewal.seat]);
                self.changed();
                tracing::error!(%subject, issuer = %issuer.name, why, "a login was ended");
            }
        }
    }

    async fn renewed(&self, renewal: &Renewal) -> Result<(Subject, Timestamp), NotRenewed> {
        let issuer = &renewal.issuer;
        let grant = Grant::Refresh { token: &renewal.token };
        let tokens = request_tokens(issuer, grant).await.map_err(classify)?;
        let id_token = self.keep_rotated(renewal, tokens).await?;
        let id_token =
            id_token.ok_or_else(|| NotRenewed::Never("the provider gave no new ID token".to_owned()))?;
        let purpose = Purpose::Refresh { nonce: renewal.nonce.as_ref() };
        let refused = |refusal: TokenRefusal| match refusal {
            TokenRefusal::Keys(_) | TokenRefusal::UnknownKeyTooSoon { .. } => {
                NotRenewed::Later(refusal.to_string())
            }
            _ => NotRenewed::Never(refusal.to_string()),
        };
        let token = Unverified::parse(id_token.reveal()).map_err(refused)?;
        let verified = verify(&token, issuer, purpose).await.map_err(refused)?;
        if verified.person.sub != renewal.sub {
            // OpenID Connect Core, section 12.2.
            return Err(NotRenewed::SomebodyElse("its new ID token has another sub".to_owned()));
        }
        match self.admit(issuer, &verified, renewal.seat.uid).await {
            Ok(subject) => Ok((subject, verified.until)),
            Err(error @ IdentityError::OtherPerson { .. }) => {
                Err(NotRenewed::SomebodyElse(error.to_string()))
            }
            Err(error) => Err(NotRenewed::Later(error.to_string())),
        }
    }

    /// Providers that rotate refresh tokens take each once: the new one is kept whatever becomes of the ID token.
    async fn keep_rotated(
        &self,
        renewal: &Renewal,
        mut tokens: Tokens,
    ) -> Result<Option<Secret>, NotRenewed> {
        let id_token = tokens.id_token.take();
        let mut orphan = None;
        match self.live().current(renewal) {
            Some(login) => {
                if tokens.refresh_token.is_some() {
                    login.refresh_token = tokens.refresh_token;
                }
                if tokens.access_token.is_some() {
                    login.access_token = tokens.access_token;
                }
            }
            None => orphan = Some(tokens),
        }
        if let Some(tokens) = orphan {
            // The login ended while it was renewed; what it would have been renewed with must not outlive it.
            let _ = super::revoke_tokens(&renewal.issuer, tokens.refresh_token, tokens.access_token).await;
            return Err(NotRenewed::Never("it has ended".to_owned()));
        }
        Ok(id_token)
    }
}

fn classify(error: TokenError) -> NotRenewed {
    match &error {
        TokenError::Web(_) | TokenError::Keys(_) | TokenError::NoEndpoint => {
            NotRenewed::Later(error.to_string())
        }
        TokenError::Refused { code, .. }
            if matches!(code.as_str(), "temporarily_unavailable" | "server_error" | "slow_down") =>
        {
            NotRenewed::Later(error.to_string())
        }
        TokenError::Refused { .. } => NotRenewed::Never(LoginError::from(error).to_string()),
    }
}

fn renew_at(until: Timestamp, skew: SignedDuration, now: Timestamp) -> Timestamp {
    let exp = until.checked_sub(skew).unwrap_or(Timestamp::MIN);
    let margin = (exp.duration_since(now) / 5).clamp(LEAST_MARGIN, MOST_MARGIN);
    exp.checked_sub(margin).unwrap_or(Timestamp::MIN)
}
