//! What the provider remembers: device codes, authorization codes, and the logins that came of them. Time comes from
//! outside, and every code and token is kept as a digest.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use crate::Error;
use crate::answer::Refusal;
use crate::options::Options;
use crate::scopes::Scopes;
use crate::secret::{self, Digest};

/// For how long what has run out is remembered, so that it is told apart from what never was.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);
/// What each poll that comes too soon adds to the interval (RFC 8628, section 3.5).
const SLOWER: SignedDuration = SignedDuration::from_secs(5);

#[derive(Default)]
pub(crate) struct Store {
    devices: HashMap<Digest, Device>,
    codes: HashMap<Digest, Code>,
    tokens: HashMap<Digest, Token>,
    logins: HashMap<LoginId, Login>,
    next_login: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LoginId(u64);

/// Somebody agreed that a client may know who they are.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) client: String,
    /// Their `sub`.
    pub(crate) person: String,
    pub(crate) scopes: Scopes,
    /// When they did.
    pub(crate) at: Timestamp,
    /// What the client said to know its own login again.
    pub(crate) nonce: Option<String>,
}

/// A device that waits for somebody to confirm its login.
pub(crate) struct Device {
    pub(crate) client: String,
    pub(crate) user_code: String,
    scopes: Scopes,
    expires: Timestamp,
    interval: SignedDuration,
    polled: Option<Timestamp>,
    state: DeviceState,
}

enum DeviceState {
    Waiting,
    Refused,
    /// By this `sub`.
    Confirmed(String, Timestamp),
    Used(LoginId),
}

/// What an authorization code stands for.
pub(crate) struct Code {
    pub(crate) login: Login,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    pub(crate) expires: Timestamp,
    pub(crate) used: Use,
}

pub(crate) enum Use {
    None,
    /// Somebody came with it and could not prove that it was theirs.
    InVain,
    Login(LoginId),
}

struct Token {
    login: LoginId,
    expires: Timestamp,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Access,
    Refresh,
    /// A refresh token that another took the place of.
    Rotated,
}

impl Store {
    /// A device code and the user code for it.
    pub(crate) fn add_device(
        &mut self,
        client: &str,
        scopes: Scopes,
        options: &Options,
        now: Timestamp,
    ) -> Result<(String, String), Error> {
        self.forget(now);
        let (code, user_code) = (secret::random()?, secret::user_code()?);
        let device = Device {
            client: client.to_owned(),
            user_code: user_code.clone(),
            scopes,
            expires: later(now, options.lifetimes.device_code),
            interval: signed(options.poll_interval),
            polled: None,
            state: DeviceState::Waiting,
        };
        self.devices.insert(Digest::of(&code), device);
        Ok((code, user_code))
    }

    /// The device that shows this code and still waits.
    pub(crate) fn device(&mut self, user_code: &str, now: Timestamp) -> Result<&mut Device, Error> {
        let typed = secret::typed(user_code);
        let mut devices = self.devices.values_mut();
        let device = devices
            .find(|device| secret::typed(&device.user_code) == typed)
            .ok_or_else(|| Error::Refused(format!("no device shows the code {user_code:?}")))?;
        match device.state {
            DeviceState::Waiting if now < device.expires => Ok(device),
            DeviceState::Waiting => Err(Error::Refused(format!("the code {user_code:?} has run out"))),
            _ => Err(Error::Refused(format!("the code {user_code:?} was used already"))),
        }
    }

    /// A device asks how it goes (RFC 8628, section 3.5).
    pub(crate) fn poll(&mut self, code: &str, client: &str, now: Timestamp) -> Result<LoginId, Refusal> {
        let device = self.devices.get_mut(&Digest::of(code)).filter(|device| device.client == client);
        let device =
            device.ok_or_else(|| Refusal::new("invalid_grant", "no login of yours has this device code"))?;
        match &device.state {
            DeviceState::Used(login) => {
                self.logins.remove(login);
                Err(Refusal::new(
                    "invalid_grant",
                    "the device code was used before; what came of it is revoked",
                ))
            }
            DeviceState::Refused => Err(Refusal::new("access_denied", "the person refused")),
            _ if now >= device.expires => Err(Refusal::new("expired_token", "the device code has run out")),
            DeviceState::Confirmed(person, at) => {
                let login = Login {
                    client: device.client.clone(),
                    person: person.clone(),
                    scopes: device.scopes.clone(),
                    at: *at,
                    nonce: None,
                };
                let id = add_login(&mut self.logins, &mut self.next_login, login);
                device.state = DeviceState::Used(id);
                Ok(id)
            }
            DeviceState::Waiting => {
                let soon = device.polled.replace(now).is_some_and(|last| now < plus(last, device.interval));
                if !soon {
                    return Err(Refusal::new("authorization_pending", "nobody has confirmed it yet"));
                }
                device.interval += SLOWER;
                let words = format!("ask every {} s", device.interval.as_secs());
                Err(Refusal::new("slow_down", words))
            }
        }
    }

    pub(crate) fn add_code(&mut self, code: Code, now: Timestamp) -> Result<String, Error> {
        self.forget(now);
        let secret = secret::random()?;
        self.codes.insert(Digest::of(&secret), code);
        Ok(secret)
    }

    /// A client comes with an authorization code. Whatever comes of it, the code has served (RFC 6749, section 4.1.2);
    /// `proven` says whether it is the client's.
    pub(crate) fn redeem(
        &mut self,
        code: &str,
        client: &str,
        now: Timestamp,
        proven: impl FnOnce(&Code) -> Result<(), Refusal>,
    ) -> Result<LoginId, Refusal> {
        let code = self.codes.get_mut(&Digest::of(code)).filter(|code| code.login.client == client);
        let code = code.ok_or_else(|| Refusal::new("invalid_grant", "no login of yours has this code"))?;
        match code.used {
            Use::None => {}
            Use::InVain => return Err(Refusal::new("invalid_grant", "the code was used before")),
            Use::Login(login) => {
                self.logins.remove(&login);
                let why = "the code was used before; what came of it is revoked";
                return Err(Refusal::new("invalid_grant", why));
            }
        }
        code.used = Use::InVain;
        if now >= code.expires {
            return Err(Refusal::new("invalid_grant", "the code has run out"));
        }
        proven(code)?;
        let id = add_login(&mut self.logins, &mut self.next_login, code.login.clone());
        code.used = Use::Login(id);
        Ok(id)
    }

    /// A client comes with a refresh token: it has served, and another must take its place. One that has served before
    /// was stolen, now or then, so that the login ends (RFC 9700, section 4.14.2).
    pub(crate) fn refresh(
        &mut self,
        token: &str,
        client: &str,
        scope: Option<&str>,
        now: Timestamp,
    ) -> Result<(LoginId, Scopes), Refusal> {
        let unknown = || Refusal::new("invalid_grant", "no login of yours has this refresh token");
        let token = self.tokens.get_mut(&Digest::of(token)).ok_or_else(unknown)?;
        let login = self.logins.get(&token.login).filter(|login| login.client == client);
        let login = login.filter(|_| token.kind != Kind::Access).ok_or_else(unknown)?;
        if token.kind == Kind::Rotated {
            self.logins.remove(&token.login);
            let why = "the refresh token was used before; the login is revoked";
            return Err(Refusal::new("invalid_grant", why));
        }
        if now >= token.expires {
            return Err(Refusal::new("invalid_grant", "the refresh token has run out"));
        }
        let scopes = login.scopes.narrowed(scope)?;
        token.kind = Kind::Rotated;
        Ok((token.login, scopes))
    }

    pub(crate) fn add_access_token(&mut self, login: LoginId, expires: Timestamp) -> Result<String, Error> {
        self.add_token(login, expires, Kind::Access)
    }

    pub(crate) fn add_refresh_token(&mut self, login: LoginId, expires: Timestamp) -> Result<String, Error> {
        self.add_token(login, expires, Kind::Refresh)
    }

    /// Ends the login that a token is of, whichever of its tokens it is (RFC 7009, section 2.1). A token that is not
    /// known is as good as revoked; another client's is not touched.
    pub(crate) fn revoke(&mut self, token: &str, client: &str) -> Result<(), Refusal> {
        let Some(token) = self.tokens.get(&Digest::of(token)) else { return Ok(()) };
        match self.logins.get(&token.login) {
            Some(login) if login.client != client => {
                Err(Refusal::new("invalid_grant", "the token is another client's"))
            }
            Some(_) => {
                self.logins.remove(&token.login);
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn login(&self, id: LoginId) -> Result<&Login, Refusal> {
        self.logins.get(&id).ok_or_else(|| Refusal::new("invalid_grant", "the login is revoked"))
    }

    fn add_token(&mut self, login: LoginId, expires: Timestamp, kind: Kind) -> Result<String, Error> {
        let secret = secret::random()?;
        self.tokens.insert(Digest::of(&secret), Token { login, expires, kind });
        Ok(secret)
    }

    fn forget(&mut self, now: Timestamp) {
        let fresh = |expires: Timestamp| now < plus(expires, REMEMBERED);
        self.devices.retain(|_, device| fresh(device.expires));
        self.codes.retain(|_, code| fresh(code.expires));
        self.tokens.retain(|_, token| fresh(token.expires));
        let live: HashSet<LoginId> = self.tokens.values().map(|token| token.login).collect();
        self.logins.retain(|id, _| live.contains(id));
    }
}

impl Device {
    pub(crate) fn confirm(&mut self, sub: &str, now: Timestamp) {
        self.state = DeviceState::Confirmed(sub.to_owned(), now);
    }

    pub(crate) fn refuse(&mut self) {
        self.state = DeviceState::Refused;
    }
}

/// Only two of a store's fields, so that what is found in another can still be held.
fn add_login(logins: &mut HashMap<LoginId, Login>, next: &mut u64, login: Login) -> LoginId {
    let id = LoginId(*next);
    *next += 1;
    logins.insert(id, login);
    id
}

pub(crate) fn later(now: Timestamp, by: std::time::Duration) -> Timestamp {
    plus(now, signed(by))
}

pub(crate) fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn plus(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}
