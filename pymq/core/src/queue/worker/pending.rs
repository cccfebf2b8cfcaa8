//! The settlements that a worker has not sent yet, and those that it sends again. Pure state.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::Ticket;
use crate::provider::Settle;
use crate::retry::Backoff;

/// The settlement of one item.
#[derive(Debug)]
pub(super) struct PendingSettlement {
    pub(super) ticket: Ticket,
    pub(super) settle: Settle,
    /// It is not sent before this time.
    at: Instant,
    /// Whether it was sent before and may have been made.
    pub(super) is_unsure: bool,
}

/// The settlements that are not with the provider, in the order in which they were added.
#[derive(Debug)]
pub(super) struct PendingSettlements {
    pending: Vec<PendingSettlement>,
    backoff: Backoff,
}

impl Default for PendingSettlements {
    fn default() -> Self {
        Self {
            pending: Vec::new(),
            backoff: Backoff::worker(),
        }
    }
}

impl PendingSettlements {
    pub(super) fn add(&mut self, ticket: Ticket, settle: Settle, at: Instant) {
        self.pending.push(PendingSettlement {
            ticket,
            settle,
            at,
            is_unsure: false,
        });
    }

    /// Takes everything that is due, to be sent in one call.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<PendingSettlement> {
        self.pending
            .extract_if(.., |pending| pending.at <= now)
            .collect()
    }

    /// Takes the settlement of one item, if it is not sent.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<PendingSettlement> {
        let place = self
            .pending
            .iter()
            .position(|pending| pending.ticket == ticket)?;
        Some(self.pending.remove(place))
    }

    /// Returns how long to pause after a failed call. The next pause is longer.
    pub(super) fn next_pause(&mut self) -> Duration {
        self.backoff.next_wait()
    }

    /// Notes that a call succeeded.
    pub(super) fn reset_pause(&mut self) {
        self.backoff = Backoff::worker();
    }

    /// Adds a settlement again whose call failed.
    pub(super) fn add_again(&mut self, pending: PendingSettlement, at: Instant) {
        self.pending.push(PendingSettlement { at, ..pending });
    }

    /// Makes everything due.
    pub(super) fn make_due(&mut self, now: Instant) {
        for pending in &mut self.pending {
            pending.at = pending.at.min(now);
        }
    }

    /// Returns the time when the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.pending.iter().map(|pending| pending.at).min()
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(pending: &[PendingSettlement]) -> Vec<Ticket> {
        pending.iter().map(|pending| pending.ticket).collect()
    }

    #[test]
    fn what_is_due_goes_together_and_in_order() {
        let (mut pending, now) = (PendingSettlements::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        for (ticket, at) in [(0, now), (1, later), (2, now), (3, now)] {
            pending.add(ticket, Settle::Ack, at);
        }

        assert_eq!(tickets(&pending.take_due(now)), [0, 2, 3]);
        assert_eq!(pending.next_due(), Some(later));
        assert!(pending.take_due(now).is_empty());
        pending.make_due(now);
        assert_eq!(tickets(&pending.take_due(now)), [1]);
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn what_fails_waits_longer_each_time() {
        let (mut pending, now) = (PendingSettlements::default(), Instant::now());
        pending.add(0, Settle::Ack, now);
        let failed = pending.take_due(now).remove(0);

        let pauses = [pending.next_pause(), pending.next_pause()];
        pending.add_again(failed, now + pauses[0]);

        assert_eq!(pauses.map(|pause| pause.as_millis()), [50, 100]);
        assert_eq!(pending.next_due(), Some(now + pauses[0]));
        pending.reset_pause();
        assert_eq!(pending.next_pause(), pauses[0]);
        assert!(pending.take(1).is_none());
        assert_eq!(pending.take(0).map(|taken| taken.ticket), Some(0));
        assert_eq!(pending.len(), 0);
    }
}
