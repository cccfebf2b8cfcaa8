//! The leased messages of a queue.

use std::collections::BTreeMap;

use pymq_core::provider::Receipt;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::now::Now;
use super::state::Item;
use crate::broker::unique;

/// The leased messages of a queue, by receipt and by deadline.
///
/// A receipt holds the token of its lease, a number that no other lease in this process has. Tokens
/// grow in the order of the takes.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// The hash needs no secret: only tokens that this process has made are in the table.
    by_token: FxHashMap<u64, Lease>,
    /// The messages of one take have one deadline, so there are few. Each has a lease.
    by_deadline: BTreeMap<Instant, Batch>,
}

#[derive(Debug)]
struct Lease {
    item: Item,
    deadline: Instant,
}

/// The leases with one deadline.
#[derive(Debug, Default)]
struct Batch {
    /// Also those of leases that have ended or were extended.
    tokens: Vec<u64>,
    /// How many leases have this deadline.
    leases: usize,
}

impl Leases {
    pub(super) fn start(&mut self, item: Item, deadline: Instant) -> Receipt {
        let token = unique();
        self.by_token.insert(token, Lease { item, deadline });
        self.enlist(token, deadline);
        Receipt::copy_from_slice(&token.to_be_bytes())
    }

    /// Ends a lease and returns its message; `None` if the lease has already ended.
    pub(super) fn end(&mut self, receipt: &Receipt) -> Option<Item> {
        let lease = self.by_token.remove(&token(receipt)?)?;
        self.strike(lease.deadline);
        Some(lease.item)
    }

    /// Moves the deadline of a lease; `None` if the lease has already ended.
    pub(super) fn extend(&mut self, receipt: &Receipt, new_deadline: Instant) -> Option<()> {
        let token = token(receipt)?;
        let lease = self.by_token.get_mut(&token)?;
        let old_deadline = std::mem::replace(&mut lease.deadline, new_deadline);
        if old_deadline != new_deadline {
            self.strike(old_deadline);
            self.enlist(token, new_deadline);
        }
        Some(())
    }

    /// Ends the expired leases and returns their messages: earliest deadline first, then in the
    /// order of the takes.
    pub(super) fn end_expired(&mut self, now: &Now) -> Vec<Item> {
        let mut items = Vec::new();
        while let Some(entry) = self
            .by_deadline
            .first_entry()
            .filter(|entry| *entry.key() <= now.get())
        {
            let (deadline, mut batch) = entry.remove_entry();
            batch.tokens.sort_unstable();
            for token in batch.tokens {
                let is_due = |lease: &Lease| lease.deadline == deadline;
                if self.by_token.get(&token).is_some_and(is_due) {
                    items.extend(self.by_token.remove(&token).map(|lease| lease.item));
                }
            }
        }
        items
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let (deadline, _) = self.by_deadline.first_key_value()?;
        Some(*deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.by_token.len()
    }

    /// Adds a lease to those of a deadline.
    fn enlist(&mut self, token: u64, deadline: Instant) {
        let batch = self.by_deadline.entry(deadline).or_default();
        batch.tokens.push(token);
        batch.leases += 1;
    }

    /// Removes one lease from those of a deadline. The tokens go with the last one.
    fn strike(&mut self, deadline: Instant) {
        if let Some(batch) = self.by_deadline.get_mut(&deadline) {
            batch.leases -= 1;
            if batch.leases == 0 {
                self.by_deadline.remove(&deadline);
            }
        }
    }
}

/// Returns the token of a receipt; `None` for a receipt that this provider did not issue.
fn token(receipt: &Receipt) -> Option<u64> {
    receipt.as_bytes().try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pymq_core::Message;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn start(leases: &mut Leases, attempt: u32, deadline: Instant) -> Receipt {
        let message = Message::json("1");
        leases.start(Item { message, attempt }, deadline)
    }

    fn expired(leases: &mut Leases) -> Vec<u32> {
        let items = leases.end_expired(&Now::default());
        items.into_iter().map(|item| item.attempt).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn leases_with_one_deadline_expire_in_the_order_of_the_takes() {
        let now = Instant::now();
        let mut leases = Leases::default();
        let first = start(&mut leases, 1, now + SECOND);
        let second = start(&mut leases, 2, now + SECOND);
        start(&mut leases, 3, now + 2 * SECOND);
        start(&mut leases, 4, now + 2 * SECOND);

        leases.extend(&first, now + 2 * SECOND).unwrap();
        // There and back: its token is listed twice.
        leases.extend(&second, now + 2 * SECOND).unwrap();
        leases.extend(&second, now + SECOND).unwrap();
        assert_eq!(leases.next_deadline(), Some(now + SECOND));

        tokio::time::advance(SECOND).await;
        assert_eq!(expired(&mut leases), [2]);
        tokio::time::advance(SECOND).await;
        assert_eq!(expired(&mut leases), [1, 3, 4]);
        assert_eq!((leases.len(), leases.next_deadline()), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_goes_with_its_last_lease() {
        let now = Instant::now();
        let mut leases = Leases::default();
        let receipts = [1, 2].map(|attempt| start(&mut leases, attempt, now + SECOND));

        assert!(leases.end(&receipts[0]).is_some());
        assert!(leases.end(&receipts[0]).is_none());
        assert_eq!(leases.next_deadline(), Some(now + SECOND));
        assert!(leases.end(&receipts[1]).is_some());

        assert!(leases.by_deadline.is_empty());
    }
}
