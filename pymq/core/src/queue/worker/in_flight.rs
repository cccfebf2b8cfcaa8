//! The items in flight: leased by this worker and not settled yet. Pure state: which items wait,
//! which run, and when each lease is settled or extended.
//!
//! `C` is the claim on an item, which this module only stores.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::runners::Ready;
use super::schedule::Schedule;
use crate::client::{ByTicket, Ticket};
use crate::message::Message;
use crate::provider::Settle;

#[derive(Debug)]
pub(super) struct InFlight<C> {
    lease: Duration,
    items: ByTicket<Item<C>>,
    /// The items that have not begun, in the order in which they were taken.
    waiting: VecDeque<Ticket>,
    /// How many handlers run. Some of them may have lost their lease.
    running: usize,
    /// The settlements that are not with the provider.
    settlements: Schedule,
    /// The extensions. Some of their items may be gone.
    extensions: Schedule,
}

/// An item and its lease.
#[derive(Debug)]
pub(super) struct Item<C> {
    pub(super) claim: C,
    pub(super) attempt: u32,
    pub(super) stage: Stage,
    /// When the lease ends, as far as this worker knows; `None` if no clock reaches that time.
    ends: Option<Instant>,
}

/// What happens to an item now.
#[derive(Debug)]
pub(super) enum Stage {
    /// It waits for a handler since that time.
    Waiting(Message, Instant),
    /// Its handler runs.
    Running,
    /// Its outcome is known.
    Settling(PendingSettlement),
}

/// A settlement to which the provider has not answered.
#[derive(Debug)]
pub(super) struct PendingSettlement {
    pub(super) settle: Settle,
    /// Whether it was sent before and may have been made.
    pub(super) is_unsure: bool,
}

impl<C> InFlight<C> {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            items: ByTicket::default(),
            waiting: VecDeque::new(),
            running: 0,
            settlements: Schedule::default(),
            extensions: Schedule::default(),
        }
    }

    /// Adds an item that waits for a handler.
    pub(super) fn add(
        &mut self,
        ticket: Ticket,
        claim: C,
        message: Message,
        attempt: u32,
        now: Instant,
    ) {
        let item = Item {
            claim,
            attempt,
            stage: Stage::Waiting(message, now),
            ends: now.checked_add(self.lease),
        };
        self.items.insert(ticket, item);
        self.waiting.push_back(ticket);
        self.extend_at(ticket, now.checked_add(self.extension_interval()));
    }

    /// Begins the item that has waited longest. Returns `None` in place of the item if its lease
    /// has ended.
    pub(super) fn begin(&mut self, now: Instant) -> Option<(Ticket, Option<Ready>)> {
        let ticket = self.waiting.pop_front()?;
        let item = self.items.get_mut(&ticket)?;
        if item.ends.is_some_and(|ends| ends <= now) {
            return Some((ticket, None));
        }
        let Stage::Waiting(message, since) = std::mem::replace(&mut item.stage, Stage::Running)
        else {
            return None;
        };
        self.running += 1;
        let ready = Ready {
            ticket,
            message,
            attempt: item.attempt,
            since,
            ends: item.ends,
        };
        Some((ticket, Some(ready)))
    }

    /// Notes that an item which was to begin has not begun. It is the first that waits again,
    /// unless its lease has ended.
    pub(super) fn recall(&mut self, ready: Ready) {
        self.running -= 1;
        if let Some(item) = self.items.get_mut(&ready.ticket) {
            item.stage = Stage::Waiting(ready.message, ready.since);
            self.waiting.push_front(ready.ticket);
        }
    }

    /// Notes that a handler has ended. Returns the attempt of an item that is now to be settled, or
    /// `None` if its lease was lost.
    pub(super) fn finish(&mut self, ticket: Ticket) -> Option<u32> {
        self.running -= 1;
        self.items.get(&ticket).map(|item| item.attempt)
    }

    /// Settles an item at a time. It does not begin any more.
    pub(super) fn settle(&mut self, ticket: Ticket, settle: Settle, at: Instant) {
        if let Some(item) = self.items.get_mut(&ticket) {
            let pending = PendingSettlement {
                settle,
                is_unsure: false,
            };
            if let Stage::Waiting(..) = std::mem::replace(&mut item.stage, Stage::Settling(pending))
            {
                self.waiting.retain(|waiting| *waiting != ticket);
            }
            self.settlements.add(at, ticket);
        }
    }

    /// Repeats a settlement that failed. `is_unsure` tells that it may have been made.
    pub(super) fn settle_again(&mut self, ticket: Ticket, is_unsure: bool, at: Instant) {
        if let Some(item) = self.items.get_mut(&ticket)
            && let Stage::Settling(pending) = &mut item.stage
        {
            pending.is_unsure |= is_unsure;
            self.settlements.add(at, ticket);
        }
    }

    /// Gives back the items that wait, in the order in which they were taken.
    pub(super) fn give_back_waiting(&mut self, now: Instant) {
        for ticket in std::mem::take(&mut self.waiting) {
            self.settle(ticket, Settle::Release, now);
        }
    }

    /// Makes all settlements due.
    pub(super) fn settle_now(&mut self, now: Instant) {
        self.settlements.make_due(now);
    }

    /// Takes what is to be sent in one call: first the settlements that are due, in the order in
    /// which they became due, then the extensions.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(Ticket, Settle)> {
        let mut due = Vec::new();
        for ticket in self.settlements.take_due(now) {
            if let Some(item) = self.items.get(&ticket)
                && let Stage::Settling(pending) = &item.stage
            {
                due.push((ticket, pending.settle.clone()));
            }
        }
        let extend = Settle::Extend { lease: self.lease };
        let extensions = self.extensions.take_due(now);
        let extensions = extensions.filter(|ticket| self.items.contains_key(ticket));
        due.extend(extensions.map(|ticket| (ticket, extend.clone())));
        due
    }

    /// Returns the time of the next settlement or extension.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let next = [self.settlements.next(), self.extensions.next()];
        next.into_iter().flatten().min()
    }

    /// Notes that a lease was extended by a call that began at `sent`.
    pub(super) fn extended(&mut self, ticket: Ticket, sent: Instant) {
        if let Some(item) = self.items.get_mut(&ticket) {
            item.ends = sent.checked_add(self.lease);
            self.extend_at(ticket, sent.checked_add(self.extension_interval()));
        }
    }

    /// Schedules an extension; not if no clock reaches that time.
    pub(super) fn extend_at(&mut self, ticket: Ticket, at: Option<Instant>) {
        let Some(at) = at else { return };
        // Most items are settled long before their first extension, in about the order in which
        // they were taken.
        self.extensions
            .drop_first_while(|ticket| !self.items.contains_key(&ticket));
        self.extensions.add(at, ticket);
        if self.extensions.len() > 2 * self.items.len() + 64 {
            self.extensions
                .retain(|ticket| self.items.contains_key(&ticket));
        }
    }

    /// Returns an item, unless it is settled or its lease has ended.
    pub(super) fn get(&self, ticket: Ticket) -> Option<&Item<C>> {
        self.items.get(&ticket)
    }

    /// Removes an item after the answer to its settlement.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Item<C>> {
        self.items.remove(&ticket)
    }

    /// Removes an item after the end of its lease, in any stage. Its handler may still run.
    pub(super) fn lose(&mut self, ticket: Ticket) -> Option<Item<C>> {
        self.waiting.retain(|waiting| *waiting != ticket);
        self.settlements.retain(|pending| pending != ticket);
        self.items.remove(&ticket)
    }

    /// Returns when the lease of an item ends, as far as this worker knows; `None` is never.
    pub(super) fn ends(&self, ticket: Ticket) -> Option<Instant> {
        self.items.get(&ticket)?.ends
    }

    /// Returns the time since which the first item waits.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        match self.items.get(self.waiting.front()?)?.stage {
            Stage::Waiting(_, since) => Some(since),
            _ => None,
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Counts the settlements that are not with the provider.
    pub(super) fn pending(&self) -> usize {
        self.settlements.len()
    }

    /// Tells whether no lease is held and no handler runs.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.running == 0
    }

    /// A third of the lease: an extension may fail and be repeated before the lease ends.
    fn extension_interval(&self) -> Duration {
        (self.lease / 3).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn in_flight(tickets: std::ops::Range<Ticket>, now: Instant) -> InFlight<()> {
        let mut in_flight = InFlight::new(LEASE);
        for ticket in tickets {
            in_flight.add(ticket, (), Message::json("1"), 1, now);
        }
        in_flight
    }

    fn tickets(due: &[(Ticket, Settle)]) -> Vec<Ticket> {
        due.iter().map(|(ticket, _)| *ticket).collect()
    }

    #[test]
    fn leases_are_extended_every_third_whether_their_items_wait_or_run() {
        let start = Instant::now();
        let mut in_flight = in_flight(0..3, start);
        in_flight.begin(start);

        assert_eq!(in_flight.next_due(), Some(start + LEASE / 3));
        assert!(in_flight.take_due(start + LEASE / 4).is_empty());
        let due = in_flight.take_due(start + LEASE / 3);

        let extend = Settle::Extend { lease: LEASE };
        assert_eq!(due, [0, 1, 2].map(|ticket| (ticket, extend.clone())));
        assert_eq!(in_flight.next_due(), None, "they are under way");
        in_flight.extended(1, start + LEASE / 3);
        assert_eq!(in_flight.ends(1), Some(start + LEASE / 3 + LEASE));
        assert_eq!(in_flight.ends(2), Some(start + LEASE));
        assert_eq!(in_flight.next_due(), Some(start + LEASE / 3 * 2));
    }

    #[test]
    fn what_is_settled_or_lost_is_not_extended() {
        let start = Instant::now();
        let mut in_flight = in_flight(0..4, start);
        in_flight.begin(start);
        in_flight.begin(start);

        assert!(in_flight.lose(0).is_some(), "it runs");
        assert!(in_flight.lose(0).is_none());
        assert_eq!(in_flight.finish(1), Some(1));
        in_flight.settle(1, Settle::Ack, start);
        assert_eq!(in_flight.take_due(start), [(1, Settle::Ack)]);
        assert!(in_flight.remove(1).is_some());
        assert!(in_flight.lose(2).is_some(), "it waits");

        assert_eq!(tickets(&in_flight.take_due(start + LEASE)), [3]);
        assert_eq!(in_flight.finish(0), None, "it was lost");
        assert_eq!((in_flight.running(), in_flight.items.len()), (0, 1));
        assert_eq!(in_flight.begin(start).map(|(ticket, _)| ticket), Some(3));
    }

    #[test]
    fn a_handler_without_its_lease_is_in_flight_until_it_ends() {
        let start = Instant::now();
        let mut in_flight = in_flight(0..1, start);
        in_flight.begin(start);
        in_flight.lose(0);

        assert!(!in_flight.is_empty());
        in_flight.finish(0);
        assert!(in_flight.is_empty());
    }

    #[test]
    fn nothing_begins_when_its_lease_has_ended() {
        let start = Instant::now();
        let mut in_flight = in_flight(0..1, start);

        let begun = in_flight.begin(start + LEASE);

        assert!(matches!(begun, Some((0, None))));
        assert_eq!(in_flight.running(), 0);
    }

    #[test]
    fn what_is_recalled_waits_first_and_in_order_unless_it_was_lost() {
        let now = Instant::now();
        let mut in_flight = in_flight(0..4, now);
        let first_three = [0; 3].map(|_| in_flight.begin(now).unwrap().1.unwrap());
        in_flight.lose(1);

        for ready in first_three.into_iter().rev() {
            in_flight.recall(ready);
        }

        assert_eq!(in_flight.running(), 0);
        let begin = |_| in_flight.begin(now + LEASE / 2).map(|(ticket, _)| ticket);
        assert_eq!([0; 4].map(begin), [Some(0), Some(2), Some(3), None]);
    }

    #[test]
    fn what_is_due_goes_together_and_in_order() {
        let now = Instant::now();
        let mut in_flight = in_flight(0..5, now);
        in_flight.begin(now);
        let nack = Settle::Nack {
            delay: Duration::ZERO,
        };
        in_flight.finish(0);
        in_flight.settle(0, nack, now);
        in_flight.settle(3, Settle::Ack, now + LEASE / 6);
        in_flight.give_back_waiting(now);

        assert_eq!(in_flight.waiting_since(), None);
        assert_eq!(tickets(&in_flight.take_due(now)), [0, 1, 2, 4]);
        assert_eq!((in_flight.pending(), in_flight.take_due(now).len()), (1, 0));
        in_flight.settle_now(now);
        assert_eq!(tickets(&in_flight.take_due(now)), [3]);
        assert_eq!(in_flight.pending(), 0);
    }

    #[test]
    fn a_settlement_that_fails_is_due_again_until_its_lease_is_lost() {
        let now = Instant::now();
        let mut in_flight = in_flight(0..1, now);
        in_flight.begin(now);
        in_flight.finish(0);
        in_flight.settle(0, Settle::Ack, now);
        in_flight.take_due(now);

        in_flight.settle_again(0, true, now + LEASE / 6);
        assert_eq!(in_flight.next_due(), Some(now + LEASE / 6));
        in_flight.take_due(now + LEASE / 6);
        in_flight.settle_again(0, false, now + LEASE / 5);
        let lost = in_flight.lose(0).unwrap();

        assert!(matches!(lost.stage, Stage::Settling(pending) if pending.is_unsure));
        assert_eq!(in_flight.pending(), 0);
    }

    #[test]
    fn the_schedule_stays_as_short_as_what_is_in_flight() {
        let start = Instant::now();
        let mut in_flight = in_flight(0..1, start);
        for ticket in 1..10_000 {
            in_flight.add(ticket, (), Message::json("1"), 1, start);
            in_flight.lose(ticket);
        }

        let scheduled = in_flight.extensions.len();
        assert!(scheduled < 200, "{scheduled}");
        assert_eq!(tickets(&in_flight.take_due(start + LEASE)), [0]);
    }

    #[test]
    fn an_endless_lease_ends_at_no_time() {
        let start = Instant::now();
        let mut in_flight = InFlight::new(Duration::MAX);
        in_flight.add(0, (), Message::json("1"), 1, start);

        assert_eq!(in_flight.ends(0), None);
    }
}
