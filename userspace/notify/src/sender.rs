//! Tells every webhook what happened, in order and at least once.
//!
//! Each webhook has a task, a cursor and a lease of its own, so that one that hangs keeps nobody waiting, and so that
//! of several bastions one tells it. The cursor moves only when a message was delivered or given up; after a crash in
//! between, the message goes out again with the same id.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_access::Clock;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::NotifyError;
use crate::backoff;
use crate::matter::{Happening, Outbox, Page};
use crate::message::Message;
use crate::notify::{Notify, Webhook};
use crate::transport::{ATTEMPT, Attempt, Http, Transport};

/// How often the store is asked when nothing wakes the sender.
const POLL: Duration = Duration::from_secs(5);
/// How long a lease lasts: longer than an attempt, so that nobody else sends meanwhile.
const LEASE: Duration = Duration::from_secs(30);
/// How long to sleep at most before the lease is renewed.
const RENEW: Duration = Duration::from_secs(10);
const BATCH: u32 = 64;
/// However old it is, a message gets this many attempts: it may be old because we were down.
const LEAST_ATTEMPTS: u32 = 4;

/// Sends notifications.
pub struct Notifier {
    routes: Vec<Route>,
}

/// What became of one webhook's messages since the start.
#[derive(Debug, Default)]
pub struct Counts {
    delivered: AtomicU64,
    retried: AtomicU64,
    given_up: AtomicU64,
}

/// The way to one webhook.
struct Route {
    notify: Arc<Notify>,
    /// Its place among the webhooks.
    number: usize,
    outbox: Arc<dyn Outbox>,
    clock: Arc<dyn Clock>,
    /// Who holds the lease.
    holder: String,
    transport: Box<dyn Transport>,
    counts: Arc<Counts>,
}

/// What a look at the outbox came to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    /// There may be more.
    More,
    /// Everything is told.
    Idle,
    /// Another bastion tells this webhook.
    NotOurs,
}

impl Notifier {
    /// Prepares to tell the webhooks of `notify` what `outbox` holds. `holder` names this bastion among those that
    /// share the outbox. The process needs a default TLS provider.
    ///
    /// # Errors
    /// [`NotifyError::Client`], [`NotifyError::File`], [`NotifyError::Tls`].
    pub fn new(
        notify: &Arc<Notify>,
        outbox: &Arc<dyn Outbox>,
        clock: &Arc<dyn Clock>,
        holder: &str,
    ) -> Result<Self, NotifyError> {
        let way = |webhook: &Webhook| -> Result<Box<dyn Transport>, NotifyError> {
            Ok(Box::new(Http::new(webhook, Arc::clone(clock))?))
        };
        Self::over(notify, outbox, clock, holder, way)
    }

    pub(crate) fn over(
        notify: &Arc<Notify>,
        outbox: &Arc<dyn Outbox>,
        clock: &Arc<dyn Clock>,
        holder: &str,
        mut way: impl FnMut(&Webhook) -> Result<Box<dyn Transport>, NotifyError>,
    ) -> Result<Self, NotifyError> {
        let route = |(number, webhook)| {
            Ok(Route {
                notify: Arc::clone(notify),
                number,
                outbox: Arc::clone(outbox),
                clock: Arc::clone(clock),
                holder: holder.to_owned(),
                transport: way(webhook)?,
                counts: Arc::default(),
            })
        };
        let routes = notify.webhooks.iter().enumerate().map(route).collect::<Result<_, NotifyError>>()?;
        Ok(Self { routes })
    }

    /// The counts of each webhook, by its name.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, Arc<Counts>)> {
        self.routes.iter().map(|route| (route.webhook().name.clone(), Arc::clone(&route.counts))).collect()
    }

    /// Sends until `drain` is cancelled. `wake` changes when there may be something to tell; without that it is noticed
    /// within five seconds.
    pub async fn run(self, wake: watch::Receiver<u64>, drain: CancellationToken) {
        let mut tasks = JoinSet::new();
        for route in self.routes {
            let (wake, drain) = (wake.clone(), drain.clone());
            tasks.spawn(async move {
                // What an attempt has not finished is sent again, here or elsewhere: the cursor did not move.
                drain.run_until_cancelled(route.run(wake)).await;
            });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a sender of notifications broke off; its webhook is told nothing more");
            }
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.iter().map(Route::webhook)).finish()
    }
}

impl Counts {
    /// Messages that an endpoint took.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Attempts that failed and were to be repeated.
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Messages that were never taken.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }
}

impl Route {
    fn webhook(&self) -> &Webhook {
        &self.notify.webhooks[self.number]
    }

    async fn run(&self, mut wake: watch::Receiver<u64>) {
        loop {
            match self.round().await {
                Ok(Round::More) => continue,
                Ok(Round::Idle | Round::NotOurs) => {}
                Err(error) => {
                    let webhook = self.webhook().name.as_str();
                    tracing::warn!(webhook, error, "notifications wait: the store does not answer");
                }
            }
            let pause = tokio::time::sleep(POLL);
            tokio::select! {
                () = pause => {}
                Ok(()) = wake.changed() => {}
            }
        }
    }

    /// Tells what is next.
    async fn round(&self) -> Result<Round, String> {
        if !self.lease().await? {
            return Ok(Round::NotOurs);
        }
        let name = self.webhook().name.clone();
        let Some(mut told) = self.ask(move |outbox| outbox.cursor(&name)).await? else {
            // What happened before anyone wanted to hear of it is not told.
            let latest = self.ask(|outbox| outbox.latest()).await?;
            self.advance(None, latest).await?;
            return Ok(Round::More);
        };
        let Page { happened, seen } = self.ask(move |outbox| outbox.after(told, BATCH)).await?;
        if seen <= told {
            return Ok(Round::Idle);
        }
        for happening in happened.iter().filter(|happening| self.webhook().wants(happening.kind)) {
            if !self.deliver(happening).await? || !self.advance(Some(told), happening.seq).await? {
                return Ok(Round::NotOurs);
            }
            told = happening.seq;
        }
        if told < seen && !self.advance(Some(told), seen).await? {
            return Ok(Round::NotOurs);
        }
        Ok(Round::More)
    }

    /// Tries until the message is taken or given up. `false` when the lease went to another bastion meanwhile.
    async fn deliver(&self, happening: &Happening) -> Result<bool, String> {
        let message = Message::new(&self.notify, self.webhook(), happening);
        let webhook = self.webhook().name.as_str();
        for failed in 1.. {
            if !self.lease().await? {
                return Ok(false);
            }
            let attempt = tokio::time::timeout(ATTEMPT, self.transport.post(&message)).await;
            let (why, asked) = match attempt {
                Ok(Attempt::Delivered) => {
                    self.counts.delivered.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(webhook, id = message.id, "told");
                    return Ok(true);
                }
                Ok(Attempt::Refused { why }) => return Ok(self.give_up(&message, happening, &why)),
                Ok(Attempt::Later { why, asked }) => (why, asked),
                Err(_) => (format!("no answer within {} seconds", ATTEMPT.as_secs()), None),
            };
            if failed >= LEAST_ATTEMPTS && self.age(happening) > self.notify.retry_for {
                return Ok(self.give_up(&message, happening, &why));
            }
            self.counts.retried.fetch_add(1, Ordering::Relaxed);
            let pause = backoff::pause(failed, rand::random(), asked);
            tracing::warn!(
                webhook,
                id = message.id,
                failed,
                why,
                ?pause,
                "a notification failed; it is tried again"
            );
            if !self.sleep(pause).await? {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Says loudly that nobody will hear of it here.
    fn give_up(&self, message: &Message, happening: &Happening, why: &str) -> bool {
        self.counts.given_up.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            webhook = self.webhook().name.as_str(),
            id = message.id,
            event = happening.kind.as_str(),
            what = happening.matter.id,
            why,
            "a notification was given up; `portcullis requests` shows what waits"
        );
        true
    }

    /// Sleeps, and keeps the lease meanwhile.
    async fn sleep(&self, mut pause: Duration) -> Result<bool, String> {
        while pause > RENEW {
            tokio::time::sleep(RENEW).await;
            if !self.lease().await? {
                return Ok(false);
            }
            pause -= RENEW;
        }
        tokio::time::sleep(pause).await;
        Ok(true)
    }

    fn age(&self, happening: &Happening) -> Duration {
        self.clock.now().duration_since(happening.at).try_into().unwrap_or(Duration::ZERO)
    }

    async fn lease(&self) -> Result<bool, String> {
        let (name, holder, now) = (self.webhook().name.clone(), self.holder.clone(), self.clock.now());
        self.ask(move |outbox| outbox.lease(&name, &holder, now, LEASE)).await
    }

    async fn advance(&self, from: Option<u64>, to: u64) -> Result<bool, String> {
        let name = self.webhook().name.clone();
        self.ask(move |outbox| outbox.advance(&name, from, to)).await
    }

    /// Asks the outbox on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Outbox) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let outbox = Arc::clone(&self.outbox);
        let asked = tokio::task::spawn_blocking(move || question(outbox.as_ref())).await;
        asked.unwrap_or_else(|error| Err(format!("the outbox broke off: {error}")))
    }
}

#[cfg(test)]
mod tests;
