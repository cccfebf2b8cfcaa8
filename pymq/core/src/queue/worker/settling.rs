//! Telling the provider: what becomes of items, and that leases are to last. What does not get through is told again.

use std::time::Duration;

use tokio::time::Instant;

use super::hands::Loss;
use super::outbox::Letter;
use super::run::Worker;
use crate::client::Ticket;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Settle;

/// What was told, each with its answer.
pub(super) type Settled = Vec<(Letter, Result<()>)>;

/// The leases that were to be extended, with the moment of asking and the answers.
pub(super) type Extended = (Instant, Vec<(Ticket, Result<()>)>);

impl Worker {
    /// Settles all that is due in one call, unless there is one under way.
    pub(super) fn settle_due(&mut self, now: Instant) {
        if !self.settle.is_idle() {
            return;
        }
        let letters = self.outbox.due(now);
        let (mut told, mut settlements) = (Vec::new(), Vec::new());
        for letter in letters {
            if let Some(receipt) = self.hands.receipt(letter.ticket) {
                settlements.push((receipt, letter.settle.clone()));
                told.push(letter);
            }
        }
        if settlements.is_empty() {
            return;
        }
        let settled = self.source.clone().settle(settlements);
        self.settle
            .start(async move { told.into_iter().zip(settled.await).collect() });
    }

    pub(super) fn settled(&mut self, settled: Settled) {
        let now = Instant::now();
        let mut pause = None;
        for (letter, answer) in settled {
            match answer {
                Ok(()) => {
                    if matches!(letter.settle, Settle::Bury { .. }) {
                        self.source.counters.dead_lettered.add(1);
                    }
                    self.forget(letter.ticket);
                }
                Err(error) if error.kind() == ErrorKind::LeaseLost => self.was_lost(&letter),
                Err(error) => {
                    let pause = *pause.get_or_insert_with(|| self.outbox.pause());
                    self.tell_again(letter, &error, now + pause);
                }
            }
        }
        if pause.is_none() {
            self.outbox.answered();
        }
    }

    /// A settlement that did not get through is told again while the lease lasts, which is extended meanwhile.
    fn tell_again(&mut self, mut letter: Letter, error: &Error, at: Instant) {
        letter.is_unsure |= error.outcome_unknown();
        let is_in_time = self.hands.ends(letter.ticket).is_none_or(|ends| at < ends);
        if is_in_time && error.kind() != ErrorKind::Closed {
            tracing::debug!(
                queue = &**self.source.queue(),
                attempt = self.hands.attempt(letter.ticket),
                %error,
                "a settlement is told again"
            );
            self.outbox.put_back(letter, at);
            return;
        }
        tracing::warn!(
            queue = &**self.source.queue(),
            attempt = self.hands.attempt(letter.ticket),
            %error,
            "an item comes back when its lease is over"
        );
        self.forget(letter.ticket);
    }

    /// The lease was over when its settlement came. If it was told before, that one may have ended it: the
    /// retry succeeded, or the outcome is unknown.
    fn was_lost(&mut self, letter: &Letter) {
        if !letter.is_unsure && letter.settle != Settle::Release {
            self.count_loss(letter.ticket);
        }
        self.forget(letter.ticket);
    }

    fn count_loss(&self, ticket: Ticket) {
        self.source.counters.lease_lost.add(1);
        tracing::warn!(
            queue = &**self.source.queue(),
            attempt = self.hands.attempt(ticket),
            "a lease was over before its handler was: what it did counts for nothing"
        );
    }

    /// Extends all leases that are due for it in one call, unless there is one under way.
    pub(super) fn extend_due(&mut self, now: Instant) {
        if !self.extend.is_idle() {
            return;
        }
        let due = self.hands.due_extensions(now);
        if due.is_empty() {
            return;
        }
        let lease = self.rules.lease;
        let (tickets, extensions): (Vec<_>, Vec<_>) = due
            .into_iter()
            .map(|(ticket, receipt)| (ticket, (receipt, Settle::Extend { lease })))
            .unzip();
        let settled = self.source.clone().settle(extensions);
        self.extend
            .start(async move { (now, tickets.into_iter().zip(settled.await).collect()) });
    }

    pub(super) fn extended(&mut self, (asked, answers): Extended) {
        let now = Instant::now();
        for (ticket, answer) in answers {
            match answer {
                Ok(()) => self.hands.extended(ticket, asked),
                Err(error) if error.kind() == ErrorKind::LeaseLost => self.lose(ticket),
                Err(error) => {
                    tracing::debug!(
                        queue = &**self.source.queue(),
                        attempt = self.hands.attempt(ticket),
                        %error,
                        "a lease could not be extended"
                    );
                    let pause = (self.rules.lease / 10).max(Duration::from_millis(1));
                    self.hands.extend_at(ticket, now.checked_add(pause));
                }
            }
        }
    }

    fn lose(&mut self, ticket: Ticket) {
        match self.hands.lose(ticket) {
            Loss::Unbegun => self.forget(ticket),
            Loss::Running => {
                self.count_loss(ticket);
                // The handler runs on. Its result will not be settled.
                self.leases.let_go(ticket);
            }
            // If its settlement is with the provider, that one's answer tells.
            Loss::Judged => {
                if let Some(letter) = self.outbox.withdraw(ticket) {
                    self.was_lost(&letter);
                }
            }
            Loss::Nothing => {}
        }
    }

    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.hands.drop_item(ticket);
        self.leases.let_go(ticket);
    }
}
