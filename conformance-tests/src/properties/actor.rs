//! Runs a script on a provider, and records the answers.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use pymq_core::provider::{
    Delivery, GetOptions, Part, Provider, PutOptions, Receipt, Redrive, Settle, Stored,
};
use pymq_core::{ErrorKind, MessageId};
use tokio::time::{Instant, sleep_until};

use super::model::{Answer, How, Item, Op};
use crate::jobs::{at_most, item, message, nack};
use crate::{Harness, Outcome};

/// The first length of a tick. A machine may be late by half of it.
const TICK: Duration = Duration::from_millis(400);

/// The play fails after this many doublings of the tick.
const DOUBLINGS: u32 = 5;

/// The answers to a script, step by step.
pub(super) type Transcript = Vec<(Op, Answer)>;

/// Plays a script on a queue of its own, on two handles in turn.
///
/// If the machine was so slow that it missed a tick, the order is unknown. Then the script is
/// played again with longer ticks.
pub(super) async fn play(h: &dyn Harness, queue: &str, script: &[Op]) -> Outcome<Transcript> {
    let mut handles = [h.connect().await?, h.connect().await?];
    for doubling in 0..DOUBLINGS {
        let mut actor = Actor {
            queue: format!("{queue}-{doubling}"),
            tick: TICK * 2_u32.pow(doubling),
            started: Instant::now(),
            ticks: 0,
            items_put: 0,
            receipts: Vec::new(),
        };
        let mut transcript = Vec::with_capacity(script.len());
        for (op, turn) in script.iter().zip((0..handles.len()).cycle()) {
            if *op == Op::Crash {
                handles[turn] = h.connect().await?;
            }
            let answer = actor
                .apply(&handles[turn], op)
                .await
                .map_err(|error| format!("{op:?}: {error}"))?;
            if actor.is_late() {
                break;
            }
            transcript.push((op.clone(), answer));
        }
        if transcript.len() == script.len() {
            return Ok(transcript);
        }
    }
    Err(format!(
        "no tick is long enough, not even {:?}",
        TICK * 2_u32.pow(DOUBLINGS - 1)
    )
    .into())
}

#[derive(Debug)]
struct Actor {
    queue: String,
    tick: Duration,
    started: Instant,
    ticks: u32,
    items_put: u32,
    /// Of every lease of the script.
    receipts: Vec<Receipt>,
}

impl Actor {
    /// Tells whether so much of the tick is over that the events halfway to the next tick may have
    /// happened.
    fn is_late(&self) -> bool {
        self.started.elapsed() > self.tick * self.ticks + self.tick * 2 / 5
    }

    /// Returns the time until half a tick after this many ticks.
    fn half_past(&self, ticks: usize) -> Duration {
        self.tick * u32::try_from(ticks).expect("scripts are short") + self.tick / 2
    }

    async fn apply(&mut self, handle: &Arc<dyn Provider>, op: &Op) -> Outcome<Answer> {
        let queue = &self.queue;
        Ok(match op {
            Op::Put {
                count,
                delay,
                maxsize,
                once,
            } => {
                let mut opts = PutOptions::default().maxsize(maxsize.and_then(NonZeroUsize::new));
                opts.delay = delay.map_or(Duration::ZERO, |delay| self.half_past(delay));
                opts.once = once.map(|id| MessageId::from(id.to_string()));
                let first = self.items_put;
                self.items_put += u32::try_from(*count)?;
                let messages = (first..self.items_put).map(message).collect();
                Answer::Put(answered(handle.queue_put(queue, messages, opts).await)?)
            }
            Op::Get { max } => {
                let taken = handle
                    .queue_get(queue, GetOptions::default().max(at_most(*max)))
                    .await?;
                Answer::Items(deliveries(&taken)?)
            }
            Op::Lease { max, ticks } => {
                let opts = GetOptions::default()
                    .max(at_most(*max))
                    .lease(self.half_past(*ticks));
                let taken = handle.queue_get(queue, opts).await?;
                for delivery in &taken {
                    self.receipts.push(
                        delivery
                            .receipt
                            .clone()
                            .ok_or("a lease without a receipt")?,
                    );
                }
                Answer::Items(deliveries(&taken)?)
            }
            Op::Settle(settlements) => {
                let settlements = settlements
                    .iter()
                    .map(|(back, how)| self.settlement(*back, *how))
                    .collect();
                let answers = handle.queue_settle(queue, settlements).await?;
                Answer::Settled(answers.into_iter().map(answered).collect::<Outcome<_>>()?)
            }
            Op::Peek(part) => Answer::Items(self.peek(handle, *part).await?),
            Op::Clear(part) => Answer::Count(handle.queue_clear(queue, *part).await?),
            Op::RedriveAll => Answer::Count(handle.queue_redrive(queue, Redrive::All).await?),
            Op::RedriveOne(number) => {
                let dead = handle.queue_peek(queue, Part::Dead, 1_000).await?;
                let ids = match dead.len() {
                    0 => vec![MessageId::from("nobody")],
                    count => vec![
                        dead[number % count]
                            .id
                            .clone()
                            .ok_or("a dead letter without an id")?,
                    ],
                };
                Answer::Count(handle.queue_redrive(queue, Redrive::Ids(ids)).await?)
            }
            Op::Stats => Answer::Stats(handle.queue_stats(queue).await?),
            Op::Crash => Answer::Done,
            Op::Tick => {
                self.ticks += 1;
                sleep_until(self.started + self.tick * self.ticks).await;
                // A provider moves due messages and ended leases at the latest when it is asked.
                Answer::Items(self.peek(handle, Part::Ready).await?)
            }
        })
    }

    fn settlement(&self, back: usize, how: How) -> (Receipt, Settle) {
        let number = self.receipts.len().checked_sub(back + 1);
        let receipt = number.map_or_else(
            || Receipt::new("never given"),
            |number| self.receipts[number].clone(),
        );
        let settle = match how {
            How::Ack => Settle::Ack,
            How::Nack => nack(),
            How::NackLater(delay) => Settle::Nack {
                delay: self.half_past(delay),
            },
            How::Release => Settle::Release,
            How::Extend(ticks) => Settle::Extend {
                lease: self.half_past(ticks),
            },
            How::Bury => Settle::Bury {
                reason: "bad".to_owned(),
            },
        };
        (receipt, settle)
    }

    async fn peek(&self, handle: &Arc<dyn Provider>, part: Part) -> Outcome<Vec<Item>> {
        let stored = handle.queue_peek(&self.queue, part, 1_000).await?;
        stored
            .iter()
            .map(
                |Stored {
                     message, attempt, ..
                 }| {
                    Ok(Item {
                        number: item(message)?,
                        attempt: *attempt,
                    })
                },
            )
            .collect()
    }
}

fn deliveries(taken: &[Delivery]) -> Outcome<Vec<Item>> {
    taken
        .iter()
        .map(|delivery| {
            Ok(Item {
                number: item(&delivery.message)?,
                attempt: delivery.attempt,
            })
        })
        .collect()
}

/// Keeps the errors that scripts expect, and fails on all others.
fn answered<T>(result: pymq_core::Result<T>) -> Outcome<Result<T, ErrorKind>> {
    match result {
        Err(error) if !matches!(error.kind(), ErrorKind::Full | ErrorKind::LeaseLost) => {
            Err(error.into())
        }
        result => Ok(result.map_err(|error| error.kind())),
    }
}
