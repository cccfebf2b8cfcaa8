//! The task of a worker: one loop that takes, begins and settles, and waits for the first event.
//!
//! It never waits for one thing alone. A take, a settlement and an extension may be under way at
//! the same time, at most one of each. What finishes while a settlement is under way goes together
//! in the next one. So acks gather where there are many. The ack of a lone item is sent at once.
//! While quick items follow each other, acks gather for up to 0.5 ms.
//!
//! Dropped at any point, it loses nothing: the bus knows every lease, and gives back those that are
//! left.

use std::error::Error as StdError;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::in_flight::InFlight;
use super::item::{Finished, ItemFn};
use super::ongoing::{Ongoing, at};
use super::outcome::Outcome;
use super::pace::{MAX_TAKEN_AHEAD, Pace};
use super::runners::{Demand, Exchange, Runner};
use super::settling::Settled;
use crate::client::{Alive, ConnectedQueue};
use crate::error::{ErrorKind, Result};
use crate::provider::{GetOptions, Wait};
use crate::queue::lease::Claim;
use crate::queue::taking::Claimed;
use crate::retry::{Backoff, MaxAttempts, RetryDelay};

/// An item that was taken ahead goes back if it has not begun after this time.
const MAX_WAIT_TO_BEGIN: Duration = Duration::from_millis(100);

/// How a worker works.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) handler: ItemFn,
    /// Where a failure happened, for the dead letter.
    pub(super) origin: String,
    pub(super) concurrency: usize,
    pub(super) retry_delay: RetryDelay,
    pub(super) max_attempts: MaxAttempts,
    pub(super) lease: Duration,
}

/// A worker that runs. It holds no handle of the bus, which its task would keep alive.
pub(super) struct Worker {
    pub(super) rules: Rules,
    pub(super) queue: Arc<ConnectedQueue>,
    alive: Arc<Alive>,
    pub(super) in_flight: InFlight<Claim>,
    pub(super) pace: Pace,
    /// How many items have failed here.
    pub(super) failures: u64,
    pub(super) is_stopping: bool,
    take: Ongoing<Result<Vec<Claimed>>>,
    /// When to take again after a take that failed or brought nothing.
    take_again: Option<Instant>,
    take_backoff: Backoff,
    /// The settlements and extensions that are with the provider.
    pub(super) settle: Ongoing<Settled>,
    /// Some of them may bring an item back to the front.
    pub(super) gives_back: bool,
    pub(super) settle_backoff: Backoff,
    exchange: Arc<Exchange>,
    /// Since when the first item waits that was handed out since the last recall.
    handed_out: Option<Instant>,
}

/// What a worker waits for.
enum Event {
    Stop,
    Settled(Settled),
    Taken(Result<Vec<Claimed>>),
    Finished,
    Alarm,
}

impl Worker {
    pub(super) fn new(rules: Rules, queue: Arc<ConnectedQueue>, alive: Arc<Alive>) -> Self {
        Self {
            in_flight: InFlight::new(rules.lease),
            rules,
            queue,
            alive,
            pace: Pace::default(),
            failures: 0,
            is_stopping: false,
            take: Ongoing::default(),
            take_again: None,
            take_backoff: Backoff::worker(),
            settle: Ongoing::default(),
            gives_back: false,
            settle_backoff: Backoff::worker(),
            exchange: Arc::default(),
            handed_out: None,
        }
    }

    /// Works until it is stopped and has nothing in flight.
    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.finish(now);
            self.begin(now);
            self.settle_due(now);
            self.take_more(now);
            if self.is_stopping && self.in_flight.is_empty() {
                return;
            }
            match self.next(now).await {
                Event::Stop => self.stop(),
                Event::Settled(settled) => self.settled(settled),
                Event::Taken(taken) => self.taken(taken),
                // What has finished at any event is settled at the start of the loop.
                Event::Finished => {}
                Event::Alarm => self.give_back_stale(),
            }
        }
    }

    /// Waits for the first event. Answers come before finished items, which may arrive without end.
    async fn next(&mut self, now: Instant) -> Event {
        let alarm = self.alarm(now);
        tokio::select! {
            biased;
            () = self.alive.stopped(&self.queue.tasks), if !self.is_stopping => Event::Stop,
            settled = self.settle.end() => Event::Settled(settled),
            taken = self.take.end() => Event::Taken(taken),
            () = self.exchange.changed() => Event::Finished,
            () = at(alarm) => Event::Alarm,
        }
    }

    /// Returns the next time at which something is due that no other event announces. A take that
    /// is due and has not begun waits for another event.
    fn alarm(&self, now: Instant) -> Option<Instant> {
        let settle = self.in_flight.next_due().filter(|_| self.settle.is_idle());
        let take = self.take_again.filter(|again| *again > now);
        [settle, take, self.stale_at()].into_iter().flatten().min()
    }

    /// Decides about the items that have finished.
    fn finish(&mut self, now: Instant) {
        let (finished, is_left) = self.exchange.take_finished();
        let is_done = |finished: &Finished| matches!(finished.outcome, Outcome::Done);
        if is_left || (self.keeps_order() && !finished.iter().all(is_done)) {
            // Before the decisions: if one item goes back to the front, these do too. The runner
            // begins none of them after an item that is not done.
            self.recall();
        }
        for finished in finished {
            self.classify(finished, now);
        }
    }

    /// Hands out items that wait: one for each free handler, or all while items are quick.
    fn begin(&mut self, now: Instant) {
        let demand = self.pace.items_each();
        let max = match demand {
            Some(_) => usize::MAX,
            None => self.rules.concurrency,
        };
        let mut handed_out = Vec::new();
        while self.in_flight.running() < max
            && let Some((ticket, begun)) = self.in_flight.begin(now)
        {
            let Some(ready) = begun else {
                let attempt = self.attempt(ticket);
                let queue = &**self.queue.name();
                tracing::debug!(queue, attempt, "a lease ended before its item began");
                self.lose(ticket);
                continue;
            };
            self.handed_out.get_or_insert(ready.since);
            handed_out.push(ready);
        }
        self.exchange.hand_out(handed_out);
        let demand = match demand {
            Some(items_each) => Demand::Quick { items_each },
            None => Demand::EachItem {
                running: self.in_flight.running(),
            },
        };
        let missing = self.exchange.start_missing(demand, self.rules.concurrency);
        for _ in 0..missing {
            let runner = Runner {
                exchange: Arc::clone(&self.exchange),
                queue: Arc::clone(&self.queue),
                handler: Arc::clone(&self.rules.handler),
            };
            drop(self.queue.tasks.spawn(runner.run()));
        }
    }

    /// Takes back the items that were handed out and have not begun. They wait as before. Tells
    /// whether there were any.
    pub(super) fn recall(&mut self) -> bool {
        self.handed_out = None;
        let ready = self.exchange.recall();
        let has_any = !ready.is_empty();
        for ready in ready.into_iter().rev() {
            self.in_flight.recall(ready);
        }
        has_any
    }

    /// Takes more when a handler is free and no item waits for it: one item for each free handler,
    /// and some ahead.
    ///
    /// So items taken ahead are not topped up while all handlers are busy, and a worker with slow
    /// items holds none that it does not work on.
    fn take_more(&mut self, now: Instant) {
        let free = self
            .rules
            .concurrency
            .saturating_sub(self.in_flight.running());
        let is_due = self.take_again.is_none_or(|again| again <= now);
        let is_free =
            self.in_flight.waiting_since().is_none() && !self.is_stopping && self.may_take();
        if !(is_due && is_free && self.take.is_idle()) {
            return;
        }
        let ahead = self.pace.look_ahead(self.rules.concurrency);
        let Some(max) = NonZeroUsize::new(free).map(|free| free.saturating_add(ahead)) else {
            return;
        };
        self.take_again = None;
        let (queue, lease) = (Arc::clone(&self.queue), self.rules.lease);
        let opts = GetOptions::default().max(max).wait(Wait::Forever);
        self.take
            .start(async move { queue.claim(None, lease, opts).await });
    }

    /// Tells whether the pending settlements allow another take. One handler keeps the order: what
    /// goes back to the front has to be there before the next take. An ack brings nothing back.
    /// Several handlers only keep settlements from piling up while the provider does not answer.
    fn may_take(&self) -> bool {
        if self.keeps_order() {
            self.in_flight.pending() == 0 && (self.settle.is_idle() || !self.gives_back)
        } else {
            self.in_flight.pending() < self.rules.concurrency + MAX_TAKEN_AHEAD
        }
    }

    pub(super) fn keeps_order(&self) -> bool {
        self.rules.concurrency == 1
    }

    fn taken(&mut self, taken: Result<Vec<Claimed>>) {
        match taken {
            Ok(claimed) if !claimed.is_empty() => {
                self.take_backoff = Backoff::worker();
                let now = Instant::now();
                for claimed in claimed {
                    self.add(claimed, now);
                }
                return;
            }
            Ok(_) => {}
            // The bus, the queue or the provider is closed: no more items come.
            Err(error) if error.kind() == ErrorKind::Closed => return self.stop(),
            Err(error) => {
                tracing::warn!(
                    queue = &**self.queue.name(),
                    error = &error as &dyn StdError,
                    "a worker cannot take"
                );
            }
        }
        self.take_again = Some(Instant::now() + self.take_backoff.next_wait());
    }

    fn add(&mut self, claimed: Claimed, now: Instant) {
        let Claimed {
            claim,
            message,
            attempt,
        } = claimed;
        let ticket = claim.ticket();
        self.in_flight.add(ticket, claim, message, attempt, now);
        if let Some(reason) = self.rules.max_attempts.bury_reason(attempt) {
            self.bury(ticket, attempt, reason, now);
        }
    }

    /// Returns when the items that wait go back if none of them has begun.
    fn stale_at(&self) -> Option<Instant> {
        let since = self.in_flight.waiting_since().or(self.handed_out)?;
        Some(since + MAX_WAIT_TO_BEGIN)
    }

    fn give_back_stale(&mut self) {
        let now = Instant::now();
        if self.stale_at().is_none_or(|at| at > now) {
            return;
        }
        if self.recall() {
            // A handler blocks its thread, so items are not quick now: each needs a runner.
            self.pace.note(MAX_WAIT_TO_BEGIN);
        }
        if self.stale_at().is_some_and(|at| at <= now) {
            self.in_flight.give_back_waiting(now);
        }
    }

    /// Takes and begins nothing more, and gives back what has not begun.
    fn stop(&mut self) {
        self.is_stopping = true;
        self.take.cancel();
        self.recall();
        let now = Instant::now();
        self.in_flight.give_back_waiting(now);
        self.in_flight.settle_now(now);
    }
}
