//! The tasks that wait at a queue, in order of arrival, and which of them is woken when.
//!
//! Two invariants hold whenever the lock of the queue is free, so that no wake-up is lost:
//!
//! 1. While messages are ready and tasks wait, at least one of them is awake: it was woken and has
//!    not looked at the queue yet.
//! 2. The first waiter is awake, or its timer fires no later than the next message becomes ready by
//!    itself.
//!
//! Each step on the queue restores both by waking at most one task. The removal of a waiter is such
//! a step: it wakes the next one while messages are left.

use std::collections::BTreeMap;
use std::task::Waker;

use tokio::time::Instant;

/// The tasks that wait at one queue.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Ids grow, so that the order of ids is the order of arrival.
    by_id: BTreeMap<u64, Waiter>,
    next_id: u64,
    /// How many of them are awake.
    awake: usize,
}

#[derive(Debug, Default)]
struct Waiter {
    /// `None` while the task is awake.
    waker: Option<Waker>,
    /// When the task looks at the queue again by itself.
    timer: Option<Instant>,
}

impl Waiters {
    /// Adds a task as the last one. The task is awake.
    pub(super) fn register(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.by_id.insert(id, Waiter::default());
        self.awake += 1;
        id
    }

    /// Records that a task found nothing and sleeps.
    ///
    /// Returns when the task has to look again by itself: at `next_event` if it is the first
    /// waiter, otherwise never.
    pub(super) fn suspend(
        &mut self,
        id: u64,
        waker: &Waker,
        next_event: Option<Instant>,
    ) -> Option<Instant> {
        let is_first = self
            .by_id
            .first_key_value()
            .is_some_and(|(first, _)| *first == id);
        let waiter = self.by_id.get_mut(&id)?;
        waiter.timer = next_event.filter(|_| is_first);
        if waiter.waker.replace(waker.clone()).is_none() {
            self.awake -= 1;
        }
        waiter.timer
    }

    pub(super) fn remove(&mut self, id: u64) {
        if self
            .by_id
            .remove(&id)
            .is_some_and(|waiter| waiter.waker.is_none())
        {
            self.awake -= 1;
        }
    }

    /// Returns the task to wake, for this number of ready messages and this next event.
    pub(super) fn next_to_wake(
        &mut self,
        ready: usize,
        next_event: Option<Instant>,
    ) -> Option<Waker> {
        let (_, first) = self.by_id.iter_mut().next()?;
        let is_late = next_event.is_some_and(|next| first.timer.is_none_or(|timer| timer > next));
        let waker = if first.waker.is_some() && (is_late || ready > self.awake) {
            first.waker.take()
        } else if ready > self.awake {
            self.by_id
                .values_mut()
                .find_map(|waiter| waiter.waker.take())
        } else {
            None
        };
        self.awake += usize::from(waker.is_some());
        waker
    }

    /// Marks all tasks as awake, and returns the wakers of those that were not.
    pub(super) fn wake_all(&mut self) -> impl Iterator<Item = Waker> {
        self.awake = self.by_id.len();
        self.by_id
            .values_mut()
            .filter_map(|waiter| waiter.waker.take())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
