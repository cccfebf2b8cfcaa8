//! The leases that a bus holds. A shutdown waits for them and gives back those that are left. A
//! lease is held from the moment it is taken until the provider has answered its settlement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::error::ErrorKind;
use crate::provider::{Provider, Receipt, Settle};

/// The unsettled leases of a bus.
#[derive(Debug, Default)]
pub(crate) struct HeldLeases {
    /// A std mutex: the critical sections are one access to a map, never an await.
    held: Mutex<Held>,
    none_left: Notify,
}

#[derive(Debug, Default)]
struct Held {
    /// Each with its queue.
    receipts: ByTicket<(Arc<str>, Receipt)>,
    next: Ticket,
}

/// Identifies one lease among those of its bus. Tickets grow in the order of the takes.
pub(crate) type Ticket = u64;

/// Something for each ticket. The hash needs no secret, because only the bus makes tickets.
pub(crate) type ByTicket<T> = FxHashMap<Ticket, T>;

impl HeldLeases {
    /// Holds leases of one queue, in the order in which they were taken. Returns the ticket of the
    /// first one. Those of the others follow it.
    pub(crate) fn hold(
        &self,
        queue: &Arc<str>,
        receipts: impl IntoIterator<Item = Receipt>,
    ) -> Ticket {
        let mut held = self.lock();
        let first = held.next;
        for receipt in receipts {
            let ticket = held.next;
            held.next += 1;
            held.receipts.insert(ticket, (Arc::clone(queue), receipt));
        }
        first
    }

    pub(crate) fn let_go(&self, tickets: impl IntoIterator<Item = Ticket>) {
        let mut held = self.lock();
        for ticket in tickets {
            held.receipts.remove(&ticket);
        }
        let none_left = held.receipts.is_empty();
        drop(held);
        if none_left {
            self.none_left.notify_waiters();
        }
    }

    /// Tells whether a lease is still held. A shutdown may have given it back.
    pub(crate) fn holds(&self, ticket: Ticket) -> bool {
        self.lock().receipts.contains_key(&ticket)
    }

    /// Resolves when no lease is held.
    pub(crate) async fn settled(&self) {
        loop {
            let none_left = self.none_left.notified();
            if self.lock().receipts.is_empty() {
                return;
            }
            none_left.await;
        }
    }

    /// Gives every lease back to the front of its queue. The attempt does not count.
    pub(crate) async fn release_all(&self, provider: &dyn Provider) {
        // Copied, and let go at the end: a second shutdown waits for that before it closes the
        // provider.
        let mut left: Vec<_> = self.lock().receipts.clone().into_iter().collect();
        // In the order in which they were taken: what one call gives back keeps its order at the
        // front.
        left.sort_unstable_by_key(|(ticket, _)| *ticket);
        let mut by_queue: HashMap<&str, Vec<(Receipt, Settle)>> = HashMap::new();
        for (_, (queue, receipt)) in &left {
            let settlements = by_queue.entry(queue).or_default();
            settlements.push((receipt.clone(), Settle::Release));
        }
        for (queue, settlements) in by_queue {
            let Err(error) = provider.queue_settle(queue, settlements).await else {
                continue;
            };
            tracing::warn!(queue, %error, "leases are not given back: they end later");
            // One wait for an unreachable provider is enough.
            if matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Timeout) {
                break;
            }
        }
        self.let_go(left.into_iter().map(|(ticket, _)| ticket));
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn settled_waits_for_the_last_lease() {
        let leases = HeldLeases::default();
        let queue = Arc::from("jobs");
        let a = leases.hold(&queue, [Receipt::new("a"), Receipt::new("b")]);
        let b = a + 1;
        let mut settled = pin!(leases.settled());

        leases.let_go([a]);
        tokio::select! {
            biased;
            () = &mut settled => panic!("one is still held"),
            () = std::future::ready(()) => {}
        }
        leases.let_go([b]);
        leases.let_go([b]);

        settled.await;
        assert!(!leases.holds(b));
    }
}
