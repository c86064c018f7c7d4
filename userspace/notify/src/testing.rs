//! What tests tell and decide, with doubles of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use portcullis_access::{Clock, Hold, Person};
use portcullis_identity::Subject;

use crate::matter::{Decider, EventKind, Happening, Matter, Outbox, Page, Verdict, Word};
use crate::{Notify, NotifyConfig};
use portcullis_access::Decidable;

/// 2026-01-01T00:00:00Z.
pub(crate) fn start() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

pub(crate) fn person(name: &str) -> Person {
    Person { issuer: "unix".into(), id: format!("id-of-{name}"), name: name.into(), account: None }
}

pub(crate) fn matter(id: &str) -> Matter {
    Matter {
        id: id.into(),
        who: person("alice"),
        role: "pod-admin".into(),
        target: "demo".into(),
        reason: Some("INC-7: web is stuck".into()),
        operation: Some("delete pods \"web\" in namespace \"prod\"".into()),
        command: ["kubectl", "delete", "pod", "web"].map(str::to_owned).into(),
        diff: None,
        duration: Some(Duration::from_secs(1800)),
        deadline: Some(start() + Duration::from_secs(3600)),
        over: None,
        approver_groups: BTreeSet::new(),
    }
}

/// A held request that waits from the beginning on.
pub(crate) fn hold() -> Hold {
    serde_json::from_value(serde_json::json!({
        "id": "h-7f3a9c", "subject": person("alice"), "target": "demo", "role": "pod-admin", "rule": 0, "grant": "g-41d0e2",
        "operation": {"kind": "nonResource", "verb": "get", "path": "/"}, "digest": "", "client": "", "command": [], "diff": null,
        "terms": {"required": 1, "groups": ["leads"], "wait": "5m"}, "state": "pending", "createdAt": start(),
        "expiresAt": start(), "approvals": [], "decidedAt": null, "refusal": null, "spendWithin": "30s", "abandoned": false,
    }))
    .unwrap()
}

pub(crate) fn happening(kind: EventKind, matter: Matter) -> Happening {
    Happening { seq: 7, at: start(), kind, by: Some(person("alice")), comment: None, matter }
}

/// What a configuration comes to, its files written to `dir`: `SECRET` is replaced by the path of a secret, `ANOTHER`
/// by that of a different one.
pub(crate) fn notify(dir: &Path, text: &str) -> Arc<Notify> {
    use std::os::unix::fs::PermissionsExt;
    let file = |name: &str, content: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let text = text.replace("SECRET", &file("secret", SECRET)).replace("ANOTHER", &file("another", ANOTHER));
    let config: NotifyConfig = serde_saphyr::from_str(&text).unwrap();
    tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    Arc::new(Notify::load(&config, dir).unwrap())
}

pub(crate) const SECRET: &[u8] = b"the secret of these tests";
pub(crate) const ANOTHER: &[u8] = b"another secret altogether";

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct Hands(AtomicI64);

impl Hands {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(start().as_second())))
    }

    pub(crate) fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// A wall clock that goes with tokio's.
#[derive(Debug)]
pub(crate) struct Tokios(tokio::time::Instant);

impl Tokios {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(tokio::time::Instant::now()))
    }
}

impl Clock for Tokios {
    fn now(&self) -> Timestamp {
        start() + self.0.elapsed()
    }
}

/// A word that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) by: Subject,
    pub(crate) what: String,
    pub(crate) verdict: Verdict,
    pub(crate) comment: String,
    pub(crate) token_id: String,
    pub(crate) expires: Timestamp,
}

/// Decides as the store will: each token once, nobody their own.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    pub(crate) taken: Mutex<Vec<Taken>>,
    pub(crate) diff: Option<String>,
    pub(crate) over: Mutex<Option<String>>,
}

impl Judge {
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }
}

impl Decider for Judge {
    fn decide_once(&self, word: &Word<'_>) -> Result<String, String> {
        let mut taken = self.taken.lock().unwrap();
        if taken.iter().any(|taken| taken.token_id == word.token_id) {
            return Err("this link or button was used already".into());
        }
        if person("alice").may_be(word.by) {
            return Err("nobody approves their own request".into());
        }
        taken.push(Taken {
            by: word.by.clone(),
            what: word.what.to_string(),
            verdict: word.verdict,
            comment: word.comment.into(),
            token_id: word.token_id.into(),
            expires: word.expires,
        });
        Ok(format!("{} of {} is on record", word.verdict, word.what))
    }

    fn describe(&self, what: &Decidable) -> Result<Matter, String> {
        let over = self.over.lock().unwrap().clone();
        let approver_groups = ["leads".to_owned()].into();
        Ok(Matter { diff: self.diff.clone(), over, approver_groups, ..matter(&what.to_string()) })
    }
}

/// An outbox in memory, shared by the bastions of a test.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) events: Vec<Happening>,
    pub(crate) cursors: BTreeMap<String, u64>,
    pub(crate) leases: BTreeMap<String, (String, Timestamp)>,
    pub(crate) down: bool,
}

impl Memory {
    /// With one event of each of these kinds, numbered from 1, and nothing told yet to `webhooks`.
    pub(crate) fn with(kinds: &[EventKind], webhooks: &[&str]) -> Arc<Self> {
        let memory = Self::default();
        kinds.iter().for_each(|kind| memory.add(*kind, start()));
        memory.kept().cursors = webhooks.iter().map(|name| ((*name).to_owned(), 0)).collect();
        Arc::new(memory)
    }

    pub(crate) fn add(&self, kind: EventKind, at: Timestamp) {
        let mut kept = self.kept();
        let seq = kept.events.len() as u64 + 1;
        kept.events.push(Happening { seq, at, ..happening(kind, matter("r-7f3a9c")) });
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    pub(crate) fn told(&self, webhook: &str) -> Option<u64> {
        self.kept().cursors.get(webhook).copied()
    }

    fn open(&self) -> Result<MutexGuard<'_, Kept>, String> {
        let kept = self.kept();
        if kept.down { Err("the store is down".into()) } else { Ok(kept) }
    }
}

impl Outbox for Memory {
    fn after(&self, seq: u64, limit: u32) -> Result<Page, String> {
        let kept = self.open()?;
        let next: Vec<&Happening> =
            kept.events.iter().filter(|event| event.seq > seq).take(limit as usize).collect();
        let seen = next.last().map_or(seq, |last| last.seq);
        // As a store would leave out what nobody wants to hear of.
        let worth = next.into_iter().filter(|event| event.kind != EventKind::Cancelled);
        Ok(Page { happened: worth.cloned().collect(), seen })
    }

    fn latest(&self) -> Result<u64, String> {
        Ok(self.open()?.events.len() as u64)
    }

    fn cursor(&self, webhook: &str) -> Result<Option<u64>, String> {
        Ok(self.open()?.cursors.get(webhook).copied())
    }

    fn advance(&self, webhook: &str, from: Option<u64>, to: u64) -> Result<bool, String> {
        let mut kept = self.open()?;
        if kept.cursors.get(webhook).copied() != from {
            return Ok(false);
        }
        kept.cursors.insert(webhook.to_owned(), to);
        Ok(true)
    }

    fn lease(&self, webhook: &str, holder: &str, now: Timestamp, lasting: Duration) -> Result<bool, String> {
        let mut kept = self.open()?;
        match kept.leases.get(webhook) {
            Some((other, ends)) if other != holder && now < *ends => Ok(false),
            _ => {
                kept.leases.insert(webhook.to_owned(), (holder.to_owned(), now + lasting));
                Ok(true)
            }
        }
    }
}
