//! Senders over a scripted transport, in tokio's paused time: nothing waits for real, and every pause can be measured.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::time::Instant;

use super::*;
use crate::matter::EventKind;
use crate::testing::{Memory, Tokios, notify, start};
use crate::transport::Posting;

const ONE: &str = "
retryFor: 1m
webhooks: [{name: a, url: 'https://a.example', secretFile: SECRET, format: generic}]";
const TWO: &str = "
retryFor: 1m
webhooks:
- {name: a, url: 'https://a.example', secretFile: SECRET, format: generic}
- {name: b, url: 'https://b.example', secretFile: SECRET, format: generic, events: [held]}";

/// What an endpoint does, one step an attempt; delivered when the script is over.
#[derive(Clone)]
enum Step {
    Take,
    Answer(Attempt),
    Hang,
}

/// An endpoint that remembers when it was asked what.
#[derive(Default)]
struct Endpoint {
    script: Mutex<VecDeque<Step>>,
    asked: Mutex<Vec<(Instant, String, bytes::Bytes)>>,
}

impl Endpoint {
    fn new(script: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() })
    }

    fn ids(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(_, id, _)| id.clone()).collect()
    }

    /// Seconds between attempts.
    fn pauses(&self) -> Vec<f64> {
        let asked = self.asked.lock().unwrap();
        asked.array_windows().map(|[a, b]| (b.0 - a.0).as_secs_f64()).collect()
    }
}

struct Wire(Arc<Endpoint>);

impl Transport for Wire {
    fn post<'a>(&'a self, message: &'a Message) -> Posting<'a> {
        Box::pin(async move {
            let seen = (Instant::now(), message.id.clone(), message.body.clone());
            self.0.asked.lock().unwrap().push(seen);
            let step = self.0.script.lock().unwrap().pop_front().unwrap_or(Step::Take);
            match step {
                Step::Take => Attempt::Delivered,
                Step::Answer(attempt) => attempt,
                Step::Hang => std::future::pending().await,
            }
        })
    }
}

/// One bastion's sender, running.
struct Bastion {
    counts: Vec<(String, Arc<Counts>)>,
    drain: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _wake: watch::Sender<u64>,
    _dir: tempfile::TempDir,
}

impl Bastion {
    fn start(holder: &str, config: &str, outbox: &Arc<Memory>, endpoints: &[&Arc<Endpoint>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let notify = notify(dir.path(), config);
        let clock: Arc<dyn Clock> = Tokios::new();
        let outbox: Arc<dyn Outbox> = Arc::clone(outbox) as _;
        let mut endpoints = endpoints.iter();
        let way = |_: &Webhook| -> Result<Box<dyn Transport>, NotifyError> {
            Ok(Box::new(Wire(Arc::clone(endpoints.next().unwrap()))))
        };
        let notifier = Notifier::over(&notify, &outbox, &clock, holder, way).unwrap();
        let (counts, drain, (wake, woken)) = (notifier.counts(), CancellationToken::new(), watch::channel(0));
        let task = tokio::spawn(notifier.run(woken, drain.clone()));
        Self { counts, drain, task, _wake: wake, _dir: dir }
    }

    fn counts(&self, number: usize) -> (u64, u64, u64) {
        let counts = &self.counts[number].1;
        (counts.delivered(), counts.retried(), counts.given_up())
    }

    async fn stop(self) {
        self.drain.cancel();
        self.task.await.unwrap();
    }
}

fn later(why: &str, asked: Option<u64>) -> Step {
    Step::Answer(Attempt::Later { why: why.into(), asked: asked.map(Duration::from_secs) })
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn everything_is_told_once_and_in_order() {
    let kinds = [EventKind::Requested, EventKind::Held, EventKind::Approved, EventKind::Emergency];
    let outbox = Memory::with(&kinds, &["a", "b"]);
    let (a, b) = (Endpoint::new([]), Endpoint::new([]));
    let bastion = Bastion::start("one", TWO, &outbox, &[&a, &b]);
    pass(60).await;
    assert_eq!(a.ids(), ["a-1", "a-2", "a-3", "a-4"]);
    assert_eq!(b.ids(), ["b-2", "b-4"], "the filter leaves emergencies in");
    assert_eq!((outbox.told("a"), outbox.told("b")), (Some(4), Some(4)));
    outbox.add(EventKind::Held, start());
    pass(6).await;
    assert_eq!(b.ids(), ["b-2", "b-4", "b-5"]);
    assert_eq!(bastion.counts(0), (5, 0, 0));
    bastion.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_worth_telling_stops_nothing() {
    let kinds = [vec![EventKind::Cancelled; 200], vec![EventKind::Held]].concat();
    let outbox = Memory::with(&kinds, &["a"]);
    let a = Endpoint::new([]);
    let bastion = Bastion::start("one", ONE, &outbox, &[&a]);
    pass(1).await;
    assert_eq!(a.ids(), ["a-201"]);
    bastion.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_webhook_is_not_told_of_the_past() {
    let outbox = Memory::with(&[EventKind::Requested, EventKind::Held], &[]);
    let a = Endpoint::new([]);
    let bastion = Bastion::start("one", ONE, &outbox, &[&a]);
    pass(6).await;
    assert_eq!((a.ids().len(), outbox.told("a")), (0, Some(2)));
    outbox.add(EventKind::Revoked, start());
    pass(6).await;
    assert_eq!(a.ids(), ["a-3"]);
    bastion.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_after_growing_pauses_and_the_rest_waits() {
    let outbox = Memory::with(&[EventKind::Requested, EventKind::Held], &["a"]);
    let a =
        Endpoint::new([later("503", None), later("503", None), later("503", None), later("429", Some(45))]);
    let bastion = Bastion::start("one", ONE, &outbox, &[&a]);
    pass(120).await;
    assert_eq!(a.ids(), ["a-1", "a-1", "a-1", "a-1", "a-1", "a-2"], "in order");
    let pauses = a.pauses();
    for (pause, most) in pauses.iter().zip([1.0, 2.0, 4.0]) {
        assert!((most / 2.0 - 0.01..=most + 0.01).contains(pause), "{pauses:?}");
    }
    assert!((pauses[3] - 45.0).abs() < 0.1, "Retry-After is kept to: {pauses:?}");
    let asked = a.asked.lock().unwrap().clone();
    assert_eq!(asked[0].2, asked[4].2, "the same message each time");
    assert_eq!(bastion.counts(0), (2, 4, 0));
    bastion.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_given_up_and_the_next_is_told() {
    let outbox = Memory::with(&[EventKind::Requested, EventKind::Held], &["a"]);
    let a = Endpoint::new([Step::Answer(Attempt::Refused { why: "it answered 404".into() })]);
    let bastion = Bastion::start("one", ONE, &outbox, &[&a]);
    pass(10).await;
    assert_eq!(a.ids(), ["a-1", "a-2"]);
    assert_eq!(outbox.told("a"), Some(2));
    assert_eq!(bastion.counts(0), (1, 0, 1));
    bastion.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_never_taken_is_given_up_when_it_is_old() {
    let outbox = Memory::with(&[EventKind::Requested], &["a"]);
    let a = Endpoint::new(vec![later("500", None); 100]);
    let bastion = Bastion::start("one", ONE, &outbox, &[&a]);
    pass(59).await;
    assert_eq!(outbox.told("a"), Some(0), "not before its time");
    pass(120).await;
    assert_eq!(outbox.told("a"), Some(1));
    assert_eq!(bastion.counts(0).2, 1);
    // One that is old already, because we were down, still gets its four attempts.
    let tried = a.ids().len();
    outbox.add(EventKind::Held, start() - Duration::from_secs(86_400));
    pass(60).await;
    assert_eq!(a.ids().len() - tried, 4);
    bastion.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_holds_nobody_up() {
    let outbox = Memory::with(&[EventKind::Held, EventKind::Held], &["a", "b"]);
    let (a, b) = (Endpoint::new([Step::Hang, Step::Hang]), Endpoint::new([]));
    let bastion = Bastion::start("one", TWO, &outbox, &[&a, &b]);
    pass(5).await;
    assert_eq!((a.ids().len(), b.ids().len()), (1, 2));
    pass(60).await;
    assert_eq!(a.ids(), ["a-1", "a-1", "a-1", "a-2"]);
    let pauses = a.pauses();
    assert!((10.0..=11.1).contains(&pauses[0]), "cut after ten seconds: {pauses:?}");
    bastion.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ending_does_not_wait_for_an_endpoint() {
    let outbox = Memory::with(&[EventKind::Held], &["a"]);
    let a = Endpoint::new([Step::Hang]);
    let bastion = Bastion::start("one", ONE, &outbox, &[&a]);
    pass(1).await;
    let asked = Instant::now();
    bastion.stop().await;
    assert!(asked.elapsed() < Duration::from_millis(100));
    assert_eq!(outbox.told("a"), Some(0));
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_the_same_message_goes_out_with_the_same_id() {
    let outbox = Memory::with(&[EventKind::Requested], &["a"]);
    let a = Endpoint::new([Step::Hang]);
    let crashed = Bastion::start("one", ONE, &outbox, &[&a]);
    pass(1).await;
    // Sent, and perhaps taken; but the cursor has not moved.
    crashed.task.abort();
    let next = Bastion::start("one", ONE, &outbox, &[&a]);
    pass(1).await;
    assert_eq!(a.ids(), ["a-1", "a-1"]);
    let asked = a.asked.lock().unwrap().clone();
    assert_eq!(asked[0].2, asked[1].2);
    assert_eq!(outbox.told("a"), Some(1));
    next.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_bastions_one_sends_and_the_other_takes_over() {
    let outbox = Memory::with(&[EventKind::Requested, EventKind::Held], &["a"]);
    let (one, two) = (Endpoint::new([]), Endpoint::new([]));
    let first = Bastion::start("one", ONE, &outbox, &[&one]);
    pass(1).await;
    let second = Bastion::start("two", ONE, &outbox, &[&two]);
    outbox.add(EventKind::Revoked, start());
    pass(60).await;
    assert_eq!((one.ids().len(), two.ids().len()), (3, 0));
    first.task.abort();
    pass(31).await;
    outbox.add(EventKind::Revoked, start());
    pass(6).await;
    assert_eq!((one.ids().len(), two.ids()), (3, vec!["a-4".to_owned()]));
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_pause_does_not_lose_the_lease() {
    let outbox = Memory::with(&[EventKind::Requested], &["a"]);
    let (one, two) = (Endpoint::new([later("429", Some(200))]), Endpoint::new([]));
    let first = Bastion::start("one", ONE, &outbox, &[&one]);
    pass(1).await;
    let second = Bastion::start("two", ONE, &outbox, &[&two]);
    pass(250).await;
    assert_eq!((one.ids().len(), two.ids().len()), (2, 0));
    first.stop().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_lease_sends_no_more() {
    let outbox = Memory::with(&[EventKind::Requested, EventKind::Held], &["a"]);
    let one = Endpoint::new([later("503", Some(20))]);
    let bastion = Bastion::start("one", ONE, &outbox, &[&one]);
    pass(1).await;
    outbox.kept().leases.insert("a".into(), ("two".into(), start() + Duration::from_secs(100)));
    pass(60).await;
    assert_eq!(one.ids().len(), 1);
    // The other told the first and vanished: the first is not told again.
    outbox.kept().cursors.insert("a".into(), 1);
    pass(60).await;
    assert_eq!(one.ids(), ["a-1", "a-2"]);
    bastion.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_asked_again() {
    let outbox = Memory::with(&[EventKind::Requested], &["a"]);
    outbox.kept().down = true;
    let a = Endpoint::new([]);
    let bastion = Bastion::start("one", ONE, &outbox, &[&a]);
    pass(20).await;
    assert!(a.ids().is_empty());
    outbox.kept().down = false;
    pass(6).await;
    assert_eq!(a.ids(), ["a-1"]);
    bastion.stop().await;
}
