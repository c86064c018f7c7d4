//! What a provider is made of.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Error;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a provider is made of.
#[derive(Clone)]
pub struct Options {
    /// Where it listens; loopback only. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// The client ids it knows. All are public clients: none has a secret.
    pub clients: Vec<String>,
    /// Who can log in: anybody who reaches the provider, as any of these.
    pub people: Vec<Person>,
    /// How long things are good for.
    pub lifetimes: Lifetimes,
    /// How often a device may ask; each time it asks sooner, five seconds are added for it (RFC 8628, section 3.5).
    pub poll_interval: Duration,
    /// How tokens are signed.
    pub algorithm: Algorithm,
    /// What time it is; [`Idp::advance`](crate::Idp::advance) adds to it.
    pub clock: Clock,
}

/// Somebody who can log in, with the claims that are made of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Who they are, for ever.
    pub sub: String,
    /// What they log in as. Scope `profile`.
    pub preferred_username: String,
    /// Scope `profile`.
    pub name: String,
    /// Scope `email`.
    pub email: String,
    /// Scope `email`.
    pub email_verified: bool,
    /// Scope `groups`.
    pub groups: Vec<String>,
}

/// How long things are good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// ID tokens. Default: ten minutes.
    pub id_token: Duration,
    /// Access tokens. Default: ten minutes.
    pub access_token: Duration,
    /// Refresh tokens, from their last use. Default: a day.
    pub refresh_token: Duration,
    /// Device codes and their user codes. Default: ten minutes.
    pub device_code: Duration,
    /// Authorization codes. Default: one minute.
    pub code: Duration,
}

/// How tokens are signed (RFC 7518, section 3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    #[default]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, by a key of 2048 bits.
    Rs256,
}

impl Options {
    /// The usual provider: client `portcullis`, a free port of 127.0.0.1, the system's clock.
    #[must_use]
    pub fn new(people: Vec<Person>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            clients: vec!["portcullis".to_owned()],
            people,
            lifetimes: Lifetimes::default(),
            poll_interval: Duration::from_secs(5),
            algorithm: Algorithm::default(),
            clock: Arc::new(Timestamp::now),
        }
    }

    pub(crate) fn person(&self, username: &str) -> Result<&Person, Error> {
        let found = self.people.iter().find(|person| person.preferred_username == username);
        found.ok_or_else(|| Error::NoSuchPerson(username.to_owned()))
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad = |why: String| Err(Error::Options(why));
        if !self.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(self.listen));
        }
        if self.clients.is_empty() || self.clients.iter().any(String::is_empty) {
            return bad("clients: at least one is needed, and none without a name".to_owned());
        }
        if self.people.is_empty() {
            return bad("people: nobody could log in".to_owned());
        }
        let (mut subs, mut usernames) = (BTreeSet::new(), BTreeSet::new());
        for Person { sub, preferred_username, .. } in &self.people {
            if sub.is_empty() || preferred_username.is_empty() {
                return bad("people: somebody has an empty sub or preferred_username".to_owned());
            }
            if !subs.insert(sub) || !usernames.insert(preferred_username) {
                return bad(format!(
                    "people: sub {sub:?} or preferred_username {preferred_username:?} is there twice"
                ));
            }
        }
        Ok(())
    }
}

impl Person {
    /// `alice` as sub-alice, Alice, alice@example.test (verified) in these groups.
    #[must_use]
    pub fn example(username: &str, groups: &[&str]) -> Self {
        let mut name = username.to_owned();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self {
            sub: format!("sub-{username}"),
            preferred_username: username.to_owned(),
            name,
            email: format!("{username}@example.test"),
            email_verified: true,
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        }
    }

    /// Reads people from a JSON file: a list of objects whose fields are those of [`Person`].
    ///
    /// # Errors
    /// Naming the file, and the line and field where there is one.
    pub fn read(path: &Path) -> Result<Vec<Self>, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::PeopleUnreadable { path: path.to_owned(), source })?;
        serde_json::from_str(&text).map_err(|source| Error::People { path: path.to_owned(), source })
    }
}

impl Algorithm {
    /// As tokens and metadata spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            id_token: minutes(10),
            access_token: minutes(10),
            refresh_token: minutes(24 * 60),
            device_code: minutes(10),
            code: minutes(1),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("clients", &self.clients)
            .field("people", &self.people)
            .field("lifetimes", &self.lifetimes)
            .field("poll_interval", &self.poll_interval)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people() -> Vec<Person> {
        vec![Person::example("alice", &["dev"])]
    }

    #[test]
    fn nothing_off_loopback_is_listened_on() {
        for address in ["0.0.0.0:0", "10.0.0.1:80", "[::]:0", "[::ffff:127.0.0.1]:0"] {
            let options = Options { listen: address.parse().unwrap(), ..Options::new(people()) };
            assert!(matches!(options.check(), Err(Error::NotLoopback(_))), "{address}");
        }
        for address in ["127.0.0.1:0", "127.0.0.9:80", "[::1]:0"] {
            let options = Options { listen: address.parse().unwrap(), ..Options::new(people()) };
            options.check().unwrap();
        }
    }

    #[test]
    fn people_are_told_apart() {
        let twice = [people(), people()].concat();
        assert!(Options::new(twice).check().unwrap_err().to_string().contains("twice"));
        let mut same_name = [people(), people()].concat();
        same_name[1].sub = "sub-other".to_owned();
        assert!(Options::new(same_name).check().is_err());
        assert!(Options::new(vec![]).check().is_err());
        let nobody = Options { clients: vec![], ..Options::new(people()) };
        assert!(nobody.check().is_err());
    }

    #[test]
    fn a_bad_file_of_people_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("people.json");
        assert!(Person::read(&file).unwrap_err().to_string().contains("people.json"));
        std::fs::write(&file, "[{\"sub\": \"1\",\n\"nmae\": \"Alice\"}]").unwrap();
        let why = Person::read(&file).unwrap_err().to_string();
        assert!(why.contains("people.json") && why.contains("nmae") && why.contains("line 2"), "{why}");
        std::fs::write(&file, serde_json::to_string(&people()).unwrap()).unwrap();
        assert_eq!(Person::read(&file).unwrap(), people());
    }
}
