//! Queues: Python's own lists, with leases, delays and dead letters beside them.
//!
//! | file | what it holds |
//! |---|---|
//! | `put`, `take`, `settle`, `peek`, `redrive`, `clear`, `stats` | the operations of a provider |
//! | `sweep`, `give_back` | due messages and ended leases; undelivered messages |
//! | `queue` | what the operations share |
//! | `taken` | messages that are taken and not delivered yet; dropped, they go back |
//! | `waiters` | the callers that wait for messages, in their order |
//! | `taker` | the one task that takes from a queue for all waiters, and sweeps the queue |
//! | `handoff` | the taker's connection: it waits until Redis hands a message to this process |
//! | `receipt` | the name of a leased message |
//! | `dead_letter` | the form of a dead letter in Redis |
//! | `args` | arguments of scripts |

mod args;
mod clear;
mod dead_letter;
mod give_back;
mod handoff;
mod peek;
mod put;
mod queue;
mod receipt;
mod redrive;
mod settle;
mod stats;
mod sweep;
mod take;
mod taken;
mod taker;
mod waiters;

use std::sync::Arc;

use pymq_core::provider::{
    Delivery, GetOptions, Part, Put, PutOptions, QueueStats, Receipt, Redrive, Settle, Stored,
};
use pymq_core::{Error, ErrorKind, Message, Result};

use self::queue::Queue;
use self::waiters::WaitersByQueue;
use crate::core::Core;
use crate::subscriptions::Subscriptions;

/// Reads a receipt and issues it again, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_receipt(bytes: &bytes::Bytes) -> Option<Receipt> {
    let receipt = Receipt::new(bytes.clone());
    let (batch, index) = receipt::read(&receipt)?;
    let again = receipt::issue(batch, index.parse().ok()?);
    assert_eq!(again, receipt, "read as another receipt");
    Some(again)
}

/// Reads a dead letter, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_dead_letter(bytes: &bytes::Bytes) -> Option<Stored> {
    dead_letter::read(bytes)
}

/// The queues of a provider.
#[derive(Debug)]
pub(crate) struct Queues {
    shared: Arc<Shared>,
}

/// The state that all queues share.
#[derive(Debug)]
struct Shared {
    core: Core,
    subscriptions: Subscriptions,
    waiters: WaitersByQueue,
}

impl Shared {
    /// Spawns a task that `close` waits for. Can be called from any thread.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.core.spawn(task);
    }
}

impl Queues {
    pub(crate) fn new(core: Core, subscriptions: Subscriptions) -> Self {
        let shared = Shared {
            core,
            subscriptions,
            waiters: WaitersByQueue::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    pub(crate) async fn put(
        &self,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        let queue = self.queue(queue)?;
        let delay = opts.delay;
        let put = queue.put(&messages, opts).await;
        let is_put = put.as_ref().map_or_else(Error::outcome_unknown, |_| true);
        if is_put && !delay.is_zero() && !messages.is_empty() {
            waiters::note_due(&queue, delay);
        }
        put
    }

    pub(crate) async fn get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        let queue = self.queue(queue)?;
        tokio::select! {
            biased;
            taken = waiters::take(&queue, &opts) => Ok(taken?.deliver()),
            () = self.shared.core.close.cancelled() => {
                Err(Error::new(ErrorKind::Closed, queue.context("get from")))
            }
        }
    }

    pub(crate) async fn settle(
        &self,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        let queue = self.queue(queue)?;
        let next = settlements.iter().filter_map(|(_, settle)| match settle {
            Settle::Nack { delay } if !delay.is_zero() => Some(*delay),
            Settle::Extend { lease } => Some(*lease),
            _ => None,
        });
        let next = next.min();
        if settlements.iter().any(|(_, one)| settle::is_to_front(one)) {
            waiters::given_back(&queue).await;
        }
        let results = queue.settle(&settlements).await?;
        if let Some(next) = next {
            waiters::note_due(&queue, next);
        }
        Ok(results)
    }

    pub(crate) async fn peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        let queue = self.queue(queue)?;
        if part != Part::Dead {
            queue.sweep().await?;
        }
        queue.peek(part, max).await
    }

    pub(crate) async fn redrive(&self, queue: &str, which: Redrive) -> Result<usize> {
        self.queue(queue)?.redrive(which).await
    }

    pub(crate) async fn clear(&self, queue: &str, part: Part) -> Result<usize> {
        let queue = self.queue(queue)?;
        if part != Part::Dead {
            // Due messages count as ready, and so do messages whose lease has ended.
            queue.sweep().await?;
        }
        queue.clear(part).await
    }

    pub(crate) async fn stats(&self, queue: &str) -> Result<QueueStats> {
        self.queue(queue)?.stats().await
    }

    fn queue(&self, name: &str) -> Result<Queue> {
        if self.shared.core.keys.can_have_queue(name) {
            return Ok(Queue::new(Arc::clone(&self.shared), name));
        }
        let what =
            format!("redis: queue `{name}`: on a cluster, a `}}` in a name needs a `{{` before it");
        Err(Error::new(ErrorKind::InvalidName, what))
    }
}
