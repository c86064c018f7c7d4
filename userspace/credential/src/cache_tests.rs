use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use tokio::sync::Semaphore;

use super::*;

/// A clock that a test turns, a cache, and a count of fetches.
struct Rig {
    now: Arc<Mutex<Timestamp>>,
    cache: Arc<Cache<&'static str, u32>>,
    fetches: Arc<AtomicUsize>,
}

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

impl Rig {
    fn new(room: usize) -> Self {
        let now = Arc::new(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap()));
        let clock = Arc::clone(&now);
        let cache = Cache::with_room(Arc::new(move || *clock.lock().unwrap()), room);
        Self { now, cache: Arc::new(cache), fetches: Arc::default() }
    }

    fn pass(&self, by: SignedDuration) {
        *self.now.lock().unwrap() += by;
    }

    /// Lives 15 minutes, is renewed at 14.
    fn held(&self, value: u32) -> Held<u32> {
        let made = *self.now.lock().unwrap();
        let expires = made + MINUTE * 15;
        Held { value, made, renew: made + MINUTE * 14, expires, keep: expires }
    }

    async fn get(&self, key: &'static str, fetched: Result<u32, Unavailable>) -> Result<u32, Unavailable> {
        let fetched = fetched.map(|value| self.held(value));
        let fetches = Arc::clone(&self.fetches);
        self.cache
            .get(key, move |_| async move {
                fetches.fetch_add(1, Ordering::SeqCst);
                fetched
            })
            .await
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn failed() -> Unavailable {
    let why = Why::Refused { code: "Throttling".into(), message: "Rate exceeded".into() };
    Unavailable { what: "assume a role".into(), why }
}

#[tokio::test]
async fn a_value_is_renewed_at_14_minutes_and_used_until_15_in_an_outage() {
    let rig = Rig::new(8);
    assert_eq!(rig.get("alice", Ok(1)).await, Ok(1));
    rig.pass(MINUTE * 14 - SignedDuration::from_secs(1));
    assert_eq!(rig.get("alice", Ok(2)).await, Ok(1));
    assert_eq!(rig.fetches(), 1);
    rig.pass(SignedDuration::from_secs(1));
    // The outage begins: what is there is used, and used up.
    assert_eq!(rig.get("alice", Err(failed())).await, Ok(1));
    rig.pass(SignedDuration::from_secs(59));
    assert_eq!(rig.get("alice", Err(failed())).await, Ok(1));
    rig.pass(SignedDuration::from_secs(1));
    assert_eq!(rig.get("alice", Err(failed())).await, Err(failed()));
    rig.pass(LONGEST_BACKOFF);
    assert_eq!(rig.get("alice", Ok(3)).await, Ok(3));
}

#[tokio::test]
async fn a_failure_is_not_asked_about_again_at_once() {
    let rig = Rig::new(8);
    for (asked, wait) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30)] {
        assert_eq!(rig.get("alice", Err(failed())).await, Err(failed()));
        assert_eq!(rig.fetches(), asked);
        rig.pass(SignedDuration::from_millis(wait * 1000 - 1));
        assert_eq!(rig.get("alice", Ok(1)).await, Err(failed()));
        assert_eq!(rig.fetches(), asked, "asked again {wait} s too early");
        rig.pass(SignedDuration::from_millis(1));
    }
    // Somebody else is not held up by that, and a success forgets it.
    assert_eq!(rig.get("bob", Ok(2)).await, Ok(2));
    assert_eq!(rig.get("alice", Ok(1)).await, Ok(1));
    rig.pass(MINUTE * 15);
    assert_eq!(rig.get("alice", Err(failed())).await, Err(failed()));
    rig.pass(FIRST_BACKOFF);
    assert_eq!(rig.get("alice", Ok(3)).await, Ok(3));
}

#[tokio::test]
async fn a_clock_set_back_neither_blocks_nor_keeps() {
    let rig = Rig::new(8);
    assert_eq!(rig.get("alice", Err(failed())).await, Err(failed()));
    rig.pass(MINUTE * -60);
    assert_eq!(rig.get("alice", Ok(1)).await, Ok(1));
    rig.pass(MINUTE * -60);
    assert_eq!(rig.get("alice", Ok(2)).await, Ok(2));
}

#[tokio::test]
async fn many_wait_for_one_fetch_and_survive_the_first_of_them() {
    let rig = Rig::new(8);
    let gate = Arc::new(Semaphore::new(0));
    let ask = || {
        let (cache, gate, fetches) = (Arc::clone(&rig.cache), Arc::clone(&gate), Arc::clone(&rig.fetches));
        let held = rig.held(7);
        tokio::spawn(async move {
            let fetch = move |_| async move {
                fetches.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                Ok(held)
            };
            cache.get("alice", fetch).await
        })
    };
    let first = ask();
    while rig.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (0..50).map(|_| ask()).collect();
    // The engineer whose request caused the fetch goes away in the middle of it.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    for other in others {
        assert_eq!(other.await.unwrap(), Ok(7));
    }
    assert_eq!(rig.fetches(), 1);
}

#[tokio::test]
async fn a_fetch_that_panics_is_a_failure_like_others() {
    let rig = Rig::new(8);
    let error = rig.cache.get("alice", |_| async { panic!("a test panics") }).await.unwrap_err();
    assert!(error.to_string().contains("interrupted"), "{error}");
    rig.pass(FIRST_BACKOFF);
    assert_eq!(rig.get("alice", Ok(1)).await, Ok(1));
}

#[tokio::test]
async fn a_renewal_that_hangs_holds_nobody_up_for_long() {
    let rig = Rig::new(8);
    rig.get("alice", Ok(1)).await.unwrap();
    rig.pass(MINUTE * 14);
    let begun = Instant::now();
    assert_eq!(rig.cache.get("alice", |_| pending()).await, Ok(1));
    assert!(begun.elapsed() < FETCH_LIMIT / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_gone_is_dropped_and_room_is_bounded() {
    let rig = Rig::new(2);
    for (key, value) in [("alice", 1), ("bob", 2)] {
        rig.get(key, Ok(value)).await.unwrap();
    }
    assert_eq!(rig.get("alice", Ok(9)).await, Ok(1));
    assert_eq!(rig.get("carol", Ok(3)).await, Ok(3));
    let known = |key| rig.cache.shared.lock().by_key.contains_key(key);
    assert!(known("alice") && !known("bob"), "the one used longest ago goes");
    rig.pass(MINUTE * 15);
    rig.get("dave", Ok(4)).await.unwrap();
    assert!(!known("alice") && !known("carol"), "what has ended does not stay in memory");
}
