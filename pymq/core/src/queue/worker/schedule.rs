//! When something is due for which item. Pure state.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::client::Ticket;

/// Items by the time at which something is due for them, the earliest first. Those of one time keep
/// the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Schedule(VecDeque<(Instant, Ticket)>);

impl Schedule {
    pub(super) fn add(&mut self, at: Instant, ticket: Ticket) {
        // Nearly always the last place: only what failed is repeated earlier.
        if self.0.back().is_none_or(|(last, _)| *last <= at) {
            return self.0.push_back((at, ticket));
        }
        let place = self.0.partition_point(|(other, _)| *other <= at);
        self.0.insert(place, (at, ticket));
    }

    pub(super) fn take_due(&mut self, now: Instant) -> impl Iterator<Item = Ticket> + '_ {
        let due = self.0.partition_point(|(at, _)| *at <= now);
        self.0.drain(..due).map(|(_, ticket)| ticket)
    }

    /// Removes those that are not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(Ticket) -> bool) {
        self.0.retain(|(_, ticket)| keep(*ticket));
    }

    /// Removes the first ones, as far as they are to be dropped.
    pub(super) fn drop_first_while(&mut self, is_dropped: impl Fn(Ticket) -> bool) {
        while self
            .0
            .front()
            .is_some_and(|(_, ticket)| is_dropped(*ticket))
        {
            self.0.pop_front();
        }
    }

    pub(super) fn make_due(&mut self, now: Instant) {
        for (at, _) in &mut self.0 {
            *at = now.min(*at);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.front().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
