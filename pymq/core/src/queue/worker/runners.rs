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

/// There is one runner for so many quick items.
const QUICK_ITEMS_EACH: usize = 16;

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
    /// Hands out an item.
    pub(super) fn hand_out(&self, item: Ready) {
        self.lock().ready.push_back(item);
    }

    /// Returns how many runners to start, and counts them as started. There are at most `max`.
    ///
    /// There is one runner for each `running` item. `None` means that items are quick. Then there
    /// is one for each [`QUICK_ITEMS_EACH`] items that are ready, and one for each handler that
    /// waits.
    pub(super) fn start_missing(&self, running: Option<usize>, max: usize) -> usize {
        let mut state = self.lock();
        if state.ready.is_empty() {
            return 0;
        }
        let quick = state.waiting + state.ready.len().div_ceil(QUICK_ITEMS_EACH);
        let wanted = running.unwrap_or(quick);
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

    /// Takes the next item to begin. None if its lease may have ended: the loop knows.
    fn next(&self, now: Instant) -> Option<Ready> {
        let mut state = self.lock();
        let first = state.ready.front()?;
        if first.ends.is_some_and(|ends| ends <= now) {
            return None;
        }
        state.ready.pop_front()
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
        while !self.queue.tasks.is_closed()
            && let Some(item) = self.exchange.next(now)
        {
            let began = now;
            let is_done = self.work(item, began).await;
            if !is_done {
                return;
            }
            now = Instant::now();
            if now - woken >= MAX_GATHERING {
                woken = now;
                self.exchange.changed.notify_one();
                // The loop may be queued on this thread, behind this task.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Runs the handler on an item, and reports. Tells whether the item is done.
    async fn work(&self, item: Ready, began: Instant) -> bool {
        let name = Arc::clone(self.queue.name());
        let meta = ItemMeta::new(name, item.attempt, item.message.headers.clone());
        let mut report = Report::new(&self.exchange, item.ticket, item.message, began);
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
        let is_done = matches!(outcome, Outcome::Done);
        report.end(outcome);
        is_done
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.exchange.lock().runners -= 1;
        self.exchange.changed.notify_one();
    }
}
