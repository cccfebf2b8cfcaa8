//! Settling many leased messages: one script after the other, each bounded.
//!
//! What goes to the front is settled last, and the last of the call first: so the first of it is the next to be taken,
//! however many scripts it took.

use std::collections::HashSet;

use bytes::Bytes;
use pymq_core::provider::{Receipt, Settle, lease_time};
use pymq_core::{Error, ErrorKind, Result};

use super::args::{millis, text, token};
use super::queue::{CHUNK, CHUNK_BYTES, Store, script};
use super::{dead_letter, receipt};
use crate::connection::Script;
use crate::wire::{self, Extra};

static SETTLE: Script = script!("settle.lua");
static LEASED: Script = script!("leased.lua");

impl Store {
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
    store: &'a Store,
    /// In the order in which they are done.
    steps: Vec<Step<'a>>,
    results: Vec<Result<()>>,
}

/// One settlement that is to be asked for.
#[derive(Clone, Copy)]
struct Step<'a> {
    /// Its place in the call.
    place: usize,
    batch: &'a str,
    index: &'a str,
    settle: &'a Settle,
}

impl<'a> Settlement<'a> {
    fn new(store: &'a Store, settlements: &'a [(Receipt, Settle)]) -> Self {
        let mut ended = HashSet::new();
        let (mut steps, mut fronts) = (Vec::with_capacity(settlements.len()), Vec::new());
        for (place, (receipt, settle)) in settlements.iter().enumerate() {
            // A lease that was settled before in this call is over, whatever came of that.
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
        let lost = || Error::new(ErrorKind::LeaseLost, store.context("settle in"));
        Self {
            store,
            steps,
            results: settlements.iter().map(|_| Err(lost())).collect(),
        }
    }

    /// Settles. An error before anything was settled is the answer; one that comes later is that of each settlement
    /// that was not made.
    async fn run(mut self) -> Result<Vec<Result<()>>> {
        let mut done = 0;
        while done < self.steps.len() {
            match self.settle_some(done).await {
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

    /// Settles some from a step on, and returns how many: at least one.
    async fn settle_some(&mut self, first: usize) -> Result<usize> {
        let steps = &self.steps[first..self.steps.len().min(first + CHUNK)];
        // Apart, as few settlements need them.
        let payloads = Box::pin(leased(self.store, steps)).await?;
        let mut payloads = payloads.into_iter();
        let mut args = vec![token()];
        let mut asked = Vec::with_capacity(steps.len());
        let (mut seen, mut bytes) = (0, 0);
        for step in steps {
            let payload = if says_something_new(step.settle) {
                match payloads.next() {
                    Some(payload) => payload,
                    // Not read yet.
                    None => break,
                }
            } else {
                Some(Bytes::new())
            };
            // Without a payload the lease is over already.
            if let Some(payload) = payload {
                let [what, time, payload] = order(step.settle, payload);
                bytes += payload.len();
                if bytes > CHUNK_BYTES && !asked.is_empty() {
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
        let (commands, keys) = (self.store.commands(), self.store.keys());
        let outcomes: Vec<i64> = self
            .store
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

/// Reads the payloads of those that a settlement will change, in order, as far as one script goes.
async fn leased(store: &Store, steps: &[Step<'_>]) -> Result<Vec<Option<Bytes>>> {
    let args: Vec<_> = steps
        .iter()
        .filter(|step| says_something_new(step.settle))
        .flat_map(|step| [text(step.batch), text(step.index)])
        .collect();
    if args.is_empty() {
        return Ok(Vec::new());
    }
    let (commands, keys) = (store.commands().repeatable(), store.keys());
    store
        .run("settle in", &commands, &LEASED, &keys.all(), &args)
        .await
}

/// Tells whether a settlement gives the message back to the front.
fn is_to_front(settle: &Settle) -> bool {
    match settle {
        Settle::Release => true,
        Settle::Nack { delay } => delay.is_zero(),
        _ => false,
    }
}

/// Tells whether a settlement changes the payload.
fn says_something_new(settle: &Settle) -> bool {
    matches!(settle, Settle::Nack { .. } | Settle::Bury { .. })
}

/// Says a settlement in the words of `settle.lua`: what, how many ms, and the payload.
fn order(settle: &Settle, payload: Bytes) -> [Bytes; 3] {
    let none = Bytes::new;
    match settle {
        Settle::Release => [text("front"), none(), none()],
        Settle::Nack { delay } if delay.is_zero() => {
            [text("front"), none(), taken_once_more(payload)]
        }
        Settle::Nack { delay } => [text("later"), millis(*delay), taken_once_more(payload)],
        Settle::Extend { lease } => [text("extend"), millis(lease_time(*lease)), none()],
        Settle::Bury { reason } => [text("bury"), none(), dead_letter::write(payload, reason)],
        // `Ack`; what else there may be one day is refused by the script.
        _ => [text("ack"), none(), none()],
    }
}

/// Returns the payload that says that the message has been taken once more.
pub(super) fn taken_once_more(payload: Bytes) -> Bytes {
    let (message, extra) = wire::decode_with(payload);
    wire::encode_with(
        &message,
        &Extra {
            attempt: extra.attempt.saturating_add(1),
            ..extra
        },
    )
}
