//! Settlements and extensions: one call each at a time. A call that fails is made again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::in_flight::Stage;
use super::pending::PendingSettlement;
use super::run::Worker;
use crate::client::Ticket;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Settle;

/// The settlements of one call, each with its answer.
pub(super) type Settled = Vec<(PendingSettlement, Result<()>)>;

/// The time when a call for extensions began, and its leases with the answers.
pub(super) type Extended = (Instant, Vec<(Ticket, Result<()>)>);

impl Worker {
    /// Sends all settlements that are due in one call, unless one is under way.
    pub(super) fn settle_due(&mut self, now: Instant) {
        if !self.settle.is_idle() {
            return;
        }
        let (mut sent, mut settlements) = (Vec::new(), Vec::new());
        for pending in self.pending.take_due(now) {
            if let Some(item) = self.in_flight.get(pending.ticket) {
                settlements.push((item.claim.receipt().clone(), pending.settle.clone()));
                sent.push(pending);
            }
        }
        if settlements.is_empty() {
            return;
        }
        let queue = Arc::clone(&self.queue);
        self.settle.start(async move {
            let answers = queue.settle_all(settlements).await;
            sent.into_iter().zip(answers).collect()
        });
    }

    pub(super) fn settled(&mut self, settled: Settled) {
        let now = Instant::now();
        let mut pause = None;
        for (pending, answer) in settled {
            match answer {
                Ok(()) => self.forget(pending.ticket),
                Err(error) if error.kind() == ErrorKind::LeaseLost => self.was_lost(&pending),
                Err(error) => {
                    let pause = *pause.get_or_insert_with(|| self.pending.next_pause());
                    self.settle_again(pending, &error, now + pause);
                }
            }
        }
        if pause.is_none() {
            self.pending.reset_pause();
        }
    }

    /// Schedules a settlement again whose call failed, while the lease lasts. The lease is extended
    /// meanwhile.
    fn settle_again(&mut self, mut pending: PendingSettlement, error: &Error, at: Instant) {
        let (queue, attempt) = (&**self.queue.name(), self.attempt(pending.ticket));
        pending.is_unsure |= error.outcome_unknown();
        let is_in_time = self
            .in_flight
            .ends(pending.ticket)
            .is_none_or(|ends| at < ends);
        if is_in_time && error.kind() != ErrorKind::Closed {
            tracing::debug!(queue, attempt, %error, "a settlement is sent again");
            self.pending.add_again(pending, at);
        } else {
            tracing::warn!(queue, attempt, %error, "an item comes back when its lease ends");
            self.forget(pending.ticket);
        }
    }

    /// Handles a settlement whose lease has ended. If it was sent before, the first one may have
    /// ended the lease: the retry succeeded, or the outcome is unknown.
    fn was_lost(&mut self, pending: &PendingSettlement) {
        if !pending.is_unsure && pending.settle != Settle::Release {
            self.count_loss(pending.ticket);
        }
        self.forget(pending.ticket);
    }

    fn count_loss(&self, ticket: Ticket) {
        self.queue.counters.lease_lost.add(1);
        tracing::warn!(
            queue = &**self.queue.name(),
            attempt = self.attempt(ticket),
            "a lease ended before its handler did: the result of the handler is dropped"
        );
    }

    /// Extends all leases that are due in one call, unless one is under way.
    pub(super) fn extend_due(&mut self, now: Instant) {
        if !self.extend.is_idle() {
            return;
        }
        let lease = self.rules.lease;
        let (mut tickets, mut extensions) = (Vec::new(), Vec::new());
        for ticket in self.in_flight.due_extensions(now) {
            if let Some(item) = self.in_flight.get(ticket) {
                extensions.push((item.claim.receipt().clone(), Settle::Extend { lease }));
                tickets.push(ticket);
            }
        }
        if extensions.is_empty() {
            return;
        }
        let queue = Arc::clone(&self.queue);
        self.extend.start(async move {
            let answers = queue.settle_all(extensions).await;
            (now, tickets.into_iter().zip(answers).collect())
        });
    }

    pub(super) fn extended(&mut self, (sent, answers): Extended) {
        let now = Instant::now();
        for (ticket, answer) in answers {
            match answer {
                Ok(()) => self.in_flight.extended(ticket, sent),
                Err(error) if error.kind() == ErrorKind::LeaseLost => self.lose(ticket),
                Err(error) => {
                    tracing::debug!(
                        queue = &**self.queue.name(),
                        attempt = self.attempt(ticket),
                        %error,
                        "a lease could not be extended"
                    );
                    let pause = (self.rules.lease / 10).max(Duration::from_millis(1));
                    self.in_flight.extend_at(ticket, now.checked_add(pause));
                }
            }
        }
    }

    fn lose(&mut self, ticket: Ticket) {
        match self.in_flight.get(ticket).map(|item| &item.stage) {
            // It does not begin.
            Some(Stage::Waiting(..)) => self.forget(ticket),
            // The handler runs on. Its result will not be settled.
            Some(Stage::Running) => {
                self.count_loss(ticket);
                self.forget(ticket);
            }
            // A settlement that is sent gets an answer of its own.
            Some(Stage::Settling) => {
                if let Some(pending) = self.pending.take(ticket) {
                    self.was_lost(&pending);
                }
            }
            None => {}
        }
    }

    /// Lets an item go that is settled or whose lease has ended.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        if let Some(item) = self.in_flight.remove(ticket) {
            item.claim.end();
        }
    }

    /// Returns the attempt of an item, for the log.
    pub(super) fn attempt(&self, ticket: Ticket) -> Option<u32> {
        self.in_flight.get(ticket).map(|item| item.attempt)
    }
}
