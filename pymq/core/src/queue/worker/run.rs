//! The task of a worker: one loop that takes, begins, settles and extends, and waits for what comes first.
//!
//! It never waits for one thing alone: a take, a settlement and an extension are under way beside each other, at most one of
//! each. What finishes while a settlement is under way is settled together by the next, so that acks gather by themselves
//! where there are many, and a lone one goes at once.
//!
//! Dropped at any point it loses nothing: every lease is among those of the bus, which gives back what is left.

use std::error::Error as StdError;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::hands::Hands;
use super::item::{Finished, ItemFn, ItemMeta, Report, work};
use super::ongoing::{Ongoing, at};
use super::outbox::Outbox;
use super::pace::{MOST_AHEAD, Pace};
use super::settling::{Extended, Settled};
use super::source::Source;
use crate::client::Alive;
use crate::client::HeldLeases;
use crate::error::{ErrorKind, Result};
use crate::provider::{Delivery, Settle};
use crate::retry::{Backoff, MaxAttempts, RetryDelay};

/// What was taken ahead and has not begun after this time goes back, for others.
const PATIENCE: Duration = Duration::from_millis(100);

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

/// A worker at work.
pub(super) struct Worker {
    pub(super) rules: Rules,
    pub(super) source: Source,
    pub(super) leases: Arc<HeldLeases>,
    alive: Arc<Alive>,
    pub(super) hands: Hands,
    pub(super) outbox: Outbox,
    pub(super) pace: Pace,
    /// How many items have failed here.
    pub(super) failures: u64,
    pub(super) is_stopping: bool,
    take: Ongoing<Result<Vec<Delivery>>>,
    /// After a take that was refused: when to try again, and how long to wait then.
    take_again: Option<Instant>,
    refused: Backoff,
    pub(super) settle: Ongoing<Settled>,
    pub(super) extend: Ongoing<Extended>,
    finish: UnboundedSender<Finished>,
    finished: UnboundedReceiver<Finished>,
}

/// What a worker waits for.
enum Event {
    Stop,
    Settled(Settled),
    Extended(Extended),
    Taken(Result<Vec<Delivery>>),
    Finished(Finished),
    Alarm,
}

impl Worker {
    pub(super) fn new(
        rules: Rules,
        source: Source,
        leases: Arc<HeldLeases>,
        alive: Arc<Alive>,
    ) -> Self {
        let (finish, finished) = unbounded_channel();
        Self {
            hands: Hands::new(rules.lease),
            rules,
            source,
            leases,
            alive,
            outbox: Outbox::default(),
            pace: Pace::default(),
            failures: 0,
            is_stopping: false,
            take: Ongoing::default(),
            take_again: None,
            refused: Backoff::worker(),
            settle: Ongoing::default(),
            extend: Ongoing::default(),
            finish,
            finished,
        }
    }

    /// Works until it is stopped and has nothing in hand any more.
    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.begin(now);
            self.settle_due(now);
            self.extend_due(now);
            self.take_more(now);
            if self.is_stopping && self.hands.is_empty() {
                return;
            }
            match self.next(now).await {
                Event::Stop => self.stop(),
                Event::Settled(settled) => self.settled(settled),
                Event::Extended(extended) => self.extended(extended),
                Event::Taken(taken) => self.taken(taken),
                Event::Finished(finished) => {
                    self.judge(finished);
                    // What is ready at the same time is settled at the same time.
                    while let Ok(finished) = self.finished.try_recv() {
                        self.judge(finished);
                    }
                }
                Event::Alarm => self.put_back_the_stale(),
            }
        }
    }

    /// Waits for what comes first. Answers before finished items, as these can come one after the other without end.
    async fn next(&mut self, now: Instant) -> Event {
        let alarm = self.alarm(now);
        tokio::select! {
            biased;
            () = self.alive.stopped(&self.source.tasks), if !self.is_stopping => Event::Stop,
            settled = self.settle.end() => Event::Settled(settled),
            extended = self.extend.end() => Event::Extended(extended),
            taken = self.take.end() => Event::Taken(taken),
            Some(finished) = self.finished.recv() => Event::Finished(finished),
            () = at(alarm) => Event::Alarm,
        }
    }

    /// Returns when there is something to do that nothing else wakes for. A take that is due by now and was not begun waits
    /// for something else.
    fn alarm(&self, now: Instant) -> Option<Instant> {
        let settle = self.outbox.next().filter(|_| self.settle.is_idle());
        let extend = self
            .hands
            .next_extension()
            .filter(|_| self.extend.is_idle());
        let take = self.take_again.filter(|again| *again > now);
        let stale = self.hands.waiting_since().map(|since| since + PATIENCE);
        [settle, extend, take, stale].into_iter().flatten().min()
    }

    /// Begins what waits, while handlers are free.
    fn begin(&mut self, now: Instant) {
        while self.hands.running() < self.rules.concurrency
            && let Some((ticket, begun)) = self.hands.begin(now)
        {
            let Some((message, attempt)) = begun else {
                tracing::debug!(
                    queue = &**self.source.queue(),
                    attempt = self.hands.attempt(ticket),
                    "a lease was over before its item began"
                );
                self.forget(ticket);
                continue;
            };
            let meta = ItemMeta::new(
                Arc::clone(self.source.queue()),
                attempt,
                message.headers.clone(),
            );
            let report = Report::new(self.finish.clone(), ticket, message);
            let handler = Arc::clone(&self.rules.handler);
            drop(self.source.tasks.spawn(work(handler, meta, report)));
        }
    }

    /// Takes more when a handler is free and nothing waits for it: one for each that is free, and some ahead.
    ///
    /// So what is taken ahead is never topped up while all handlers are busy, and a worker with slow items has none that it
    /// does not work on.
    fn take_more(&mut self, now: Instant) {
        let free = self.rules.concurrency - self.hands.running();
        let is_due = self.take_again.is_none_or(|again| again <= now);
        let is_free = self.hands.waiting_since().is_none() && !self.is_stopping && self.may_take();
        if !(is_due && is_free && self.take.is_idle()) {
            return;
        }
        let ahead = self.pace.look_ahead(self.rules.concurrency);
        if let Some(max) = NonZeroUsize::new(free).map(|free| free.saturating_add(ahead)) {
            self.take_again = None;
            self.take
                .start(self.source.clone().take(max, self.rules.lease));
        }
    }

    /// Tells whether what is to be settled allows another take. With one handler the order is kept: what goes back to the
    /// front has to be there first. Else it is only kept from piling up while the provider does not answer.
    fn may_take(&self) -> bool {
        if self.keeps_order() {
            self.outbox.is_empty() && self.settle.is_idle()
        } else {
            self.outbox.len() < self.rules.concurrency + MOST_AHEAD
        }
    }

    pub(super) fn keeps_order(&self) -> bool {
        self.rules.concurrency == 1
    }

    fn taken(&mut self, taken: Result<Vec<Delivery>>) {
        match taken {
            Ok(deliveries) if !deliveries.is_empty() => {
                self.refused = Backoff::worker();
                let now = Instant::now();
                for delivery in deliveries {
                    self.take_up(delivery, now);
                }
                return;
            }
            Ok(_) => {}
            // By this bus or under it; either way there is nothing to come.
            Err(error) if error.kind() == ErrorKind::Closed => return self.stop(),
            Err(error) => {
                tracing::warn!(
                    queue = &**self.source.queue(),
                    error = &error as &dyn StdError,
                    "a worker cannot take"
                );
            }
        }
        self.take_again = Some(Instant::now() + self.refused.next_wait());
    }

    fn take_up(&mut self, delivery: Delivery, now: Instant) {
        let Some(receipt) = delivery.receipt else {
            tracing::error!(
                queue = &**self.source.queue(),
                attempt = delivery.attempt,
                "the provider leased an item without a receipt"
            );
            return;
        };
        let ticket = self.leases.hold(self.source.queue(), receipt.clone());
        let attempt = delivery.attempt;
        let Some(reason) = self.rules.max_attempts.bury_reason(attempt) else {
            self.hands
                .take_up(ticket, receipt, delivery.message, attempt, now);
            return;
        };
        self.hands.take_up_judged(ticket, receipt, attempt, now);
        self.bury(ticket, attempt, reason, now);
    }

    fn put_back_the_stale(&mut self) {
        let now = Instant::now();
        let since = self.hands.waiting_since();
        if since.is_some_and(|since| since + PATIENCE <= now) {
            self.put_back_waiting(now);
        }
    }

    pub(super) fn put_back_waiting(&mut self, now: Instant) {
        for ticket in self.hands.put_aside() {
            self.outbox.put(ticket, Settle::Release, now);
        }
    }

    /// Takes and begins nothing more, and gives back what has not begun.
    fn stop(&mut self) {
        self.is_stopping = true;
        self.take.give_up();
        let now = Instant::now();
        self.put_back_waiting(now);
        self.outbox.hurry(now);
    }
}
