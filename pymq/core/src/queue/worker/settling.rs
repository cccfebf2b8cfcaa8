//! Settlements and extensions: one call at a time. A call that fails is made again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::in_flight::{PendingSettlement, Stage};
use super::run::Worker;
use crate::client::Ticket;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Settle;
use crate::queue::lease::Claim;
use crate::retry::Backoff;

/// One call and its answers.
pub(super) struct Settled {
    began: Instant,
    /// Each item, and whether its lease was extended rather than settled.
    sent: Vec<(Ticket, bool)>,
    answers: Vec<Result<()>>,
}

impl Worker {
    /// Sends all settlements and extensions that are due in one call, unless one is under way.
    pub(super) fn settle_due(&mut self, now: Instant) {
        if !self.settle.is_idle() {
            return;
        }
        let (mut sent, mut settlements) = (Vec::new(), Vec::new());
        for (ticket, settle) in self.in_flight.take_due(now) {
            if let Some(item) = self.in_flight.get(ticket) {
                sent.push((ticket, matches!(settle, Settle::Extend { .. })));
                settlements.push((item.claim.receipt().clone(), settle));
            }
        }
        if settlements.is_empty() {
            return;
        }
        self.gives_back = settlements
            .iter()
            .any(|(_, settle)| !matches!(settle, Settle::Ack));
        let queue = Arc::clone(&self.queue);
        self.settle.start(async move {
            Settled {
                began: now,
                sent,
                answers: queue.settle_all(settlements).await,
            }
        });
    }

    pub(super) fn settled(&mut self, settled: Settled) {
        let now = Instant::now();
        let (mut pause, mut has_failed) = (None, false);
        let mut ended = Vec::with_capacity(settled.sent.len());
        for ((ticket, is_extension), answer) in settled.sent.into_iter().zip(settled.answers) {
            match answer {
                Ok(()) if is_extension => self.in_flight.extended(ticket, settled.began),
                Ok(()) => ended.extend(self.in_flight.remove(ticket).map(|item| item.claim)),
                Err(error) if error.kind() == ErrorKind::LeaseLost => {
                    // So that the stage tells whether its handler has begun.
                    self.recall();
                    self.lose(ticket);
                }
                Err(error) => {
                    has_failed = true;
                    if is_extension {
                        self.extend_again(ticket, &error, now);
                    } else {
                        let pause = *pause.get_or_insert_with(|| self.settle_backoff.next_wait());
                        self.settle_again(ticket, &error, now + pause);
                    }
                }
            }
        }
        Claim::end_all(ended);
        if !has_failed {
            self.settle_backoff = Backoff::worker();
        }
    }

    fn extend_again(&mut self, ticket: Ticket, error: &Error, now: Instant) {
        let (queue, attempt) = (&**self.queue.name(), self.attempt(ticket));
        tracing::debug!(queue, attempt, %error, "a lease could not be extended");
        let pause = (self.rules.lease / 10).max(Duration::from_millis(1));
        self.in_flight.extend_at(ticket, now.checked_add(pause));
    }

    /// Schedules a settlement again after a failed call, while the lease lasts. The lease is
    /// extended meanwhile.
    fn settle_again(&mut self, ticket: Ticket, error: &Error, at: Instant) {
        let (queue, attempt) = (&**self.queue.name(), self.attempt(ticket));
        let is_in_time = self.in_flight.ends(ticket).is_none_or(|ends| at < ends);
        if is_in_time && error.kind() != ErrorKind::Closed {
            tracing::debug!(queue, attempt, %error, "a settlement is sent again");
            self.in_flight
                .settle_again(ticket, error.outcome_unknown(), at);
        } else {
            tracing::warn!(queue, attempt, %error, "an item comes back when its lease ends");
            self.forget(ticket);
        }
    }

    /// Lets an item go after the end of its lease. If its handler runs, the result is not settled.
    pub(super) fn lose(&mut self, ticket: Ticket) {
        let Some(item) = self.in_flight.lose(ticket) else {
            return;
        };
        let is_work_lost = match &item.stage {
            Stage::Waiting(..) => false,
            Stage::Running => true,
            // If it was sent before, the first call may have ended the lease: the retry succeeded,
            // or the outcome is unknown.
            Stage::Settling(PendingSettlement { settle, is_unsure }) => {
                !is_unsure && *settle != Settle::Release
            }
        };
        if is_work_lost {
            self.queue.counters.lease_lost.add(1);
            tracing::warn!(
                queue = &**self.queue.name(),
                attempt = item.attempt,
                "a lease ended before its handler did: the result of the handler is dropped"
            );
        }
        item.claim.end();
    }

    /// Forgets an item. Its settlement is not sent again.
    fn forget(&mut self, ticket: Ticket) {
        if let Some(item) = self.in_flight.remove(ticket) {
            item.claim.end();
        }
    }

    /// Returns the attempt of an item, for the log.
    pub(super) fn attempt(&self, ticket: Ticket) -> Option<u32> {
        self.in_flight.get(ticket).map(|item| item.attempt)
    }
}
