//! Settling leased messages: `settle.lua` in bounded steps, with `leased.lua` where the payload
//! changes, or `ack.lua` for a call that only acks.
//!
//! Messages that go to the front are settled last, in reverse order. So the first of the call is
//! the next to be taken, however many scripts the call needs.

use std::collections::HashSet;

use bytes::Bytes;
use pymq_core::provider::{Receipt, Settle, lease_time};
use pymq_core::{Error, ErrorKind, Result};

use super::args::{millis, number, text, token};
use super::queue::{MAX_SCRIPT_BYTES, MAX_SCRIPT_MESSAGES, Queue, script};
use super::{dead_letter, receipt};
use crate::connection::Script;
use crate::wire::{self, Extra};

static ACK: Script = script!("ack.lua");
static SETTLE: Script = script!("settle.lua");
static LEASED: Script = script!("leased.lua");

impl Queue {
    /// Settles leased messages, one after the other.
    pub(super) async fn settle(
        &self,
        settlements: &[(Receipt, Settle)],
    ) -> Result<Vec<Result<()>>> {
        Settlement::new(self, settlements).run().await
    }
}

/// The settlements of one call.
struct Settlement<'a> {
    queue: &'a Queue,
    /// In the order in which they are sent.
    steps: Vec<Step<'a>>,
    results: Vec<Result<()>>,
}

/// One settlement to be sent.
#[derive(Clone, Copy)]
struct Step<'a> {
    /// Its position in the call.
    place: usize,
    batch: &'a str,
    index: &'a str,
    settle: &'a Settle,
}

impl<'a> Settlement<'a> {
    fn new(queue: &'a Queue, settlements: &'a [(Receipt, Settle)]) -> Self {
        let mut ended = HashSet::new();
        let (mut steps, mut fronts) = (Vec::with_capacity(settlements.len()), Vec::new());
        for (place, (receipt, settle)) in settlements.iter().enumerate() {
            // A lease that this call has already settled has ended, whatever the outcome.
            let Some((batch, index)) =
                receipt::read(receipt).filter(|receipt| !ended.contains(receipt))
            else {
                continue;
            };
            if settlements.len() > 1 && !matches!(settle, Settle::Extend { .. }) {
                ended.insert((batch, index));
            }
            let step = Step {
                place,
                batch,
                index,
                settle,
            };
            if is_to_front(settle) {
                fronts.push(step);
            } else {
                steps.push(step);
            }
        }
        steps.extend(fronts.into_iter().rev());
        let lost = || Error::new(ErrorKind::LeaseLost, queue.context("settle in"));
        Self {
            queue,
            steps,
            results: settlements.iter().map(|_| Err(lost())).collect(),
        }
    }

    /// Settles. If the first script fails, its error is the result of the call. A later error is
    /// the result of each settlement that was not sent.
    async fn run(mut self) -> Result<Vec<Result<()>>> {
        let is_acks = self
            .steps
            .iter()
            .all(|step| matches!(step.settle, Settle::Ack));
        let mut done = 0;
        while done < self.steps.len() {
            let settled = if is_acks {
                self.ack_chunk(done).await
            } else {
                // Boxed, because most calls only ack.
                Box::pin(self.settle_chunk(done)).await
            };
            match settled {
                Ok(count) => done += count,
                Err(error) if done == 0 => return Err(error),
                Err(error) => {
                    for step in &self.steps[done..] {
                        self.results[step.place] = Err(error.clone());
                    }
                    break;
                }
            }
        }
        Ok(self.results)
    }

    /// Sends one chunk of acks from a step on, and returns how many it was.
    async fn ack_chunk(&mut self, first: usize) -> Result<usize> {
        let steps = &self.steps[first..self.steps.len().min(first + MAX_SCRIPT_MESSAGES)];
        let mut args = Vec::with_capacity(steps.len() + 2);
        for batch in steps.chunk_by(|a, b| a.batch == b.batch) {
            args.extend([text(batch[0].batch), number(batch.len())]);
            args.extend(batch.iter().map(|step| text(step.index)));
        }
        let (commands, keys) = (self.queue.commands(), self.queue.keys());
        let outcomes: Vec<u8> = self
            .queue
            .run("settle in", &commands, &ACK, &keys.all(), &args)
            .await?;
        for (outcome, step) in outcomes.iter().zip(steps) {
            if *outcome == 1 {
                self.results[step.place] = Ok(());
            }
        }
        Ok(steps.len())
    }

    /// Sends one chunk of settlements from a step on, and returns how many it was: at least one.
    async fn settle_chunk(&mut self, first: usize) -> Result<usize> {
        let steps = &self.steps[first..self.steps.len().min(first + MAX_SCRIPT_MESSAGES)];
        // Boxed, because few settlements need it.
        let payloads = Box::pin(read_payloads(self.queue, steps)).await?;
        let mut payloads = payloads.into_iter();
        let mut args = vec![token()];
        let mut asked = Vec::with_capacity(steps.len());
        let (mut seen, mut bytes) = (0, 0);
        for step in steps {
            let payload = if changes_payload(step.settle) {
                match payloads.next() {
                    Some(payload) => payload,
                    // Its payload was not read yet.
                    None => break,
                }
            } else {
                Some(Bytes::new())
            };
            // Without a payload, the lease has already ended.
            if let Some(payload) = payload {
                let [what, time, payload] = script_args(step.settle, payload);
                bytes += payload.len();
                if bytes > MAX_SCRIPT_BYTES && !asked.is_empty() {
                    break;
                }
                asked.push((seen, step.place));
                args.extend([what, text(step.batch), text(step.index), time, payload]);
            }
            seen += 1;
        }
        if asked.is_empty() {
            return Ok(seen);
        }
        let (commands, keys) = (self.queue.commands(), self.queue.keys());
        let outcomes: Vec<i64> = self
            .queue
            .run("settle in", &commands, &SETTLE, &keys.all(), &args)
            .await?;
        for (outcome, (_, place)) in outcomes.iter().zip(&asked) {
            if *outcome == 1 {
                self.results[*place] = Ok(());
            }
        }
        // The script stops at its bound.
        Ok(asked.get(outcomes.len()).map_or(seen, |(at, _)| *at))
    }
}

/// Reads the payloads that settlements change, in order, up to the bound of one script.
async fn read_payloads(queue: &Queue, steps: &[Step<'_>]) -> Result<Vec<Option<Bytes>>> {
    let args: Vec<_> = steps
        .iter()
        .filter(|step| changes_payload(step.settle))
        .flat_map(|step| [text(step.batch), text(step.index)])
        .collect();
    if args.is_empty() {
        return Ok(Vec::new());
    }
    let (commands, keys) = (queue.commands().repeatable(), queue.keys());
    queue
        .run("settle in", &commands, &LEASED, &keys.all(), &args)
        .await
}

/// Tells whether a settlement gives the message back to the front.
pub(super) fn is_to_front(settle: &Settle) -> bool {
    match settle {
        Settle::Release => true,
        Settle::Nack { delay } => delay.is_zero(),
        _ => false,
    }
}

/// Tells whether a settlement changes the payload.
fn changes_payload(settle: &Settle) -> bool {
    matches!(settle, Settle::Nack { .. } | Settle::Bury { .. })
}

/// Returns the arguments of `settle.lua`: action, milliseconds and payload.
fn script_args(settle: &Settle, payload: Bytes) -> [Bytes; 3] {
    let none = Bytes::new;
    match settle {
        Settle::Release => [text("front"), none(), none()],
        Settle::Nack { delay } if delay.is_zero() => {
            [text("front"), none(), count_attempt(payload)]
        }
        Settle::Nack { delay } => [text("later"), millis(*delay), count_attempt(payload)],
        Settle::Extend { lease } => [text("extend"), millis(lease_time(*lease)), none()],
        Settle::Bury { reason } => [text("bury"), none(), dead_letter::write(payload, reason)],
        // `Ack`. The script refuses actions that it does not know.
        _ => [text("ack"), none(), none()],
    }
}

/// Returns the payload with one more attempt counted.
pub(super) fn count_attempt(payload: Bytes) -> Bytes {
    let (message, extra) = wire::decode_with(payload);
    wire::encode_with(
        &message,
        &Extra {
            attempt: extra.attempt.saturating_add(1),
            ..extra
        },
    )
}
