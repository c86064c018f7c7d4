//! `portcullis login`: people prove with their identity provider who they are, and the proof is bound to the uid and
//! login session that the kernel attests.
//!
//! Two flows. With a **device code** (RFC 8628) the person confirms a code in any browser; with a **browser** at hand
//! they come back to a loopback port with an authorization code (RFC 6749, 7636, 8252), of which everything that proves
//! that it is this login's (PKCE verifier, state, nonce) stays here. Either way the tokens come to this process and stay
//! in its memory: the engineer's side sees none.
//!
//! A login belongs to a seat: the person's uid and, unless `bindTo: uid`, the kernel's audit session. Under
//! `account: match` it is taken only for the person whose account that uid is. That is what makes a device code
//! worthless that somebody else was talked into confirming.

mod error;
mod inner;
mod live;
mod pending;
mod types;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use self::inner::{Found, Inner, Seat, revoke_tokens};
use self::live::Login;
use self::pending::{Flow, Pending, Waiting};
use crate::oidc::{Grant, Issuer, TokenError, Verified, post, read, request_tokens};
use crate::people::People;
use crate::secret::Secret;
use crate::web::secure_url;
use crate::{Clock, IdentityError, Process, Quota, Subject, Uid, UnixSource};

pub use self::error::LoginError;
pub use self::types::{BrowserLogin, DeviceLogin, LoggedIn, LoggedOut, Polled};

/// How long a browser may take, and a device code may be good, whatever the provider says.
const MOST_PATIENCE: SignedDuration = SignedDuration::from_mins(30);
const BROWSER_PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// How many logins one uid may be beginning at the same moment: each asks the provider.
const BEGINNING: usize = 4;

/// The logins of everybody on this host.
#[derive(Clone)]
pub struct Logins {
    inner: Arc<Inner>,
}

/// RFC 8628, section 3.2. Google calls the first URI `verification_url`.
#[derive(Deserialize)]
struct DeviceAnswer {
    device_code: Secret,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u32,
    interval: Option<u32>,
}

impl Logins {
    pub(crate) fn new(
        issuers: Vec<Arc<Issuer>>,
        unix: Arc<UnixSource>,
        people: Arc<People>,
        clock: Clock,
    ) -> Self {
        let inner = Inner {
            issuers,
            unix,
            people,
            clock,
            waiting: Waiting::default(),
            live: Mutex::default(),
            generation: AtomicU64::new(0),
            beginning: Quota::new(BEGINNING),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The names of the issuers, the default one first.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.inner.issuers.iter().map(|issuer| issuer.name.as_str())
    }

    /// Begins a login with a device code, for a process of `uid` as `SO_PEERCRED` and `/proc` show it.
    ///
    /// # Errors
    /// [`IdentityError::Login`], and [`IdentityError::LoginuidMismatch`] where it is not clear whose process it is.
    pub async fn begin_device(
        &self,
        uid: Uid,
        process: &Process,
        issuer: Option<&str>,
    ) -> Result<DeviceLogin, IdentityError> {
        let issuer = self.inner.issuer(issuer)?;
        let seat = self.inner.seat(issuer, uid, process)?;
        let _share = self.inner.beginning.take(seat.uid).ok_or(LoginError::TooMany)?;
        let endpoints = issuer.provider.endpoints().await.map_err(LoginError::Keys)?;
        let offered = endpoints.device.as_ref().filter(|_| endpoints.token.is_some());
        let url = offered.ok_or_else(|| not_offered(issuer, "login with a device code"))?;
        let form = vec![("scope", issuer.scopes.as_str())];
        let answer =
            post(issuer, &endpoints, url, form).await.map_err(|e| LoginError::Provider(e.to_string()))?;
        let answer: DeviceAnswer = read(&answer, "a device code").map_err(LoginError::from)?;

        // What is shown in a terminal must not be able to write to it.
        let uri = |text: &str| match secure_url(text) {
            Ok(url) => Ok(String::from(url)),
            Err(_) => Err(LoginError::Answer("a verification URI that is no web address")),
        };
        if answer.user_code.is_empty() || !answer.user_code.chars().all(|c| c.is_ascii_graphic() || c == ' ')
        {
            return Err(LoginError::Answer("a user code that cannot be shown").into());
        }
        let now = (self.inner.clock)();
        let interval = answer.interval.unwrap_or(5).clamp(1, 60);
        let patience = SignedDuration::from_secs(answer.expires_in.into()).min(MOST_PATIENCE);
        let expires = now.checked_add(patience).unwrap_or(now);
        let flow = Flow::Device {
            code: answer.device_code,
            interval: SignedDuration::from_secs(interval.into()),
            next_poll: now,
        };
        let (verification_uri, verification_uri_complete) = (
            uri(&answer.verification_uri)?,
            answer.verification_uri_complete.as_deref().map(uri).transpose()?,
        );
        let pending = Pending { seat, issuer: Arc::clone(issuer), expires, flow };
        Ok(DeviceLogin {
            id: self.inner.waiting.add(pending, now)?,
            issuer: issuer.name.clone(),
            verification_uri,
            verification_uri_complete,
            user_code: answer.user_code,
            interval: interval.into(),
            expires_at: expires,
        })
    }

    /// Asks the provider whether the person has confirmed a device login. Asked too early, it says so without asking.
    ///
    /// # Errors
    /// As [`Logins::begin_device`], and [`IdentityError::OtherPerson`] where whoever confirmed is not the person whose
    /// account this is.
    pub async fn poll(&self, uid: Uid, process: &Process, id: &str) -> Result<Polled, IdentityError> {
        let inner = &*self.inner;
        let now = (inner.clock)();
        let mut taken = inner.waiting.take(id, &inner.seats(uid, process)?, now)?;
        let pending = taken.pending()?;
        let issuer = Arc::clone(&pending.issuer);
        let Flow::Device { code, interval, next_poll } = &mut pending.flow else {
            return Err(LoginError::OtherFlow.into());
        };
        if let wait @ 1.. = next_poll.duration_since(now).as_millis() {
            let after = Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX));
            return Ok(Polled::Pending { after });
        }
        let tokens = request_tokens(&issuer, Grant::Device { code }).await;
        // RFC 8628, section 3.5; a provider that cannot be reached is asked less often, too.
        let slower = match &tokens {
            Ok(_) => None,
            Err(TokenError::Refused { code, .. }) if code == "authorization_pending" => Some(0),
            Err(TokenError::Refused { code, .. }) if code == "slow_down" => Some(5),
            Err(error @ (TokenError::Web(_) | TokenError::Keys(_))) => {
                tracing::warn!(issuer = %issuer.name, %error, "cannot ask whether a login was confirmed");
                Some(5)
            }
            Err(_) => None,
        };
        if let Some(slower) = slower {
            *interval += SignedDuration::from_secs(slower);
            *next_poll = now.checked_add(*interval).unwrap_or(Timestamp::MAX);
            return Ok(Polled::Pending { after: interval.unsigned_abs() });
        }
        match tokens {
            Ok(tokens) => inner.complete(taken, None, tokens).await.map(Polled::Done),
            Err(error) => {
                taken.give_up();
                Err(LoginError::from(error).into())
            }
        }
    }

    /// Polls until the person has confirmed, or it is too late.
    ///
    /// # Errors
    /// As [`Logins::poll`].
    pub async fn wait(&self, uid: Uid, process: &Process, id: &str) -> Result<LoggedIn, IdentityError> {
        loop {
            match self.poll(uid, process, id).await? {
                Polled::Done(login) => return Ok(login),
                Polled::Pending { after } => tokio::time::sleep(after).await,
            }
        }
    }

    /// Begins a login with a browser that comes back to `http://127.0.0.1:<redirect_port>/callback`.
    ///
    /// # Errors
    /// As [`Logins::begin_device`].
    pub async fn begin_browser(
        &self,
        uid: Uid,
        process: &Process,
        issuer: Option<&str>,
        redirect_port: u16,
    ) -> Result<BrowserLogin, IdentityError> {
        let issuer = self.inner.issuer(issuer)?;
        let seat = self.inner.seat(issuer, uid, process)?;
        let _share = self.inner.beginning.take(seat.uid).ok_or(LoginError::TooMany)?;
        let endpoints = issuer.provider.endpoints().await.map_err(LoginError::Keys)?;
        let offered = endpoints.authorization.clone().filter(|_| endpoints.token.is_some());
        let mut url = offered.ok_or_else(|| not_offered(issuer, "login with a browser"))?;
        let (verifier, state, nonce) = (Secret::random(), Secret::random(), Secret::random());
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.reveal()));
        let redirect_uri = format!("http://127.0.0.1:{redirect_port}/callback");
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &issuer.client_id)
            .append_pair("redirect_uri", &redirect_uri)
            .append_pair("scope", &issuer.scopes)
            .append_pair("state", state.reveal())
            .append_pair("nonce", nonce.reveal())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let now = (self.inner.clock)();
        let expires = now.checked_add(BROWSER_PATIENCE).unwrap_or(now);
        let flow = Flow::Browser { verifier, state, nonce, redirect_uri: redirect_uri.clone() };
        let pending = Pending { seat, issuer: Arc::clone(issuer), expires, flow };
        Ok(BrowserLogin {
            id: self.inner.waiting.add(pending, now)?,
            issuer: issuer.name.clone(),
            authorization_uri: url.into(),
            redirect_uri,
            expires_at: expires,
        })
    }

    /// Ends a browser login with what the browser came back with. Whatever comes of it, the login has served.
    ///
    /// # Errors
    /// As [`Logins::poll`], and [`LoginError::State`].
    pub async fn finish_browser(
        &self,
        uid: Uid,
        process: &Process,
        id: &str,
        code: &str,
        state: &str,
    ) -> Result<LoggedIn, IdentityError> {
        let inner = &*self.inner;
        let mut taken = inner.waiting.take(id, &inner.seats(uid, process)?, (inner.clock)())?;
        let pending = taken.pending()?;
        let Flow::Browser { verifier, state: ours, nonce, redirect_uri } = &pending.flow else {
            return Err(LoginError::OtherFlow.into());
        };
        if !ours.is(state) {
            taken.give_up();
            return Err(LoginError::State.into());
        }
        let (code, nonce) = (Secret::new(code.to_owned()), nonce.clone());
        let grant = Grant::Code { code: &code, redirect_uri, verifier };
        match request_tokens(&pending.issuer, grant).await {
            Ok(tokens) => inner.complete(taken, Some(nonce), tokens).await,
            Err(error) => {
                taken.give_up();
                Err(LoginError::from(error).into())
            }
        }
    }

    /// The login that counts for a process of `uid`, if there is one.
    ///
    /// # Errors
    /// [`IdentityError::LoginuidMismatch`].
    pub fn current(&self, uid: Uid, process: &Process) -> Result<Option<LoggedIn>, IdentityError> {
        let seats = self.inner.seats(uid, process)?;
        let now = (self.inner.clock)();
        Ok(self.inner.live().get(&seats).filter(|login| now < login.until).map(Login::shown))
    }

    /// Ends the logins of this process's seat, here and, as far as the provider has an endpoint for it, there.
    ///
    /// # Errors
    /// [`IdentityError::LoginuidMismatch`].
    pub async fn logout(&self, uid: Uid, process: &Process) -> Result<Vec<LoggedOut>, IdentityError> {
        let inner = &*self.inner;
        let seats = inner.seats(uid, process)?;
        inner.waiting.forget(&seats);
        let ended = {
            let mut live = inner.live();
            let ended = live.remove(&seats);
            if !ended.is_empty() {
                inner.changed();
            }
            ended
        };
        let mut logged_out = Vec::new();
        for login in ended {
            let revoked = revoke_tokens(&login.issuer, login.refresh_token, login.access_token).await;
            logged_out.push(LoggedOut {
                issuer: login.issuer.name.clone(),
                subject: (*login.subject).clone(),
                not_revoked: revoked.err(),
            });
        }
        Ok(logged_out)
    }

    /// Ends the logins whose time is over, renews those that are about to end and keeps the issuers' keys fresh. For the
    /// daemon to call each second or so, within its runtime; whatever takes time is spawned.
    pub fn tick(&self) {
        for renewal in self.inner.turn() {
            let inner = Arc::clone(&self.inner);
            tokio::spawn(async move { inner.renew(renewal).await });
        }
        for issuer in self.inner.issuers.iter().filter(|issuer| issuer.provider.is_aging()) {
            let issuer = Arc::clone(issuer);
            tokio::spawn(async move { issuer.provider.keep_fresh().await });
        }
    }

    /// As [`Logins::tick`], waiting for what it started.
    pub async fn tick_and_wait(&self) {
        for renewal in self.inner.turn() {
            self.inner.renew(renewal).await;
        }
    }

    /// Grows whenever somebody logs in or out, a login ends, or a renewal changed it.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.generation.load(Ordering::Acquire)
    }

    /// What a login says of a process; `None` where there is none. Never blocks.
    pub(crate) fn find(&self, uid: Uid, process: &Process) -> Result<Option<Found>, IdentityError> {
        let seats = self.inner.seats(uid, process)?;
        let now = (self.inner.clock)();
        if self.inner.live().is_due(&seats, now) {
            self.tick();
        }
        Ok(self.inner.live().touch(&seats, now).map(|login| Found {
            subject: Arc::clone(&login.subject),
            until: login.until,
            ended: login.ended.clone(),
        }))
    }

    /// Whether a token's person may use the account of `uid`, and who they are.
    pub(crate) async fn admit(
        &self,
        issuer: &Issuer,
        verified: &Verified,
        uid: Uid,
    ) -> Result<Subject, IdentityError> {
        self.inner.admit(issuer, verified, uid).await
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins").field("issuers", &self.inner.issuers).finish_non_exhaustive()
    }
}

fn not_offered(issuer: &Issuer, what: &'static str) -> LoginError {
    LoginError::NotOffered { issuer: issuer.name.clone(), what }
}
