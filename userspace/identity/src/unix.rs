//! The `unix` source: the person behind the attested uid.
//!
//! `sudo kubectl` runs as root, yet a person logged in to type it, and the kernel remembers who in the login
//! uid. But the login uid of a process that no login started can be set *by that process, to anything,
//! once* (kernel/audit.c, `audit_set_loginuid_perm`: no privilege is needed while it is unset). So it is
//! believed only where that gains nothing: see [`LoginuidTrust`].

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{
    Account, Accounts, Attestation, Identifying, IdentityError, Method, Presented, Process, Source, Subject,
    Uid,
};

/// The issuer of subjects that this host's accounts name.
pub const UNIX_ISSUER: &str = "unix";

/// How long an account read from the name service is believed.
const ACCOUNT_TTL: Duration = Duration::from_secs(30);

/// Configuration of the `unix` source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnixConfig {
    /// People named here; an entry replaces the name service's answer for its uid, groups included.
    #[serde(default)]
    pub users: Vec<MappedUser>,
    /// Whether the name service is asked for the others. Default: yes.
    #[serde(default = "yes")]
    pub nss: bool,
    /// When the login uid names the person. Default: [`LoginuidTrust::Root`].
    #[serde(default)]
    pub loginuid: LoginuidTrust,
}

/// A person named in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MappedUser {
    /// Their uid on this host.
    pub uid: Uid,
    /// What they are called.
    pub name: String,
    /// Their groups.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// When `/proc/<pid>/loginuid` names the person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LoginuidTrust {
    /// For processes of root, who needs no forgery. Any other process whose uid and login uid differ (`sudo
    /// -u other`, `su`, or a forgery: they look alike) is refused.
    #[default]
    Root,
    /// Always. Only for hosts where every process an engineer can start descends from a login (no cron, mail
    /// delivery or web scripts without pam_loginuid), since an unset login uid can be forged.
    Always,
    /// Never: the uid is the person, and `sudo kubectl` is root.
    Never,
}

/// Names the person behind an attested process from the mapping, else from the host's accounts.
pub struct UnixSource {
    inner: Arc<Inner>,
}

impl UnixSource {
    /// A source that asks `accounts` (in production [`Nss`](crate::Nss)) for uids that `config` does not name.
    ///
    /// # Errors
    /// [`IdentityError::Config`] when two users share a uid or a name: the second could pass for the first.
    pub fn new(config: UnixConfig, accounts: Arc<dyn Accounts>) -> Result<Self, IdentityError> {
        Self::with_clock(config, accounts, Arc::new(Instant::now))
    }

    /// As [`UnixSource::new`], with the clock that ages cached accounts.
    ///
    /// # Errors
    /// As [`UnixSource::new`].
    pub fn with_clock(
        config: UnixConfig,
        accounts: Arc<dyn Accounts>,
        clock: Arc<dyn Fn() -> Instant + Send + Sync>,
    ) -> Result<Self, IdentityError> {
        let mut mapped = HashMap::new();
        for user in config.users {
            if mapped.values().any(|account: &Account| account.name == user.name) {
                return Err(IdentityError::Config(format!("two users are called {}", user.name)));
            }
            let account = Account { name: user.name, groups: user.groups.into_iter().collect() };
            if mapped.insert(user.uid, account).is_some() {
                return Err(IdentityError::Config(format!("uid {} is mapped twice", user.uid)));
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                mapped,
                accounts: config.nss.then_some(accounts),
                loginuid: config.loginuid,
                cache: Mutex::default(),
                clock,
            }),
        })
    }

    /// The person whose uid this is. May block on the name service.
    ///
    /// # Errors
    /// [`IdentityError::UnknownUid`], [`IdentityError::NameService`], [`IdentityError::Config`].
    pub fn subject_of_uid(&self, uid: Uid) -> Result<Subject, IdentityError> {
        match self.inner.known(uid) {
            Some(account) => Ok(subject(uid, account)),
            None => self.inner.look_up(uid).map(|account| subject(uid, account)),
        }
    }

    /// The person behind a process of `uid`, as for a caller known by `SO_PEERCRED`. May block.
    ///
    /// # Errors
    /// As [`UnixSource::subject_of_uid`], and [`IdentityError::LoginuidMismatch`].
    pub fn subject_of_process(&self, uid: Uid, process: &Process) -> Result<Subject, IdentityError> {
        self.subject_of_uid(self.inner.person(uid, process.loginuid)?)
    }

    /// The uid that counts for a process of `uid`: that of the person, as [`LoginuidTrust`] finds it.
    ///
    /// # Errors
    /// [`IdentityError::LoginuidMismatch`].
    pub fn person(&self, uid: Uid, process: &Process) -> Result<Uid, IdentityError> {
        self.inner.person(uid, process.loginuid)
    }

    /// As [`UnixSource::subject_of_uid`], without blocking the thread.
    ///
    /// # Errors
    /// As [`UnixSource::subject_of_uid`].
    pub async fn look_up(&self, uid: Uid) -> Result<Subject, IdentityError> {
        if let Some(account) = self.inner.known(uid) {
            return Ok(subject(uid, account));
        }
        // The name service may be a directory across the network.
        let inner = Arc::clone(&self.inner);
        let account = tokio::task::spawn_blocking(move || inner.look_up(uid))
            .await
            .map_err(|_| IdentityError::Interrupted(uid))??;
        Ok(subject(uid, account))
    }
}

impl Source for UnixSource {
    fn identify<'a>(
        &'a self,
        attestation: &'a Attestation,
        _presented: &'a Presented<'a>,
    ) -> Identifying<'a> {
        Box::pin(async move {
            let uid = self.person(attestation.uid, &attestation.process)?;
            self.look_up(uid).await.map(Some)
        })
    }
}

impl fmt::Debug for UnixSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixSource").field("loginuid", &self.inner.loginuid).finish_non_exhaustive()
    }
}

impl Default for UnixConfig {
    fn default() -> Self {
        Self { users: Vec::new(), nss: true, loginuid: LoginuidTrust::default() }
    }
}

struct Inner {
    mapped: HashMap<Uid, Account>,
    accounts: Option<Arc<dyn Accounts>>,
    loginuid: LoginuidTrust,
    cache: Mutex<HashMap<Uid, (Instant, Account)>>,
    clock: Arc<dyn Fn() -> Instant + Send + Sync>,
}

impl Inner {
    fn person(&self, uid: Uid, loginuid: Option<Uid>) -> Result<Uid, IdentityError> {
        match (self.loginuid, loginuid) {
            (LoginuidTrust::Never, _) | (_, None) => Ok(uid),
            (LoginuidTrust::Always, Some(loginuid)) => Ok(loginuid),
            (LoginuidTrust::Root, Some(loginuid)) if uid == Uid::ROOT || uid == loginuid => Ok(loginuid),
            (LoginuidTrust::Root, Some(loginuid)) => Err(IdentityError::LoginuidMismatch { uid, loginuid }),
        }
    }

    /// The account, where that takes no look-up.
    fn known(&self, uid: Uid) -> Option<Account> {
        if let Some(account) = self.mapped.get(&uid) {
            return Some(account.clone());
        }
        let now = (self.clock)();
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(&uid).filter(|(until, _)| now < *until).map(|(_, account)| account.clone())
    }

    fn look_up(&self, uid: Uid) -> Result<Account, IdentityError> {
        let accounts = self.accounts.as_ref().ok_or(IdentityError::UnknownUid(uid))?;
        let account = accounts.account(uid)?.ok_or(IdentityError::UnknownUid(uid))?;
        if self.mapped.values().any(|mapped| mapped.name == account.name) {
            return Err(IdentityError::Config(format!(
                "uid {uid} is called {} by the name service, a name that the configuration gives to another uid",
                account.name
            )));
        }
        let now = (self.clock)();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|_, (until, _)| now < *until);
        cache.insert(uid, (now + ACCOUNT_TTL, account.clone()));
        Ok(account)
    }
}

fn subject(uid: Uid, account: Account) -> Subject {
    Subject {
        issuer: UNIX_ISSUER.to_owned(),
        id: uid.to_string(),
        name: account.name,
        groups: account.groups,
        method: Method::Unix,
        account: None,
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::{CgroupId, Gid, NetnsCookie, OriginalDst, Pid};

    /// Knows uid 1001 as carol, 1002 as alice, and counts how often it was asked.
    #[derive(Default)]
    struct Host(AtomicU32);

    impl Accounts for Host {
        fn account(&self, uid: Uid) -> Result<Option<Account>, IdentityError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let name = match uid.0 {
                0 => "root",
                1001 => "carol",
                1002 => "alice",
                _ => return Ok(None),
            };
            Ok(Some(Account { name: name.into(), groups: BTreeSet::from(["staff".to_owned()]) }))
        }
    }

    fn source(config: UnixConfig) -> UnixSource {
        UnixSource::new(config, Arc::new(Host::default())).unwrap()
    }

    fn mapped(uid: u32, name: &str) -> MappedUser {
        MappedUser { uid: Uid(uid), name: name.into(), groups: vec!["sre".into()] }
    }

    fn process(loginuid: Option<u32>) -> Process {
        Process {
            start_time: 1,
            exe: PathBuf::from("/usr/bin/kubectl"),
            argv: vec![],
            loginuid: loginuid.map(Uid),
            session_id: None,
            tty: None,
            cwd: None,
        }
    }

    #[test]
    fn who_is_behind_a_process() {
        use LoginuidTrust::{Always, Never, Root};
        // trust, uid, loginuid, the person's uid or a refusal
        let table = [
            (Root, 1001, None, Some("1001")),
            (Root, 1001, Some(1001), Some("1001")),
            (Root, 0, Some(1001), Some("1001")),
            (Root, 0, None, Some("0")),
            (Root, 1002, Some(1001), None),
            (Root, 1001, Some(0), None),
            (Always, 1002, Some(1001), Some("1001")),
            (Always, 1002, None, Some("1002")),
            (Never, 0, Some(1001), Some("0")),
            (Never, 1002, Some(1001), Some("1002")),
        ];
        for (trust, uid, loginuid, person) in table {
            let source = source(UnixConfig { loginuid: trust, ..UnixConfig::default() });
            let found = source.subject_of_process(Uid(uid), &process(loginuid));
            match person {
                Some(id) => assert_eq!(found.unwrap().id, id, "{trust:?} {uid} {loginuid:?}"),
                None => assert!(
                    matches!(found, Err(IdentityError::LoginuidMismatch { .. })),
                    "{trust:?} {uid} {loginuid:?}"
                ),
            }
        }
    }

    #[test]
    fn the_mapping_wins_over_the_name_service() {
        let source = source(UnixConfig { users: vec![mapped(1001, "ann")], ..UnixConfig::default() });
        let subject = source.subject_of_uid(Uid(1001)).unwrap();
        assert_eq!(
            (subject.issuer.as_str(), subject.id.as_str(), subject.name.as_str()),
            ("unix", "1001", "ann")
        );
        assert_eq!(subject.groups, BTreeSet::from(["sre".to_owned()]));
        assert_eq!(subject.method, Method::Unix);
    }

    #[test]
    fn a_uid_without_account_is_refused() {
        let error = source(UnixConfig::default()).subject_of_uid(Uid(9)).unwrap_err();
        assert!(matches!(error, IdentityError::UnknownUid(Uid(9))), "{error}");
        let no_nss = source(UnixConfig { nss: false, ..UnixConfig::default() });
        assert!(matches!(no_nss.subject_of_uid(Uid(1001)), Err(IdentityError::UnknownUid(_))));
    }

    #[test]
    fn nobody_passes_for_a_mapped_person() {
        let source = source(UnixConfig { users: vec![mapped(5, "alice")], ..UnixConfig::default() });
        assert!(matches!(source.subject_of_uid(Uid(1002)), Err(IdentityError::Config(_))));
        for users in [vec![mapped(1, "a"), mapped(2, "a")], vec![mapped(1, "a"), mapped(1, "b")]] {
            let config = UnixConfig { users, ..UnixConfig::default() };
            assert!(matches!(
                UnixSource::new(config, Arc::new(Host::default())),
                Err(IdentityError::Config(_))
            ));
        }
    }

    #[test]
    fn an_account_is_looked_up_again_when_its_time_is_over() {
        let host = Arc::new(Host::default());
        let now = Arc::new(Mutex::new(Instant::now()));
        let clock = {
            let now = Arc::clone(&now);
            Arc::new(move || *now.lock().unwrap())
        };
        let source = UnixSource::with_clock(UnixConfig::default(), host.clone(), clock).unwrap();
        source.subject_of_uid(Uid(1001)).unwrap();
        source.subject_of_uid(Uid(1001)).unwrap();
        assert_eq!(host.0.load(Ordering::Relaxed), 1);
        *now.lock().unwrap() += ACCOUNT_TTL;
        source.subject_of_uid(Uid(1001)).unwrap();
        assert_eq!(host.0.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_source_is_used_behind_a_pointer() {
        let attestation = Attestation {
            uid: Uid(0),
            gid: Gid(0),
            pid: Pid(7),
            cgroup: CgroupId(1),
            netns: NetnsCookie(1),
            comm: "kubectl".into(),
            original_dst: OriginalDst("10.0.0.1:443".parse().unwrap()),
            peer: "10.0.0.2:50000".parse().unwrap(),
            process: process(Some(1001)),
        };
        let source: Box<dyn Source> = Box::new(source(UnixConfig::default()));
        let subject = source.identify(&attestation, &Presented::default()).await.unwrap().unwrap();
        assert_eq!(subject.name, "carol");
    }

    #[test]
    fn the_configuration_names_its_fields() {
        let json = r#"{"users": [{"uid": 1001, "name": "alice", "groups": ["sre"]}], "loginuid": "never"}"#;
        let config: UnixConfig = serde_json::from_str(json).unwrap();
        assert!(config.nss);
        assert_eq!(config.users, [mapped(1001, "alice")]);
        assert_eq!(config.loginuid, LoginuidTrust::Never);
        assert!(serde_json::from_str::<UnixConfig>(r#"{"user": []}"#).is_err());
        assert_eq!(serde_json::from_str::<UnixConfig>("{}").unwrap(), UnixConfig::default());
    }
}
