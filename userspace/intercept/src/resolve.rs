//! Targets are addresses or names; names are resolved, again and again, for as long as the daemon runs.
//!
//! What a name resolved to stays guarded for a while after it no longer does, and for as long as resolving
//! fails: forgetting an address too early would open it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::exempt::Exemptions;
use crate::targets::{TargetName, Targets};
use crate::{GateConfig, GateError, gate};

/// Where a target is: `address:port` or `name:port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// An address.
    Address(SocketAddr),
    /// A name, to be resolved.
    Name {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Resolves names.
pub trait Lookup {
    /// All addresses of `host`, each with `port`.
    fn lookup(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// The host's resolver (`getaddrinfo`).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

/// Knows where every target is, and was not long ago.
#[derive(Debug)]
pub struct Resolver<L = SystemLookup> {
    places: BTreeMap<TargetName, Vec<Place>>,
    keep_for: Duration,
    lookup: L,
    seen: HashMap<(TargetName, SocketAddr), Instant>,
}

/// A name that did not resolve.
#[derive(Debug)]
pub struct Unresolved {
    /// Whose.
    pub target: TargetName,
    /// Which.
    pub host: String,
    /// What the resolver said.
    pub error: io::Error,
    /// Whether no address of it is known from before either: then nothing is intercepted for it.
    pub unknown: bool,
}

impl<L: Lookup> Resolver<L> {
    /// A resolver that keeps an address for `keep_for` after its name last resolved to it.
    pub fn new(places: BTreeMap<TargetName, Vec<Place>>, keep_for: Duration, lookup: L) -> Self {
        Self { places, keep_for, lookup, seen: HashMap::new() }
    }

    /// Takes what the gate intercepts already as just seen, so that a daemon that starts while DNS is down
    /// opens nothing. Addresses of targets that are no longer configured are not taken.
    #[must_use]
    pub fn remember(mut self, known: &BTreeMap<TargetName, Vec<SocketAddr>>) -> Self {
        let now = Instant::now();
        for (target, places) in &self.places {
            for &address in known.get(target).into_iter().flatten() {
                let named =
                    |place: &Place| matches!(place, Place::Name { port, .. } if *port == address.port());
                if places.iter().any(named) {
                    self.seen.insert((target.clone(), address), now);
                }
            }
        }
        self
    }

    /// Where every target is now.
    pub async fn resolve(&mut self) -> (BTreeMap<TargetName, Vec<SocketAddr>>, Vec<Unresolved>) {
        let mut failed = Vec::new();
        let mut wanted: BTreeMap<TargetName, Vec<SocketAddr>> = BTreeMap::new();
        for (target, places) in &self.places {
            let addresses = wanted.entry(target.clone()).or_default();
            for place in places {
                let (host, port) = match place {
                    Place::Address(address) => {
                        addresses.push(*address);
                        continue;
                    }
                    Place::Name { host, port } => (host, *port),
                };
                let result = self.lookup.lookup(host, port).await;
                let now = Instant::now();
                match result {
                    Ok(found) if !found.is_empty() => {
                        for address in found {
                            self.seen.insert((target.clone(), address), now);
                        }
                    }
                    result => {
                        // Nothing that this name had is forgotten while nobody can say where it is.
                        let kept = |(owner, address): &(TargetName, SocketAddr)| {
                            owner == target && address.port() == port
                        };
                        let mut unknown = true;
                        for (_, seen) in self.seen.iter_mut().filter(|(key, _)| kept(key)) {
                            *seen = now;
                            unknown = false;
                        }
                        let error = result.err().unwrap_or_else(|| io::ErrorKind::NotFound.into());
                        failed.push(Unresolved {
                            target: target.clone(),
                            host: host.clone(),
                            error,
                            unknown,
                        });
                    }
                }
            }
        }
        self.seen.retain(|_, seen| seen.elapsed() <= self.keep_for);
        for (target, address) in self.seen.keys() {
            wanted.entry(target.clone()).or_default().push(*address);
        }
        for addresses in wanted.values_mut() {
            addresses.sort();
            addresses.dedup();
        }
        (wanted, failed)
    }
}

/// Keeps the kernel's targets and exemptions as the configuration and DNS have them, until it is dropped. What
/// fails is logged and tried again; until then everything stays as it was.
pub async fn keep_in_sync<L: Lookup>(
    config: GateConfig,
    mut resolver: Resolver<L>,
    mut targets: Targets,
    mut exemptions: Exemptions,
) -> Infallible {
    let mut ticks = interval(config.resolve_interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (wanted, failed) = resolver.resolve().await;
        for Unresolved { target, host, error, unknown } in failed {
            if unknown {
                tracing::error!(%target, host, %error, "name never resolved: nothing is intercepted for it");
            } else {
                tracing::warn!(%target, host, %error, "name does not resolve: its known addresses stay guarded");
            }
        }
        match targets.sync(&wanted) {
            Ok(changes) if changes != Default::default() => tracing::info!(?changes, "targets moved"),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "targets not updated: what was guarded stays guarded"),
        }
        if let Err(error) = refresh(&config, &mut exemptions) {
            tracing::error!(%error, "exempt cgroups not updated");
        }
    }
}

fn refresh(config: &GateConfig, exemptions: &mut Exemptions) -> Result<(), GateError> {
    if config.exempt.is_empty() {
        return Ok(());
    }
    exemptions.refresh(&gate::attach_point(config)?, &config.exempt)
}

impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let wrong = || format!("{text:?} is not address:port, [address]:port or name:port");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // What looks like an IPv4 address and is none would be resolved as a name, or worse, as another address.
        let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if host.is_empty() || numeric || port == 0 || !host.bytes().all(known) {
            return Err(wrong());
        }
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;

    /// Answers in turn.
    struct Script(Mutex<RefCell<VecDeque<io::Result<Vec<SocketAddr>>>>>);

    impl Lookup for Script {
        async fn lookup(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
            self.0.lock().unwrap().get_mut().pop_front().unwrap()
        }
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn resolver(answers: Vec<io::Result<Vec<SocketAddr>>>) -> Resolver<Script> {
        let places = BTreeMap::from([("t".parse().unwrap(), vec!["api.example:443".parse().unwrap()])]);
        let script = Script(Mutex::new(RefCell::new(answers.into())));
        Resolver::new(places, Duration::from_secs(60), script)
    }

    async fn next(resolver: &mut Resolver<Script>) -> (Vec<SocketAddr>, Vec<bool>) {
        let (wanted, failed) = resolver.resolve().await;
        (wanted[&"t".parse().unwrap()].clone(), failed.iter().map(|failure| failure.unknown).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn old_addresses_stay_for_a_while() {
        let (a, b) = (addresses(&["10.0.0.1:443"]), addresses(&["10.0.0.2:443"]));
        let mut resolver = resolver(vec![Ok(a.clone()), Ok(b.clone()), Ok(b.clone())]);
        assert_eq!(next(&mut resolver).await.0, a);
        assert_eq!(next(&mut resolver).await.0, [a, b.clone()].concat());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(next(&mut resolver).await.0, b);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_forgotten_while_resolving_fails() {
        let a = addresses(&["10.0.0.1:443"]);
        let down = || Err(io::ErrorKind::TimedOut.into());
        let mut resolver = resolver(vec![Ok(a.clone()), down(), Ok(Vec::new()), down()]);
        assert_eq!(next(&mut resolver).await, (a.clone(), vec![]));
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(61)).await;
            assert_eq!(next(&mut resolver).await, (a.clone(), vec![false]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_starts_without_dns_keeps_what_was_loaded() {
        let loaded = BTreeMap::from([
            ("t".parse().unwrap(), addresses(&["10.0.0.1:443", "10.0.0.1:80"])),
            ("gone".parse().unwrap(), addresses(&["10.0.0.9:443"])),
        ]);
        let down = || Err(io::ErrorKind::TimedOut.into());
        let mut fresh = resolver(vec![down()]);
        assert_eq!(next(&mut fresh).await, (vec![], vec![true]));
        let mut resolver = resolver(vec![down()]).remember(&loaded);
        assert_eq!(next(&mut resolver).await, (addresses(&["10.0.0.1:443"]), vec![false]));
    }

    #[test]
    fn places_are_addresses_or_names() {
        for text in ["10.0.0.1:443", "[2001:db8::1]:443", "api.eu-west-1.example:443", "localhost:6443"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in
            ["", "host", "host:", ":443", "host:0", "host:65536", "::1:443", "a b:1", "10.0.1:443", "1:1"]
        {
            text.parse::<Place>().unwrap_err();
        }
    }
}
