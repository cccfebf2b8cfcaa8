//! What happens to an item after its handler has ended: it is done, tried again, or a dead letter.

use std::time::Duration;

use tokio::time::Instant;

use super::super::lease::burial;
use super::item::Finished;
use super::run::Worker;
use crate::client::Ticket;
use crate::provider::Settle;
use crate::retry::jitter;

/// How a handler has ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    Failed(String),
    Panicked(String),
    /// Its task was dropped, which happens only while the bus ends.
    Dropped,
    /// The item is not what the handler takes, for this reason.
    Unreadable(String),
}

impl Worker {
    /// Decides how to settle an item after its handler has ended.
    pub(super) fn classify(&mut self, finished: Finished, now: Instant) {
        let Finished {
            ticket,
            outcome,
            took,
            message,
        } = finished;
        if matches!(outcome, Outcome::Dropped) {
            // The bus gives the item back. It must not count as failed, although this task still
            // runs on another thread.
            return;
        }
        self.pace.note(took);
        let Some(attempt) = self.in_flight.finish(ticket) else {
            return;
        };
        let (queue, counters) = (self.queue.name(), &self.queue.counters);
        let error = match outcome {
            Outcome::Dropped => return,
            Outcome::Done => {
                return self.in_flight.settle(ticket, Settle::Ack, now);
            }
            Outcome::Unreadable(reason) => {
                counters.undecodable.add(1);
                return self.bury(ticket, attempt, reason, now);
            }
            Outcome::Failed(error) => {
                counters.failed.add(1);
                tracing::warn!(queue = &**queue, attempt, error, "a handler failed");
                error
            }
            Outcome::Panicked(panic) => {
                counters.panicked.add(1);
                tracing::error!(queue = &**queue, attempt, panic, "a handler panicked");
                format!("panicked: {panic}")
            }
        };
        let reason =
            self.rules
                .max_attempts
                .bury_reason_on_failure(attempt, &error, &self.rules.origin);
        match reason {
            Some(reason) => self.bury(ticket, attempt, reason, now),
            None => self.retry(ticket, attempt, &message.body, now),
        }
    }

    pub(super) fn bury(&mut self, ticket: Ticket, attempt: u32, reason: String, now: Instant) {
        let settle = burial(self.queue.name(), attempt, reason);
        self.in_flight.settle(ticket, settle, now);
    }

    /// Gives a failed item back, hidden for its retry delay. A provider without delays cannot hide
    /// it: then the worker holds its lease for that time.
    fn retry(&mut self, ticket: Ticket, attempt: u32, body: &[u8], now: Instant) {
        self.failures += 1;
        let beginning = &body[..body.len().min(256)];
        let fraction = jitter((&**self.queue.name(), beginning, attempt, self.failures));
        let delay = self.rules.retry_delay.after(attempt, fraction);
        let has_delays = self.queue.provider.capabilities().delays;
        if has_delays && !delay.is_zero() {
            return self.in_flight.settle(ticket, Settle::Nack { delay }, now);
        }
        let nack = Settle::Nack {
            delay: Duration::ZERO,
        };
        let at = if self.is_stopping { now } else { now + delay };
        self.in_flight.settle(ticket, nack, at);
        if self.keeps_order() {
            // It comes before all items that were taken with it.
            self.in_flight.give_back_waiting(now);
        }
    }
}
