//! The items in flight: leased by this worker and not settled yet. Pure state: which items wait,
//! which run, and when each lease is extended.
//!
//! `C` is the claim on an item, which this module only stores.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Ticket;
use crate::message::Message;

#[derive(Debug)]
pub(super) struct InFlight<C> {
    lease: Duration,
    items: HashMap<Ticket, Item<C>>,
    /// The items that have not begun, in the order in which they were taken.
    waiting: VecDeque<Ticket>,
    /// How many handlers run. Some of them may have lost their lease.
    running: usize,
    /// Leases by the time of their next extension, earliest first. Some of the items may be gone.
    extensions: VecDeque<(Instant, Ticket)>,
}

/// An item whose lease is held.
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
    /// Its outcome is known, and its settlement is pending or sent.
    Settling,
}

impl<C> InFlight<C> {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            items: HashMap::new(),
            waiting: VecDeque::new(),
            running: 0,
            extensions: VecDeque::new(),
        }
    }

    /// Adds an item that waits for a handler.
    pub(super) fn add_waiting(
        &mut self,
        ticket: Ticket,
        claim: C,
        message: Message,
        attempt: u32,
        now: Instant,
    ) {
        self.waiting.push_back(ticket);
        self.add(ticket, claim, attempt, Stage::Waiting(message, now), now);
    }

    /// Adds an item that is only to be settled.
    pub(super) fn add_settling(&mut self, ticket: Ticket, claim: C, attempt: u32, now: Instant) {
        self.add(ticket, claim, attempt, Stage::Settling, now);
    }

    fn add(&mut self, ticket: Ticket, claim: C, attempt: u32, stage: Stage, now: Instant) {
        let item = Item {
            claim,
            attempt,
            stage,
            ends: now.checked_add(self.lease),
        };
        self.items.insert(ticket, item);
        self.extend_at(ticket, now.checked_add(self.extension_interval()));
    }

    /// Begins the item that has waited longest. Returns its message and attempt, or `None` in place
    /// of them if its lease has ended.
    pub(super) fn begin(&mut self, now: Instant) -> Option<(Ticket, Option<(Message, u32)>)> {
        let ticket = self.waiting.pop_front()?;
        let item = self.items.get_mut(&ticket)?;
        if item.ends.is_some_and(|ends| ends <= now) {
            return Some((ticket, None));
        }
        let Stage::Waiting(message, _) = std::mem::replace(&mut item.stage, Stage::Running) else {
            return None;
        };
        self.running += 1;
        Some((ticket, Some((message, item.attempt))))
    }

    /// Notes that a handler has ended. Returns the attempt, or `None` if the lease was lost.
    pub(super) fn finish(&mut self, ticket: Ticket) -> Option<u32> {
        self.running -= 1;
        let item = self.items.get_mut(&ticket)?;
        item.stage = Stage::Settling;
        Some(item.attempt)
    }

    /// Returns the items that wait, in the order in which they were taken. They begin no more.
    pub(super) fn stop_waiting(&mut self) -> Vec<Ticket> {
        let waiting = std::mem::take(&mut self.waiting);
        for ticket in &waiting {
            if let Some(item) = self.items.get_mut(ticket) {
                item.stage = Stage::Settling;
            }
        }
        waiting.into()
    }

    /// Returns an item whose lease is held.
    pub(super) fn get(&self, ticket: Ticket) -> Option<&Item<C>> {
        self.items.get(&ticket)
    }

    /// Removes an item that is settled or whose lease is lost. Its handler may still run.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Item<C>> {
        let item = self.items.remove(&ticket)?;
        if matches!(item.stage, Stage::Waiting(..)) {
            self.waiting.retain(|waiting| *waiting != ticket);
        }
        Some(item)
    }

    /// Takes the leases that are due for an extension.
    pub(super) fn due_extensions(&mut self, now: Instant) -> Vec<Ticket> {
        let mut due = Vec::new();
        while let Some((at, ticket)) = self.extensions.front().copied()
            && at <= now
        {
            self.extensions.pop_front();
            if self.items.contains_key(&ticket) {
                due.push(ticket);
            }
        }
        due
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
        // The place is nearly always the last one: only a failed extension is repeated earlier.
        let place = self.extensions.partition_point(|(other, _)| *other <= at);
        self.extensions.insert(place, (at, ticket));
        if self.extensions.len() > 2 * self.items.len() + 64 {
            // Most items are settled long before their first extension.
            self.extensions
                .retain(|(_, ticket)| self.items.contains_key(ticket));
        }
    }

    /// Returns the time of the next extension.
    pub(super) fn next_extension(&self) -> Option<Instant> {
        self.extensions.front().map(|(at, _)| *at)
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
            in_flight.add_waiting(ticket, (), Message::json("1"), 1, now);
        }
        in_flight
    }

    #[test]
    fn leases_are_extended_every_third_whether_their_items_wait_or_run() {
        let start = Instant::now();
        let mut in_flight = in_flight(0..3, start);
        in_flight.begin(start);

        assert_eq!(in_flight.next_extension(), Some(start + LEASE / 3));
        assert!(in_flight.due_extensions(start + LEASE / 4).is_empty());
        assert_eq!(in_flight.due_extensions(start + LEASE / 3), [0, 1, 2]);

        assert_eq!(in_flight.next_extension(), None, "they are under way");
        in_flight.extended(1, start + LEASE / 3);
        assert_eq!(in_flight.ends(1), Some(start + LEASE / 3 + LEASE));
        assert_eq!(in_flight.ends(2), Some(start + LEASE));
        assert_eq!(in_flight.next_extension(), Some(start + LEASE / 3 * 2));
    }

    #[test]
    fn what_is_settled_or_lost_is_not_extended() {
        let start = Instant::now();
        let mut in_flight = in_flight(0..4, start);
        in_flight.begin(start);
        in_flight.begin(start);

        assert!(in_flight.remove(0).is_some(), "it is lost while it runs");
        assert!(in_flight.remove(0).is_none());
        assert_eq!(in_flight.finish(1), Some(1));
        assert!(in_flight.remove(1).is_some(), "it is settled");
        assert!(in_flight.remove(2).is_some(), "it is lost while it waits");

        assert_eq!(in_flight.due_extensions(start + LEASE), [3]);
        assert_eq!(in_flight.finish(0), None, "it was lost");
        assert_eq!((in_flight.running(), in_flight.items.len()), (0, 1));
        assert_eq!(in_flight.begin(start).map(|(ticket, _)| ticket), Some(3));
    }

    #[test]
    fn a_handler_without_its_lease_is_in_flight_until_it_ends() {
        let start = Instant::now();
        let mut in_flight = in_flight(0..1, start);
        in_flight.begin(start);
        in_flight.remove(0);

        assert!(!in_flight.is_empty());
        in_flight.finish(0);
        assert!(in_flight.is_empty());
    }

    #[test]
    fn nothing_begins_when_its_lease_has_ended() {
        let start = Instant::now();
        let mut in_flight = in_flight(0..1, start);

        let begun = in_flight.begin(start + LEASE);

        assert_eq!(begun, Some((0, None)));
        assert_eq!(in_flight.running(), 0);
    }

    #[test]
    fn what_stops_waiting_keeps_its_order() {
        let start = Instant::now();
        let mut in_flight = in_flight(0..4, start);
        in_flight.begin(start);

        assert_eq!(in_flight.stop_waiting(), [1, 2, 3]);

        assert_eq!(in_flight.waiting_since(), None);
        let item = in_flight.get(2).unwrap();
        assert!(matches!(item.stage, Stage::Settling));
    }

    #[test]
    fn the_schedule_stays_as_short_as_what_is_in_flight() {
        let start = Instant::now();
        let mut in_flight = in_flight(0..1, start);
        for ticket in 1..10_000 {
            in_flight.add_settling(ticket, (), 1, start);
            in_flight.remove(ticket);
        }

        let scheduled = in_flight.extensions.len();
        assert!(scheduled < 200, "{scheduled}");
        assert_eq!(in_flight.due_extensions(start + LEASE), [0]);
    }

    #[test]
    fn an_endless_lease_ends_at_no_time() {
        let start = Instant::now();
        let mut in_flight = InFlight::new(Duration::MAX);
        in_flight.add_settling(0, (), 1, start);

        assert_eq!(in_flight.ends(0), None);
    }
}
