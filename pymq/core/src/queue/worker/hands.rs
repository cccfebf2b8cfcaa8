//! The items in hand: leased by this worker, and not settled yet. Pure state: which wait, which run, which lease is to be
//! extended when.
//!
//! Every item is in one [`Stage`], and leaves by [`Hands::drop_item`] alone, once it is nothing of ours any more.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Ticket;
use crate::message::Message;
use crate::provider::Receipt;

#[derive(Debug)]
pub(super) struct Hands {
    lease: Duration,
    items: HashMap<Ticket, Item>,
    /// In the order they were taken.
    waiting: VecDeque<Ticket>,
    running: usize,
    /// When to extend which lease, the first first; some of the items may have gone.
    extensions: VecDeque<(Instant, Ticket)>,
}

#[derive(Debug)]
struct Item {
    receipt: Receipt,
    attempt: u32,
    stage: Stage,
    /// When its lease is over as far as we know; none is beyond what a clock can say.
    ends: Option<Instant>,
}

/// How far an item has come.
#[derive(Debug)]
enum Stage {
    /// Not begun, since then.
    Waiting(Message, Instant),
    /// Its handler runs.
    Running,
    /// Its handler runs, and its lease is over.
    Lost,
    /// What becomes of it is known; its settlement is in the outbox or with the provider.
    Judged,
}

/// What the end of a lease means for its item.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Loss {
    /// It had not begun, and is not begun.
    Unbegun,
    /// Its handler runs, and what it will say is of no use any more.
    Running,
    /// It was to be settled.
    Judged,
    /// It is not in hand, or was lost before.
    Nothing,
}

impl Hands {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            items: HashMap::new(),
            waiting: VecDeque::new(),
            running: 0,
            extensions: VecDeque::new(),
        }
    }

    /// Takes up a delivery that is to be worked on.
    pub(super) fn take_up(
        &mut self,
        ticket: Ticket,
        receipt: Receipt,
        message: Message,
        attempt: u32,
        now: Instant,
    ) {
        self.waiting.push_back(ticket);
        self.insert(ticket, receipt, attempt, Stage::Waiting(message, now), now);
    }

    /// Takes up a delivery that is only to be settled.
    pub(super) fn take_up_judged(
        &mut self,
        ticket: Ticket,
        receipt: Receipt,
        attempt: u32,
        now: Instant,
    ) {
        self.insert(ticket, receipt, attempt, Stage::Judged, now);
    }

    fn insert(
        &mut self,
        ticket: Ticket,
        receipt: Receipt,
        attempt: u32,
        stage: Stage,
        now: Instant,
    ) {
        let item = Item {
            receipt,
            attempt,
            stage,
            ends: now.checked_add(self.lease),
        };
        self.items.insert(ticket, item);
        self.extend_at(ticket, now.checked_add(self.third()));
    }

    /// Begins the item that waits longest. Answers its message and attempt, or none in place of a message when its lease
    /// is over: then it is another's.
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

    /// Ends the run of a handler. Answers the attempt, or none if the lease is over: then the item is dropped.
    pub(super) fn finish(&mut self, ticket: Ticket) -> Option<u32> {
        self.running -= 1;
        let item = self.items.get_mut(&ticket)?;
        if matches!(item.stage, Stage::Lost) {
            self.items.remove(&ticket);
            return None;
        }
        item.stage = Stage::Judged;
        Some(item.attempt)
    }

    /// Judges everything that waits, in the order it was taken, for it to be given back.
    pub(super) fn put_aside(&mut self) -> Vec<Ticket> {
        let waiting = std::mem::take(&mut self.waiting);
        for ticket in &waiting {
            if let Some(item) = self.items.get_mut(ticket) {
                item.stage = Stage::Judged;
            }
        }
        waiting.into()
    }

    /// Notes that a lease is over.
    pub(super) fn lose(&mut self, ticket: Ticket) -> Loss {
        let Some(item) = self.items.get_mut(&ticket) else {
            return Loss::Nothing;
        };
        match item.stage {
            Stage::Waiting(..) => {
                self.waiting.retain(|waiting| *waiting != ticket);
                Loss::Unbegun
            }
            Stage::Running => {
                item.stage = Stage::Lost;
                Loss::Running
            }
            Stage::Lost => Loss::Nothing,
            Stage::Judged => Loss::Judged,
        }
    }

    /// Removes an item that is settled or another's.
    pub(super) fn drop_item(&mut self, ticket: Ticket) {
        self.items.remove(&ticket);
    }

    /// Returns the leases to extend now, with what proves them.
    pub(super) fn due_extensions(&mut self, now: Instant) -> Vec<(Ticket, Receipt)> {
        let mut due = Vec::new();
        while let Some((at, ticket)) = self.extensions.front().copied()
            && at <= now
        {
            self.extensions.pop_front();
            if let Some(item) = self.items.get(&ticket)
                && !matches!(item.stage, Stage::Lost)
            {
                due.push((ticket, item.receipt.clone()));
            }
        }
        due
    }

    /// Notes that a lease was extended by a call that was made then.
    pub(super) fn extended(&mut self, ticket: Ticket, asked: Instant) {
        if let Some(item) = self.items.get_mut(&ticket) {
            item.ends = asked.checked_add(self.lease);
            self.extend_at(ticket, asked.checked_add(self.third()));
        }
    }

    /// Extends a lease at that time; never, where a clock cannot say it.
    pub(super) fn extend_at(&mut self, ticket: Ticket, at: Option<Instant>) {
        let Some(at) = at else { return };
        // Nearly always the last: only what could not be extended is tried again earlier than what was.
        let place = self.extensions.partition_point(|(other, _)| *other <= at);
        self.extensions.insert(place, (at, ticket));
        if self.extensions.len() > 2 * self.items.len() + 64 {
            // Most items are gone long before a third of their lease is.
            self.extensions
                .retain(|(_, ticket)| self.items.contains_key(ticket));
        }
    }

    /// Returns when to extend a lease next.
    pub(super) fn next_extension(&self) -> Option<Instant> {
        self.extensions.front().map(|(at, _)| *at)
    }

    /// Returns when the lease of an item is over as far as we know; none is never.
    pub(super) fn ends(&self, ticket: Ticket) -> Option<Instant> {
        self.items.get(&ticket)?.ends
    }

    /// Returns which attempt an item in hand is, for the log.
    pub(super) fn attempt(&self, ticket: Ticket) -> Option<u32> {
        self.items.get(&ticket).map(|item| item.attempt)
    }

    pub(super) fn receipt(&self, ticket: Ticket) -> Option<Receipt> {
        Some(self.items.get(&ticket)?.receipt.clone())
    }

    /// Returns since when the first item waits.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        match self.items.get(self.waiting.front()?)?.stage {
            Stage::Waiting(_, since) => Some(since),
            _ => None,
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Long before a lease is over, so that an extension may fail and be tried again.
    fn third(&self) -> Duration {
        (self.lease / 3).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn hands_with(tickets: std::ops::Range<Ticket>, now: Instant) -> Hands {
        let mut hands = Hands::new(LEASE);
        for ticket in tickets {
            let receipt = Receipt::new(vec![0]);
            hands.take_up(ticket, receipt, Message::json("1"), 1, now);
        }
        hands
    }

    fn tickets(due: &[(Ticket, Receipt)]) -> Vec<Ticket> {
        due.iter().map(|(ticket, _)| *ticket).collect()
    }

    #[test]
    fn leases_are_extended_every_third_whether_their_items_wait_or_run() {
        let start = Instant::now();
        let mut hands = hands_with(0..3, start);
        hands.begin(start);

        assert_eq!(hands.next_extension(), Some(start + LEASE / 3));
        assert!(hands.due_extensions(start + LEASE / 4).is_empty());
        let due = hands.due_extensions(start + LEASE / 3);

        assert_eq!(tickets(&due), [0, 1, 2]);
        assert_eq!(hands.next_extension(), None, "they are being asked for");
        hands.extended(1, start + LEASE / 3);
        assert_eq!(hands.ends(1), Some(start + LEASE / 3 + LEASE));
        assert_eq!(hands.ends(2), Some(start + LEASE));
        assert_eq!(hands.next_extension(), Some(start + LEASE / 3 * 2));
    }

    #[test]
    fn what_is_gone_or_lost_is_not_extended() {
        let start = Instant::now();
        let mut hands = hands_with(0..4, start);
        hands.begin(start);
        hands.begin(start);

        assert_eq!(hands.lose(0), Loss::Running);
        assert_eq!(hands.lose(0), Loss::Nothing);
        assert_eq!(hands.finish(1), Some(1));
        hands.drop_item(1);
        assert_eq!(hands.lose(2), Loss::Unbegun);
        hands.drop_item(2);

        assert_eq!(tickets(&hands.due_extensions(start + LEASE)), [3]);
        assert_eq!(hands.finish(0), None, "it was lost");
        assert_eq!((hands.running(), hands.items.len()), (0, 1));
    }

    #[test]
    fn nothing_begins_when_its_lease_is_over() {
        let start = Instant::now();
        let mut hands = hands_with(0..1, start);

        let begun = hands.begin(start + LEASE);

        assert_eq!(begun, Some((0, None)));
        assert_eq!(hands.running(), 0);
    }

    #[test]
    fn what_is_put_aside_keeps_its_order() {
        let start = Instant::now();
        let mut hands = hands_with(0..4, start);
        hands.begin(start);

        assert_eq!(hands.put_aside(), [1, 2, 3]);

        assert_eq!(hands.waiting_since(), None);
        assert_eq!(hands.lose(2), Loss::Judged);
    }

    #[test]
    fn the_schedule_stays_as_short_as_what_is_in_hand() {
        let start = Instant::now();
        let mut hands = hands_with(0..1, start);
        for ticket in 1..10_000 {
            let receipt = Receipt::new(vec![0]);
            hands.take_up_judged(ticket, receipt, 1, start);
            hands.drop_item(ticket);
        }

        assert!(hands.extensions.len() < 200, "{}", hands.extensions.len());
        assert_eq!(tickets(&hands.due_extensions(start + LEASE)), [0]);
    }

    #[test]
    fn an_endless_lease_ends_at_no_time() {
        let start = Instant::now();
        let mut hands = Hands::new(Duration::MAX);
        hands.take_up_judged(0, Receipt::new(vec![0]), 1, start);

        assert_eq!(hands.ends(0), None);
    }
}
