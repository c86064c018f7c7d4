//! **An OpenID provider for tests and for the demo, and for nothing else.** There are no passwords: whoever reaches it
//! can log in as anybody it knows. So it listens on loopback alone, keeps everything in memory, and makes its keys anew
//! each time.
//!
//! Within that it is correct: authorization code with PKCE (S256 alone), device codes, refresh tokens that rotate,
//! revocation, discovery; codes that are good for once, and whose reuse ends what came of them. What it is asked for
//! wrongly it refuses, as the specifications say, so that a client which works with it works.
//!
//! ```no_run
//! # fn main() -> Result<(), idp::Error> {
//! let people = vec![idp::Person::example("alice", &["dev"])];
//! let idp = idp::Idp::start(idp::Options::new(people))?;
//! println!("issuer: {}", idp.issuer());
//! // A device shows BCDF-GHJK; what Alice does about it in a browser:
//! idp.confirm("BCDF-GHJK", "alice")?;
//! # Ok(())
//! # }
//! ```

mod answer;
mod authorize;
mod device;
mod error;
mod form;
mod html;
mod keys;
mod options;
mod provider;
mod scopes;
mod secret;
mod server;
mod store;
mod token;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use error::Error;
pub use options::{Algorithm, Clock, Lifetimes, Options, Person};

use provider::Provider;

/// A provider that serves, in a thread of its own, until it is dropped.
pub struct Idp {
    provider: Arc<Provider>,
    /// Dropped, it stops the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What can be asked for, to count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/.well-known/openid-configuration`
    Discovery,
    /// `/jwks`
    Jwks,
    /// `/device_authorization`
    DeviceAuthorization,
    /// `/device`, a page
    Device,
    /// `/authorize`, a page
    Authorize,
    /// `/login`, where the form of that page goes
    Login,
    /// `/token`
    Token,
    /// `/revoke`
    Revoke,
}

impl Idp {
    /// Starts a provider; it can be asked as soon as this returns.
    ///
    /// # Errors
    /// When the options make no provider, above all off loopback, or the address is taken.
    pub fn start(options: Options) -> Result<Self, Error> {
        options.check()?;
        let address = options.listen;
        let listen = |source| Error::Listen { address, source };
        let listener = server::bind(address).map_err(listen)?;
        let issuer = format!("http://{}", listener.local_addr().map_err(listen)?);
        let provider = Arc::new(Provider::new(issuer, options)?);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).map_err(Error::Thread)?
        };
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&provider);
        let thread = std::thread::Builder::new()
            .name("idp".to_owned())
            .spawn(move || runtime.block_on(server::serve(serving, listener, stopped)))
            .map_err(Error::Thread)?;
        Ok(Self { provider, stop: Some(stop), thread: Some(thread) })
    }

    /// Its issuer identifier: `http://127.0.0.1:<port>`, without a slash at the end.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }

    /// What a person does in the browser about the code that a device shows: enters it, says who they are (by
    /// `preferred_username`), and confirms.
    ///
    /// # Errors
    /// When there is no such code or person, or the code has run out or was used, or the provider is out of order.
    pub fn confirm(&self, user_code: &str, person: &str) -> Result<(), Error> {
        self.in_order()?;
        device::confirm(&self.provider, user_code, person)
    }

    /// The same, but they refuse.
    ///
    /// # Errors
    /// As [`Idp::confirm`].
    pub fn refuse(&self, user_code: &str) -> Result<(), Error> {
        self.in_order()?;
        device::refuse(&self.provider, user_code)
    }

    /// What a person does with a client's authorization URI: opens it in the browser, says who they are, and agrees.
    /// Returns where the browser is sent then: the client's redirect URI, with `code`, `state` and `iss`.
    ///
    /// # Errors
    /// When it is no request that can be granted, or there is no such person, or the provider is out of order.
    pub fn log_in(&self, authorization_uri: &str, person: &str) -> Result<String, Error> {
        self.in_order()?;
        authorize::visit(&self.provider, authorization_uri, Some(person))
    }

    /// The same, but they refuse: the redirect has `error=access_denied` instead of a code.
    ///
    /// # Errors
    /// As [`Idp::log_in`].
    pub fn decline(&self, authorization_uri: &str) -> Result<String, Error> {
        self.in_order()?;
        authorize::visit(&self.provider, authorization_uri, None)
    }

    /// Signs with a new key from now on. The one before stays published until the ID tokens it signed have run out.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn rotate_keys(&self) -> Result<(), Error> {
        self.provider.rotate_keys()
    }

    /// Moves its clock ahead.
    pub fn advance(&self, by: Duration) {
        self.provider.advance(by);
    }

    /// Answers everything with 503, or no longer.
    pub fn outage(&self, outage: bool) {
        self.provider.set_outage(outage);
    }

    /// How many requests came for this, those included that were refused. What [`Idp::confirm`], [`Idp::refuse`],
    /// [`Idp::log_in`] and [`Idp::decline`] do is no request.
    #[must_use]
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        self.provider.requests(endpoint)
    }

    fn in_order(&self) -> Result<(), Error> {
        if self.provider.is_out_of_order() { Err(Error::Outage) } else { Ok(()) }
    }
}

impl Endpoint {
    /// All of them, in the order of their discriminants.
    pub(crate) const ALL: [Self; 8] = [
        Self::Discovery,
        Self::Jwks,
        Self::DeviceAuthorization,
        Self::Device,
        Self::Authorize,
        Self::Login,
        Self::Token,
        Self::Revoke,
    ];

    /// Below the issuer.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Discovery => "/.well-known/openid-configuration",
            Self::Jwks => "/jwks",
            Self::DeviceAuthorization => "/device_authorization",
            Self::Device => "/device",
            Self::Authorize => "/authorize",
            Self::Login => "/login",
            Self::Token => "/token",
            Self::Revoke => "/revoke",
        }
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so itself.
            thread.join().ok();
        }
    }
}

impl fmt::Debug for Idp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idp").field("issuer", &self.provider.issuer).finish_non_exhaustive()
    }
}
