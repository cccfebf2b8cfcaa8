//! Settlements and extensions: one call at a time. A call that fails is made again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::in_flight::{PendingSettlement, Stage};
use super::run::Worker;
use crate::client::Ticket;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Settle;
use crate::retry::Backoff;

/// The answers to one call.
pub(super) struct Settled {
    /// When the call began.
    sent: Instant,
    answers: Vec<Answer>,
}

struct Answer {
    ticket: Ticket,
    is_extension: bool,
    answer: Result<()>,
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
        let queue = Arc::clone(&self.queue);
        self.settle.start(async move {
            let answers = queue.settle_all(settlements).await;
            let answers = sent.into_iter().zip(answers);
            let answers = answers.map(|((ticket, is_extension), answer)| Answer {
                ticket,
                is_extension,
                answer,
            });
            Settled {
                sent: now,
                answers: answers.collect(),
            }
        });
    }

    pub(super) fn settled(&mut self, Settled { sent, answers }: Settled) {
        let now = Instant::now();
        let mut pause = None;
        for Answer {
            ticket,
            is_extension,
            answer,
        } in answers
        {
            match answer {
                Ok(()) if is_extension => self.in_flight.extended(ticket, sent),
                Ok(()) => self.forget(ticket),
                Err(error) if error.kind() == ErrorKind::LeaseLost => self.lose(ticket),
                Err(error) => {
                    let pause = *pause.get_or_insert_with(|| self.settle_backoff.next_wait());
                    if is_extension {
                        self.extend_again(ticket, &error, now);
                    } else {
                        self.settle_again(ticket, &error, now + pause);
                    }
                }
            }
        }
        if pause.is_none() {
            self.settle_backoff = Backoff::worker();
        }
    }

    fn extend_again(&mut self, ticket: Ticket, error: &Error, now: Instant) {
        let (queue, attempt) = (&**self.queue.name(), self.attempt(ticket));
        tracing::debug!(queue, attempt, %error, "a lease could not be extended");
        let pause = (self.rules.lease / 10).max(Duration::from_millis(1));
        self.in_flight.extend_at(ticket, now.checked_add(pause));
    }

    /// Schedules a settlement again whose call failed, while the lease lasts. The lease is extended
    /// meanwhile.
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

    /// Lets an item go whose lease has ended. If its handler runs, the result will not be settled.
    pub(super) fn lose(&mut self, ticket: Ticket) {
        let Some(item) = self.in_flight.lose(ticket) else {
            return;
        };
        let is_work_lost = match &item.stage {
            Stage::Waiting(..) => false,
            Stage::Running => true,
            // If it was sent before, the first one may have ended the lease: the retry succeeded, or
            // the outcome is unknown.
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

    /// Lets an item go whose settlement was answered.
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
