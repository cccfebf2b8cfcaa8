//! What a [`Taker`] does with the outcome of a wait.

use std::time::Duration;

use pymq_core::Result;
use pymq_core::provider::{MAX_DURATION, Settle};
use tokio::time::Instant;

use super::{POLL_INTERVAL, Taker};
use crate::queues::give_back::release;
use crate::queues::handoff::{HandedOver, Outcome};
use crate::queues::queue::Queue;
use crate::queues::receipt;
use crate::queues::taken::Taken;
use crate::queues::waiters::Waiters;

/// A message is handed to a caller only if its handoff lasts this much longer: time to remove it.
const MIN_TIME_LEFT: Duration = Duration::from_secs(1);

impl Taker {
    /// Closes the wait. If it brought a message, that comes before any take.
    pub(super) async fn close_wait(&mut self) {
        match self.handoff.close().await {
            None => {}
            Some(Outcome::Empty) => {
                let queue = self.queue.clone();
                self.update(|waiters| waiters.wait_was_empty(&queue));
            }
            Some(outcome) => self.waited(outcome).await,
        }
    }

    pub(super) async fn waited(&mut self, outcome: Outcome) {
        self.poll_at = None;
        match outcome {
            Outcome::Message(message) => self.hand_over(message).await,
            Outcome::Empty => self.update(Waiters::note_empty),
            Outcome::Changed => {}
            Outcome::Unknown => self.update(Waiters::retry_all),
            Outcome::Unavailable => {
                self.poll_at = Some(Instant::now() + POLL_INTERVAL);
                self.update(Waiters::retry_all);
            }
            Outcome::Failed(error) => self.fail_all(&error),
        }
    }

    /// Hands a message to the first waiter. It goes back if no caller waits.
    async fn hand_over(&mut self, message: HandedOver) {
        let HandedOver {
            payload,
            batch,
            ends,
            has_more,
        } = message;
        self.take_count += 1;
        let now = Instant::now();
        let time_left = ends.map(|ends| ends.saturating_duration_since(now));
        if time_left.is_some_and(|left| left < MIN_TIME_LEFT) {
            // The answer is so late that a sweep may return the message. If none has, it goes back.
            release(&self.queue, &batch);
            return self.update(Waiters::retry_all);
        }
        let is_closed = self.shared().core.close.is_cancelled();
        let first = self.with_waiters(|waiters| {
            if ends.is_none() {
                // A take tells why.
                waiters.retry_all();
            } else {
                waiters.expect_more(has_more);
            }
            waiters.first()
        });
        let lease = match first.flatten().filter(|_| !is_closed) {
            Some(first) if first.lease.is_none() || time_left.is_some() => first.lease,
            // It goes back.
            _ => time_left,
        };
        let segment = match lease {
            None => {
                // Before the caller has it: then it has left the queue.
                self.handoff.remove(&batch);
                Taken::removed(&self.queue, self.take_count, vec![payload])
            }
            Some(lease) => {
                let fits = time_left.is_some_and(|left| is_lease(left, lease));
                if !fits && let Err(error) = self.queue.lease_handoff(&batch, lease).await {
                    tracing::warn!(queue = self.queue.name(), %error, "cannot lease a message");
                    release(&self.queue, &batch);
                    return;
                }
                let (queue, payloads) = (&self.queue, vec![payload]);
                Taken::leased(queue, self.take_count, &batch, lease, now, payloads)
            }
        };
        let segment = segment.into_segment();
        let queue = self.queue.clone();
        self.update(|waiters| {
            if let Some(lease) = lease {
                waiters.note_due(now + lease.min(MAX_DURATION));
            }
            let rest = waiters.distribute(&queue, segment);
            waiters.returned.extend(rest);
        });
    }
}

impl Queue {
    /// Sets the lease of the message in a handoff.
    async fn lease_handoff(&self, handoff: &str, lease: Duration) -> Result<()> {
        let extension = (receipt::issue(handoff, 1), Settle::Extend { lease });
        let mut results = self.settle(&[extension]).await?;
        results.pop().unwrap_or(Ok(()))
    }
}

/// Tells whether a time is a lease of the length that a caller asks for. It may be a little longer.
fn is_lease(time: Duration, lease: Duration) -> bool {
    (lease..=lease.saturating_add(lease / 8)).contains(&time)
}
