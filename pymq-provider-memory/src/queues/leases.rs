//! The leased messages of a queue.

use std::collections::{BTreeMap, HashMap};

use pymq_core::provider::Receipt;
use tokio::time::Instant;

use super::now::Now;
use super::state::Item;
use crate::broker::unique;

/// The leased messages of a queue, by receipt and by deadline.
///
/// A receipt holds the token of its lease, a number that no other lease in this process has.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// By deadline, then in the order of the takes.
    by_deadline: BTreeMap<(Instant, u64), Item>,
    deadlines: HashMap<u64, Instant>,
}

impl Leases {
    pub(super) fn start(&mut self, item: Item, deadline: Instant) -> Receipt {
        let token = unique();
        self.deadlines.insert(token, deadline);
        self.by_deadline.insert((deadline, token), item);
        Receipt::copy_from_slice(&token.to_be_bytes())
    }

    /// Ends a lease and returns its message; `None` if the lease has already ended.
    pub(super) fn end(&mut self, receipt: &Receipt) -> Option<Item> {
        let token = token(receipt)?;
        let deadline = self.deadlines.remove(&token)?;
        self.by_deadline.remove(&(deadline, token))
    }

    /// Moves the deadline of a lease; `None` if the lease has already ended.
    pub(super) fn extend(&mut self, receipt: &Receipt, new_deadline: Instant) -> Option<()> {
        let token = token(receipt)?;
        let deadline = self.deadlines.get_mut(&token)?;
        let item = self.by_deadline.remove(&(*deadline, token))?;
        *deadline = new_deadline;
        self.by_deadline.insert((new_deadline, token), item);
        Some(())
    }

    /// Ends the expired leases and returns their messages, earliest deadline first.
    pub(super) fn end_expired(&mut self, now: &Now) -> Vec<Item> {
        let mut items = Vec::new();
        while let Some(entry) = self
            .by_deadline
            .first_entry()
            .filter(|entry| entry.key().0 <= now.get())
        {
            let ((_, token), item) = entry.remove_entry();
            self.deadlines.remove(&token);
            items.push(item);
        }
        items
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }
}

/// Returns the token of a receipt; `None` for a receipt that this provider did not issue.
fn token(receipt: &Receipt) -> Option<u64> {
    receipt.as_bytes().try_into().ok().map(u64::from_be_bytes)
}
