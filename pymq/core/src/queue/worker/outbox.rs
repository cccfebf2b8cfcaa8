//! What is to be told to the provider: settlements that are due now or later, and are told again until they are answered.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::Ticket;
use crate::provider::Settle;
use crate::retry::Backoff;

/// What becomes of one item.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) ticket: Ticket,
    pub(super) settle: Settle,
    /// Not to be told before.
    at: Instant,
    /// Whether it was told before, and may have been heard.
    pub(super) is_unsure: bool,
}

/// The settlements that are not with the provider, in the order in which they came up.
#[derive(Debug)]
pub(super) struct Outbox {
    letters: Vec<Letter>,
    backoff: Backoff,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            letters: Vec::new(),
            backoff: Backoff::worker(),
        }
    }
}

impl Outbox {
    pub(super) fn put(&mut self, ticket: Ticket, settle: Settle, at: Instant) {
        self.letters.push(Letter {
            ticket,
            settle,
            at,
            is_unsure: false,
        });
    }

    /// Takes out everything that is due, to be told in one call.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Letter> {
        self.letters
            .extract_if(.., |letter| letter.at <= now)
            .collect()
    }

    /// Takes out the settlement of one item, as its lease is over.
    pub(super) fn withdraw(&mut self, ticket: Ticket) -> Option<Letter> {
        let at = self
            .letters
            .iter()
            .position(|letter| letter.ticket == ticket)?;
        Some(self.letters.remove(at))
    }

    /// Returns how long to pause after a failure, longer each time.
    pub(super) fn pause(&mut self) -> Duration {
        self.backoff.next_wait()
    }

    /// Notes that the provider has answered.
    pub(super) fn answered(&mut self) {
        self.backoff = Backoff::worker();
    }

    /// Puts a settlement back that did not get through.
    pub(super) fn put_back(&mut self, letter: Letter, at: Instant) {
        self.letters.push(Letter { at, ..letter });
    }

    /// Makes everything due.
    pub(super) fn hurry(&mut self, now: Instant) {
        for letter in &mut self.letters {
            letter.at = letter.at.min(now);
        }
    }

    /// Returns when something is due next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.letters.iter().map(|letter| letter.at).min()
    }

    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(letters: &[Letter]) -> Vec<Ticket> {
        letters.iter().map(|letter| letter.ticket).collect()
    }

    #[test]
    fn what_is_due_goes_together_and_in_order() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        for (ticket, at) in [(0, now), (1, later), (2, now), (3, now)] {
            outbox.put(ticket, Settle::Ack, at);
        }

        assert_eq!(tickets(&outbox.due(now)), [0, 2, 3]);
        assert_eq!(outbox.next(), Some(later));
        assert!(outbox.due(now).is_empty());
        outbox.hurry(now);
        assert_eq!(tickets(&outbox.due(now)), [1]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_did_not_get_through_waits_longer_each_time() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        outbox.put(0, Settle::Ack, now);
        let letter = outbox.due(now).remove(0);

        let pauses = [outbox.pause(), outbox.pause()];
        outbox.put_back(letter, now + pauses[0]);

        assert_eq!(pauses.map(|pause| pause.as_millis()), [50, 100]);
        assert_eq!(outbox.next(), Some(now + pauses[0]));
        outbox.answered();
        assert_eq!(outbox.pause(), pauses[0]);
        assert!(outbox.withdraw(1).is_none());
        assert_eq!(outbox.withdraw(0).map(|letter| letter.ticket), Some(0));
        assert_eq!(outbox.len(), 0);
    }
}
