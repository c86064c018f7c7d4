//! From an event to a decision, over the public interface alone: a webhook is told, its reader opens the link and
//! presses the button, and the word arrives.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use portcullis_access::{Clock, Decidable, Person, SystemClock};
use portcullis_notify::{
    Decider, EventKind, Happening, Matter, Notifier, Notify, NotifyConfig, Outbox, Page, Server, Word,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A store of one event.
struct Store {
    told: mpsc::UnboundedSender<u64>,
    cursors: Mutex<BTreeMap<String, u64>>,
    decided: Mutex<Vec<String>>,
    used: Mutex<BTreeSet<String>>,
}

fn matter(id: &str) -> Matter {
    Matter {
        id: id.to_owned(),
        who: Person { issuer: "unix".into(), id: "1001".into(), name: "alice".into(), account: None },
        role: "pod-admin".into(),
        target: "demo".into(),
        reason: Some("INC-7".into()),
        operation: None,
        command: Vec::new(),
        diff: None,
        duration: Some(Duration::from_secs(60)),
        deadline: None,
        over: None,
        approver_groups: ["leads".to_owned()].into(),
    }
}

impl Decider for Store {
    fn decide_once(&self, word: &Word<'_>) -> Result<String, String> {
        if !self.used.lock().unwrap().insert(word.token_id.to_owned()) {
            return Err("used already".into());
        }
        self.decided
            .lock()
            .unwrap()
            .push(format!("{} {} {}: {}", word.by, word.verdict, word.what, word.comment));
        Ok(format!("{} is approved", word.what))
    }

    fn describe(&self, what: &Decidable) -> Result<Matter, String> {
        Ok(matter(&what.to_string()))
    }
}

impl Outbox for Store {
    fn after(&self, seq: u64, _limit: u32) -> Result<Page, String> {
        let (at, kind, comment) = (Timestamp::now(), EventKind::Requested, None);
        let event = Happening { seq: 1, at, kind, by: None, comment, matter: matter("r-7f3a9c") };
        Ok(Page { happened: if seq == 0 { vec![event] } else { Vec::new() }, seen: 1 })
    }

    fn latest(&self) -> Result<u64, String> {
        Ok(0)
    }

    fn cursor(&self, webhook: &str) -> Result<Option<u64>, String> {
        Ok(self.cursors.lock().unwrap().get(webhook).copied())
    }

    fn advance(&self, webhook: &str, _from: Option<u64>, to: u64) -> Result<bool, String> {
        self.cursors.lock().unwrap().insert(webhook.to_owned(), to);
        self.told.send(to).unwrap();
        Ok(true)
    }

    fn lease(&self, _: &str, _: &str, _: Timestamp, _: Duration) -> Result<bool, String> {
        Ok(true)
    }
}

#[tokio::test]
async fn a_webhook_is_told_and_its_link_decides() {
    tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let hook = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = format!(
        "listen: 127.0.0.1:0\n\
         baseUrl: http://127.0.0.1:1/\n\
         webhooks: [{{name: dm, url: 'http://{}/', secretFile: {}, format: generic, approver: bob}}]\n\
         approvers: [{{name: bob, issuer: unix, id: '1002', groups: [leads]}}]\n",
        hook.local_addr().unwrap(),
        secret.display(),
    );
    let config: NotifyConfig = serde_saphyr::from_str(&config).unwrap();
    let notify = Arc::new(Notify::load(&config, dir.path()).unwrap());

    let (told, mut was_told) = mpsc::unbounded_channel();
    let store = Arc::new(Store {
        told,
        cursors: Mutex::default(),
        decided: Mutex::default(),
        used: Mutex::default(),
    });
    let (decider, outbox): (Arc<dyn Decider>, Arc<dyn Outbox>) = (store.clone() as _, store.clone() as _);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let server = Server::bind(&notify, &decider, &clock).await.unwrap().unwrap();
    let address = server.local_addr().unwrap();
    let notifier = Notifier::new(&notify, &outbox, &clock, "bastion-1").unwrap();
    let counts = notifier.counts();
    let (drain, (_wake, woken)) = (CancellationToken::new(), watch::channel(0));
    let serving = tokio::spawn(server.run(drain.clone()));
    let sending = tokio::spawn(notifier.run(woken, drain.clone()));

    let (mut stream, _) = hook.accept().await.unwrap();
    let mut told = Vec::new();
    while !told.ends_with(b"}}") {
        assert!(stream.read_buf(&mut told).await.unwrap() > 0);
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
    drop(stream);
    let told = String::from_utf8(told).unwrap();
    let body: serde_json::Value = serde_json::from_str(told.split_once("\r\n\r\n").unwrap().1).unwrap();
    let link =
        body["links"]["approve"].as_str().unwrap().strip_prefix("http://127.0.0.1:1").unwrap().to_owned();

    let ask = async |text: String| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let page = ask(format!("GET {link} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert!(page.contains("<dd>INC-7</dd>") && page.contains("Approve as bob"), "{page}");
    let post = format!(
        "POST {link} HTTP/1.1\r\nHost: x\r\nOrigin: http://127.0.0.1:1\r\nContent-Length: 10\r\n\r\ncomment=ok"
    );
    assert!(ask(post.clone()).await.contains("r-7f3a9c is approved"));
    assert!(ask(post).await.contains("used already"));
    assert_eq!(*store.decided.lock().unwrap(), ["bob approve r-7f3a9c: ok"]);

    // From none to 0, where this webhook begins, and on to the event.
    assert_eq!((was_told.recv().await, was_told.recv().await), (Some(0), Some(1)));
    drain.cancel();
    serving.await.unwrap();
    sending.await.unwrap();
    assert_eq!((counts[0].0.as_str(), counts[0].1.delivered()), ("dm", 1));
}
