//! The tasks that run the handler, and what they share with the loop of the worker.
//!
//! A runner works on one item after the other, as long as items are handed out and each is done. So
//! quick items cost neither a task nor a wake-up each. The loop hands out more items than there are
//! handlers only while items are quick. It can recall each item that has not begun.
//!
//! A runner wakes the loop when it ends, when its handler has to wait while there is something for
//! the loop to do, and after [`MAX_GATHERING`]. If a handler blocks its thread, the loop finds what
//! has ended at its next event, at the latest when the items handed out are stale.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::item::{Finished, ItemFn, ItemMeta, Report};
use super::outcome::Outcome;
use crate::client::{ConnectedQueue, Ticket};
use crate::isolation::catch_panic;
use crate::message::Message;

/// A runner wakes the loop at the latest after this time, so that finished items are settled.
const MAX_GATHERING: Duration = Duration::from_micros(500);

/// An item that a runner may begin.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) ticket: Ticket,
    pub(super) message: Message,
    pub(super) attempt: u32,
    /// Since when it waits.
    pub(super) since: Instant,
    /// When its lease ends, if it is not extended; `None` is never.
    pub(super) ends: Option<Instant>,
}

/// How many runners are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Demand {
    /// One for each item that has been handed out and has not finished.
    EachItem { running: usize },
    /// One for so many quick items that are ready, and one for each handler that waits.
    Quick { items_each: usize },
}

/// What the loop of a worker and its runners share.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// A std mutex: the critical sections move an item, never an await and never user code.
    state: Mutex<State>,
    /// Wakes the loop.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Ready>,
    finished: Vec<Finished>,
    runners: usize,
    /// How many runners have a handler that waits.
    waiting: usize,
}

impl Exchange {
    /// Hands out items, in order.
    pub(super) fn hand_out(&self, items: Vec<Ready>) {
        if !items.is_empty() {
            self.lock().ready.extend(items);
        }
    }

    /// Returns how many runners to start, and counts them as started. There are at most `max`.
    pub(super) fn start_missing(&self, demand: Demand, max: usize) -> usize {
        let mut state = self.lock();
        if state.ready.is_empty() {
            return 0;
        }
        let wanted = match demand {
            Demand::EachItem { running } => running,
            Demand::Quick { items_each } => state.waiting + state.ready.len().div_ceil(items_each),
        };
        let missing = wanted.min(max).saturating_sub(state.runners);
        state.runners += missing;
        missing
    }

    /// Resolves when there is something for the loop to do.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes what has finished, and tells whether items are left that no runner begins.
    pub(super) fn take_finished(&self) -> (Vec<Finished>, bool) {
        let mut state = self.lock();
        let is_left = state.runners == 0 && !state.ready.is_empty();
        (std::mem::take(&mut state.finished), is_left)
    }

    /// Takes back the items that have not begun, in order.
    pub(super) fn recall(&self) -> VecDeque<Ready> {
        std::mem::take(&mut self.lock().ready)
    }

    /// Notes the end of an item.
    pub(super) fn finish(&self, finished: Finished) {
        let is_done = matches!(finished.outcome, Outcome::Done);
        self.lock().finished.push(finished);
        if !is_done {
            self.changed.notify_one();
        }
    }

    /// Notes the end of an item that is done, and takes the next one to begin.
    fn finish_and_take(&self, done: Finished, now: Instant) -> Option<Ready> {
        let mut state = self.lock();
        state.finished.push(done);
        state.take_ready(now)
    }

    /// Notes that a handler waits. Other runners begin the items that are ready meanwhile.
    fn begin_wait(&self) {
        let mut state = self.lock();
        state.waiting += 1;
        if !state.ready.is_empty() || !state.finished.is_empty() {
            self.changed.notify_one();
        }
    }

    fn end_wait(&self) {
        self.lock().waiting -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the next item to begin. None if its lease may have ended: the loop knows.
    fn take_ready(&mut self, now: Instant) -> Option<Ready> {
        let first = self.ready.front()?;
        if first.ends.is_some_and(|ends| ends <= now) {
            return None;
        }
        self.ready.pop_front()
    }
}

/// A runner. [`Exchange::start_missing`] has counted it. Dropped, it is counted out, and the loop
/// is woken.
pub(super) struct Runner {
    pub(super) exchange: Arc<Exchange>,
    pub(super) queue: Arc<ConnectedQueue>,
    pub(super) handler: ItemFn,
}

impl Runner {
    /// Works on items until none is ready, one is not done, or the bus takes no new work.
    pub(super) async fn run(self) {
        let mut now = Instant::now();
        let mut woken = now;
        let mut next = self.next(now);
        while let Some(item) = next {
            let finished = self.work(item, now).await;
            now += finished.took;
            if !matches!(finished.outcome, Outcome::Done) {
                return self.exchange.finish(finished);
            }
            if now - woken >= MAX_GATHERING {
                woken = now;
                self.exchange.finish(finished);
                self.exchange.changed.notify_one();
                // The loop may be queued on this thread, behind this task. No item is held
                // meanwhile, so that the loop can recall all that have not begun.
                tokio::task::yield_now().await;
                now = Instant::now();
                next = self.next(now);
            } else if self.queue.tasks.is_closed() {
                return self.exchange.finish(finished);
            } else {
                next = self.exchange.finish_and_take(finished, now);
            }
        }
    }

    /// Takes the next item to begin, unless the bus takes no new work.
    fn next(&self, now: Instant) -> Option<Ready> {
        if self.queue.tasks.is_closed() {
            return None;
        }
        self.exchange.lock().take_ready(now)
    }

    /// Runs the handler on an item.
    async fn work(&self, item: Ready, began: Instant) -> Finished {
        let name = Arc::clone(self.queue.name());
        let meta = ItemMeta::new(name, item.attempt, item.message.headers.clone());
        let report = Report::new(&self.exchange, item.ticket, item.message, began);
        let outcome = {
            let mut working = pin!(catch_panic(|| (self.handler)(report.message(), meta)));
            let mut waits = false;
            let outcome = poll_fn(|cx| {
                let poll = working.as_mut().poll(cx);
                if poll.is_pending() && !waits {
                    waits = true;
                    self.exchange.begin_wait();
                }
                poll
            })
            .await;
            if waits {
                self.exchange.end_wait();
            }
            outcome.unwrap_or_else(Outcome::Panicked)
        };
        report.end(outcome, Instant::now())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.exchange.lock().runners -= 1;
        self.exchange.changed.notify_one();
    }
}
