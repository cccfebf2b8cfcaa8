//! The messages of a queue as a pure state machine: no lock, no task, and no time but a [`Now`].
//!
//! Call [`State::advance`] before each operation. The operations expect that due messages are
//! ready and that expired leases have ended. Each operation has a file of its own beside this one.

use std::collections::{BTreeMap, VecDeque};

use pymq_core::Message;
use pymq_core::provider::QueueStats;
use tokio::time::Instant;

use super::dead_letter::DeadLetter;
use super::leases::Leases;
use super::now::{Now, pop_due};
use super::once::OnceIds;

/// The messages of one queue, each in exactly one part.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) ready: VecDeque<Item>,
    /// By due time, then in the order of arrival.
    pub(super) delayed: BTreeMap<(Instant, u64), Item>,
    pub(super) leased: Leases,
    /// By number, which is the order of burial. The number is the id of the dead letter.
    pub(super) dead: BTreeMap<u64, DeadLetter>,
    pub(super) once: OnceIds,
}

/// A message in a queue.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) message: Message,
    /// How often the message has been taken.
    pub(super) attempt: u32,
}

impl State {
    /// Brings the queue up to date.
    ///
    /// Due messages join the back, earliest due time first. The messages of expired leases return
    /// to the front, earliest deadline first. Ids of `once` are removed after their window.
    pub(super) fn advance(&mut self, now: &Now) {
        while let Some(item) = pop_due(&mut self.delayed, now) {
            self.ready.push_back(item);
        }
        let expired = self.leased.end_expired(now);
        self.return_to_front(expired);
        self.once.remove_expired(now);
    }

    /// Returns when [`advance`](Self::advance) will next make a message ready.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let due = self.delayed.first_key_value().map(|((due, _), _)| *due);
        due.into_iter().chain(self.leased.next_deadline()).min()
    }

    /// Puts messages before the ready ones; the first of them is the next to be taken.
    pub(super) fn return_to_front(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.ready.push_front(item);
        }
    }

    /// Tells whether the queue holds neither a message nor an id of `once`.
    pub(super) fn is_empty(&self) -> bool {
        self.stats() == QueueStats::default() && self.once.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pymq_core::provider::{Part, PutOptions};

    use super::super::fixture::{LEASE, TestQueue, shown};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn expired_leases_return_to_the_front_in_order_with_their_attempt() {
        let mut queue = TestQueue::of(&["a", "b", "c"]);
        queue.lease(1);
        queue.lease(1);

        tokio::time::advance(LEASE).await;

        assert_eq!(
            queue.peek(Part::Ready),
            shown(&[("a", 1), ("b", 1), ("c", 0)])
        );
        assert_eq!(queue.lease(1)[0].attempt, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn due_messages_join_at_the_back_in_due_order() {
        let mut queue = TestQueue::default();
        let delay = |seconds| PutOptions::default().delay(Duration::from_secs(seconds));
        queue.put(&["late"], delay(3)).unwrap();
        queue.put(&["early", "early too"], delay(2)).unwrap();
        queue.put(&["now"], PutOptions::default()).unwrap();
        assert_eq!(queue.stats(), QueueStats::new(1, 3, 0, 0));

        tokio::time::advance(Duration::from_secs(3)).await;

        let expected = shown(&[("now", 0), ("early", 0), ("early too", 0), ("late", 0)]);
        assert_eq!(queue.peek(Part::Ready), expected);
        assert_eq!(queue.0.next_event(), None);
    }
}
