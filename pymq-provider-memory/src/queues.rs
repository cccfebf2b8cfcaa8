//! Queues: each a pure state machine behind one short lock, and the takers that wait for it.
//!
//! A queue is in the table exactly while it is not idle: it holds something, or somebody waits. Every step on a queue
//! runs under its entry in the table or on behalf of a seated taker, and so never on a queue that has been removed.
//! Lock order: the table, then the queue.

mod state;
mod waiters;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker, ready};

use dashmap::DashMap;
use dashmap::mapref::one::Ref;
use pymq::provider::{
    Delivery, GetOptions, Part, PutOptions, QueueStats, Receipt, Redrive, Settle, Stored, Wait,
};
use pymq::{Error, ErrorKind, Message, Result};
use tokio::time::{Instant, sleep_until};

use self::state::{ONCE_WINDOW, State, later};
use self::waiters::Waiters;

/// The queues of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    table: DashMap<Arc<str>, Arc<Queue>>,
    /// Queues that remember a put-once id, by when they forget it: nothing else might look at them again.
    remembering: Mutex<VecDeque<(Instant, Arc<str>)>>,
}

/// A std mutex: the critical sections are a few moves, and never an await.
#[derive(Debug, Default)]
struct Queue(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: State,
    waiters: Waiters,
}

/// What is to be done after a step, outside the lock.
struct After {
    wake: Option<Waker>,
    is_idle: bool,
}

impl Queues {
    pub(crate) fn put(&self, name: &str, messages: Vec<Message>, opts: PutOptions) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        if opts.once.is_some() {
            self.forget_old_ids(name);
        }
        self.step(name, |state, now| state.put(messages, opts, now))
            .map_err(|kind| error(kind, "put to", name))
    }

    /// Takes what is there now.
    pub(crate) fn take(&self, name: &str, opts: &GetOptions) -> Vec<Delivery> {
        self.step_existing(name, |state, now| state.take(opts.max, opts.lease, now))
            .unwrap_or_default()
    }

    /// Waits as told for something to take.
    ///
    /// Cancel safe: a taker takes in the poll that returns what it took.
    pub(crate) async fn wait(&self, name: &str, opts: &GetOptions) -> Vec<Delivery> {
        let now = Instant::now();
        let deadline = match opts.wait {
            Wait::For(time) => Some(later(now, time)),
            Wait::Forever => None,
            _ => Some(now),
        };
        let seat = self.sit(name);
        let mut alarm = pin!(sleep_until(now));
        poll_fn(|cx| {
            loop {
                let next_event = match seat.take(opts, cx.waker()) {
                    Ok(taken) => return Poll::Ready(taken),
                    Err(next_event) => next_event,
                };
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return Poll::Ready(Vec::new());
                }
                let Some(wake_at) = next_event.into_iter().chain(deadline).min() else {
                    return Poll::Pending;
                };
                alarm.as_mut().reset(wake_at);
                ready!(alarm.as_mut().poll(cx));
            }
        })
        .await
    }

    pub(crate) fn settle(
        &self,
        name: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Vec<Result<()>> {
        let error = |kind| error(kind, "settle on", name);
        let count = settlements.len();
        let settle_all = |state: &mut State, now| {
            let results = settlements
                .into_iter()
                .map(|(receipt, settle)| state.settle(&receipt, settle, now));
            results.map(|result| result.map_err(error)).collect()
        };
        let lost = || {
            (0..count)
                .map(|_| Err(error(ErrorKind::LeaseLost)))
                .collect()
        };
        self.step_existing(name, settle_all).unwrap_or_else(lost)
    }

    pub(crate) fn peek(&self, name: &str, part: Part, max: usize) -> Vec<Stored> {
        self.step_existing(name, |state, _| state.peek(part, max))
            .unwrap_or_default()
    }

    pub(crate) fn redrive(&self, name: &str, which: Redrive) -> usize {
        self.step_existing(name, |state, _| state.redrive(which))
            .unwrap_or_default()
    }

    pub(crate) fn clear(&self, name: &str, part: Part) -> usize {
        self.step_existing(name, |state, _| state.clear(part))
            .unwrap_or_default()
    }

    pub(crate) fn stats(&self, name: &str) -> QueueStats {
        self.step_existing(name, |state, _| state.stats())
            .unwrap_or_default()
    }

    pub(crate) fn contents(&self) -> Vec<String> {
        let now = Instant::now();
        self.table.retain(|_, queue| !queue.is_idle(now));
        self.table
            .iter()
            .map(|entry| format!("queue `{}`", entry.key()))
            .collect()
    }

    /// Runs a step on a queue, which is created if need be.
    fn step<R>(&self, name: &str, step: impl FnOnce(&mut State, Instant) -> R) -> R {
        let queue = self.find_or_create(name);
        self.step_on(name, queue, step)
    }

    /// Runs a step on a queue unless it is idle anyway.
    fn step_existing<R>(
        &self,
        name: &str,
        step: impl FnOnce(&mut State, Instant) -> R,
    ) -> Option<R> {
        let queue = self.table.get(name)?;
        Some(self.step_on(name, queue, step))
    }

    fn step_on<R>(
        &self,
        name: &str,
        queue: Ref<'_, Arc<str>, Arc<Queue>>,
        step: impl FnOnce(&mut State, Instant) -> R,
    ) -> R {
        let (result, after) = queue.step(step);
        // Before the table is used again.
        drop(queue);
        self.finish(name, after);
        result
    }

    fn finish(&self, name: &str, after: After) {
        if let Some(waker) = after.wake {
            waker.wake();
        }
        if after.is_idle {
            self.forget(name);
        }
    }

    fn find_or_create(&self, name: &str) -> Ref<'_, Arc<str>, Arc<Queue>> {
        if let Some(queue) = self.table.get(name) {
            return queue;
        }
        self.table.entry(name.into()).or_default().downgrade()
    }

    /// Removes a queue, unless somebody came to use it since it was seen idle.
    fn forget(&self, name: &str) {
        self.table
            .remove_if(name, |_, queue| queue.is_idle(Instant::now()));
    }

    /// Notes that a queue is about to remember an id, and looks after those that may forget theirs.
    fn forget_old_ids(&self, name: &str) {
        let now = Instant::now();
        let mut remembering = self
            .remembering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let old = remembering
            .iter()
            .take_while(|(until, _)| *until <= now)
            .count();
        let old: Vec<_> = remembering.drain(..old).collect();
        remembering.push_back((later(now, ONCE_WINDOW), name.into()));
        drop(remembering);
        for (_, name) in old {
            self.forget(&name);
        }
    }

    /// Gives a taker its place in line.
    fn sit<'a>(&'a self, name: &'a str) -> Seat<'a> {
        let entry = self.find_or_create(name);
        // Under the entry: from here on the queue is not idle.
        let number = entry.lock().waiters.sit();
        Seat {
            queues: self,
            name,
            queue: Arc::clone(&entry),
            number,
        }
    }
}

impl Queue {
    /// Brings the state up to now, runs the step, and finds out whom it concerns.
    fn step<R>(&self, step: impl FnOnce(&mut State, Instant) -> R) -> (R, After) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.state.advance(now);
        let result = step(&mut inner.state, now);
        let after = inner.after();
        drop(inner);
        (result, after)
    }

    fn is_idle(&self, now: Instant) -> bool {
        let mut inner = self.lock();
        inner.state.advance(now);
        inner.is_idle()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn after(&mut self) -> After {
        let wake = self
            .waiters
            .rouse(self.state.ready(), self.state.next_event());
        After {
            wake,
            is_idle: self.is_idle(),
        }
    }

    fn is_idle(&self) -> bool {
        self.state.is_empty() && self.waiters.is_empty()
    }
}

/// The place in line of a taker that waits. Left on drop, and whatever the taker was woken for goes to the next.
struct Seat<'a> {
    queues: &'a Queues,
    name: &'a str,
    queue: Arc<Queue>,
    number: u64,
}

impl Seat<'_> {
    /// Takes what is there, or stays with this waker and answers by when to look again without being woken.
    fn take(&self, opts: &GetOptions, waker: &Waker) -> Result<Vec<Delivery>, Option<Instant>> {
        let now = Instant::now();
        let mut inner = self.queue.lock();
        inner.state.advance(now);
        let taken = inner.state.take(opts.max, opts.lease, now);
        if !taken.is_empty() {
            // Others hear of it when this seat is left.
            return Ok(taken);
        }
        let next_event = inner.state.next_event();
        Err(inner.waiters.rest(self.number, waker, next_event))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        inner.waiters.leave(self.number);
        let after = inner.after();
        drop(inner);
        self.queues.finish(self.name, after);
    }
}

fn error(kind: ErrorKind, operation: &str, name: &str) -> Error {
    Error::new(kind, format!("memory: {operation} `{name}`"))
}
