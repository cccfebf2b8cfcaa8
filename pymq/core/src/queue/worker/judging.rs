//! What becomes of an item whose handler has ended: done, tried again, or dead.

use std::time::Duration;

use tokio::time::Instant;

use super::item::{Finished, Outcome};
use super::run::Worker;
use crate::client::Ticket;
use crate::provider::Settle;
use crate::retry::jitter;

impl Worker {
    /// Decides what becomes of an item whose handler has ended.
    pub(super) fn judge(&mut self, finished: Finished) {
        let Finished {
            ticket,
            outcome,
            took,
            message,
        } = finished;
        self.pace.note(took);
        let Some(attempt) = self.hands.finish(ticket) else {
            return;
        };
        let now = Instant::now();
        let (queue, counters) = (self.source.queue(), &self.source.counters);
        let error = match outcome {
            Outcome::Done => return self.outbox.put(ticket, Settle::Ack, now),
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
        let verdict =
            self.rules
                .max_attempts
                .bury_reason_on_failure(attempt, &error, &self.rules.origin);
        match verdict {
            Some(reason) => self.bury(ticket, attempt, reason, now),
            None => self.retry(ticket, attempt, &message.body, now),
        }
    }

    pub(super) fn bury(&mut self, ticket: Ticket, attempt: u32, reason: String, now: Instant) {
        tracing::warn!(
            queue = &**self.source.queue(),
            attempt,
            reason,
            "dead letter"
        );
        self.outbox.put(ticket, Settle::Bury { reason }, now);
    }

    /// Gives a failed item back, after its rest. A provider without delays cannot hide it for so long: the worker keeps it
    /// under its lease then.
    fn retry(&mut self, ticket: Ticket, attempt: u32, body: &[u8], now: Instant) {
        self.failures += 1;
        let beginning = &body[..body.len().min(256)];
        let fraction = jitter((&**self.source.queue(), beginning, attempt, self.failures));
        let retry_delay = self.rules.retry_delay.after(attempt, fraction);
        if self.source.has_delays() && !retry_delay.is_zero() {
            let nack = Settle::Nack { delay: retry_delay };
            return self.outbox.put(ticket, nack, now);
        }
        let nack = Settle::Nack {
            delay: Duration::ZERO,
        };
        let at = if self.is_stopping {
            now
        } else {
            now + retry_delay
        };
        self.outbox.put(ticket, nack, at);
        if self.keeps_order() {
            // It comes before all that were taken with it.
            self.put_back_waiting(now);
        }
    }
}
