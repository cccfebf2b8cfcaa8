//! Queues: Python's own lists, with leases, delays and dead letters beside them.
//!
//! | file | what it holds |
//! |---|---|
//! | `store` | one queue in Redis, each operation one command or script |
//! | `taken` | what was taken and is not delivered yet: dropped anywhere, it goes back |
//! | `waiters` | the callers that wait for a take, in their order |
//! | `taker` | the one task that takes from a queue for all of them, and sweeps it |
//! | `watch` | its connection, which sees messages come and takes none |
//! | `settlement` | settling many leased messages, in bounded steps |
//! | `receipt` | the name of a leased message |
//! | `dead_letter` | a dead letter as Redis keeps it |
//! | `args` | what scripts are told, as text |

mod args;
mod clear;
mod dead_letter;
mod give_back;
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
mod watch;

use std::sync::Arc;

use pymq_core::provider::{
    Delivery, GetOptions, Part, Put, PutOptions, QueueStats, Receipt, Redrive, Settle, Stored,
};
use pymq_core::{Error, ErrorKind, Message, Result};

use self::queue::Store;
use self::waiters::Lines;
use crate::core::Core;

/// Reads a receipt and issues it again, for the fuzzer.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_receipt(bytes: &bytes::Bytes) -> Option<Receipt> {
    let receipt = Receipt::new(bytes.clone());
    let (batch, index) = receipt::read(&receipt)?;
    let again = receipt::issue(batch, index.parse().ok()?);
    assert_eq!(again, receipt, "read as another one");
    Some(again)
}

/// Reads a dead letter, for the fuzzer.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_dead_letter(bytes: &bytes::Bytes) -> Option<Stored> {
    dead_letter::read(bytes)
}

/// The queues of a provider.
#[derive(Debug)]
pub(crate) struct Queues {
    shared: Arc<Shared>,
}

/// What the operations on all queues share.
#[derive(Debug)]
struct Shared {
    core: Core,
    lines: Lines,
}

impl Shared {
    /// Spawns a task that `close` waits for. Can be called from anywhere.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.core.spawn(task);
    }
}

impl Queues {
    pub(crate) fn new(core: Core) -> Self {
        let shared = Shared {
            core,
            lines: Lines::default(),
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
        let store = self.store(queue);
        let delay = opts.delay;
        let put = store.put(&messages, opts).await?;
        if !delay.is_zero() && !messages.is_empty() {
            waiters::note_due(&store, delay);
        }
        Ok(put)
    }

    pub(crate) async fn get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        let store = self.store(queue);
        tokio::select! {
            biased;
            taken = waiters::take(&store, &opts) => Ok(taken?.deliver()),
            () = self.shared.core.close.cancelled() => {
                Err(Error::new(ErrorKind::Closed, store.context("get from")))
            }
        }
    }

    pub(crate) async fn settle(
        &self,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        let store = self.store(queue);
        let next = settlements.iter().filter_map(|(_, settle)| match settle {
            Settle::Nack { delay } if !delay.is_zero() => Some(*delay),
            Settle::Extend { lease } => Some(*lease),
            _ => None,
        });
        let next = next.min();
        let results = store.settle(&settlements).await?;
        if let Some(next) = next {
            waiters::note_due(&store, next);
        }
        Ok(results)
    }

    pub(crate) async fn peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        let store = self.store(queue);
        if part != Part::Dead {
            store.sweep().await?;
        }
        store.peek(part, max).await
    }

    pub(crate) async fn redrive(&self, queue: &str, which: Redrive) -> Result<usize> {
        self.store(queue).redrive(which).await
    }

    pub(crate) async fn clear(&self, queue: &str, part: Part) -> Result<usize> {
        let store = self.store(queue);
        if part != Part::Dead {
            // What is due is ready, and so is what was leased too long ago.
            store.sweep().await?;
        }
        store.clear(part).await
    }

    pub(crate) async fn stats(&self, queue: &str) -> Result<QueueStats> {
        self.store(queue).stats().await
    }

    fn store(&self, queue: &str) -> Store {
        Store::new(Arc::clone(&self.shared), queue)
    }
}
