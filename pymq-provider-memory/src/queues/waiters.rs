//! Who waits at a queue, in order of arrival, and who is woken when.
//!
//! Two things hold whenever the lock of the queue is free, so that no wake-up is ever lost:
//!
//! 1. While messages are ready, a taker is awake, if there is one at all: woken, and yet to look at the queue.
//! 2. The first in line is awake, or has its alarm set no later than the next message becomes ready by itself.
//!
//! Each step on the queue restores both by waking at most one taker. A taker that leaves, served or dropped, is such a
//! step, so it wakes the next while anything is left.

use std::collections::BTreeMap;
use std::task::Waker;

use tokio::time::Instant;

/// The takers waiting at one queue.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    seats: BTreeMap<u64, Sitter>,
    next: u64,
    /// How many of them are awake.
    awake: usize,
}

#[derive(Debug, Default)]
struct Sitter {
    /// Absent while awake.
    waker: Option<Waker>,
    alarm: Option<Instant>,
}

impl Waiters {
    /// Adds a taker, awake, at the end of the line.
    pub(super) fn sit(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        self.seats.insert(number, Sitter::default());
        self.awake += 1;
        number
    }

    /// Lets a taker that found nothing sleep on in its place. Answers when it has to look again by itself: at the
    /// next event if it is the first in line, else never.
    pub(super) fn rest(
        &mut self,
        number: u64,
        waker: &Waker,
        next_event: Option<Instant>,
    ) -> Option<Instant> {
        let is_first = self
            .seats
            .first_key_value()
            .is_some_and(|(first, _)| *first == number);
        let sitter = self.seats.get_mut(&number)?;
        sitter.alarm = next_event.filter(|_| is_first);
        if sitter.waker.replace(waker.clone()).is_none() {
            self.awake -= 1;
        }
        sitter.alarm
    }

    /// Removes a taker.
    pub(super) fn leave(&mut self, number: u64) {
        if self
            .seats
            .remove(&number)
            .is_some_and(|sitter| sitter.waker.is_none())
        {
            self.awake -= 1;
        }
    }

    /// Returns who is to be woken, now that so many messages are ready and the next event is due then.
    pub(super) fn rouse(&mut self, ready: usize, next_event: Option<Instant>) -> Option<Waker> {
        let (_, first) = self.seats.iter_mut().next()?;
        let is_late = next_event.is_some_and(|next| first.alarm.is_none_or(|alarm| alarm > next));
        let roused = if first.waker.is_some() && (is_late || ready > self.awake) {
            first.waker.take()
        } else if ready > self.awake {
            self.seats
                .values_mut()
                .find_map(|sitter| sitter.waker.take())
        } else {
            None
        };
        self.awake += usize::from(roused.is_some());
        roused
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }
}
