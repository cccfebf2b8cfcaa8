//! Queues: Python's own lists, with leases, delays and dead letters beside them.
//!
//! | file | what it holds |
//! |---|---|
//! | `store` | one queue in Redis, each operation one command or script |
//! | `taken` | what was taken and is not delivered yet: dropped anywhere, it goes back |
//! | `keeper` | the task that takes for those who wait at a queue, and sweeps it |
//! | `watch` | its connection, which sees messages come and takes none |
//! | `receipt` | the name of a leased message |
//! | `dead_letter` | a dead letter as Redis keeps it |
//! | `args` | what scripts are told, as text |

mod args;
mod dead_letter;
mod keeper;
mod receipt;
mod store;
mod taken;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use pymq::provider::{
    Delivery, GetOptions, Part, PutOptions, QueueStats, Receipt, Redrive, Settle, Stored, Wait,
};
use pymq::{Error, ErrorKind, Message, Result};
use tokio::time::{Instant, timeout_at};

use self::args::CENTURY;
use self::keeper::Desks;
use self::store::Store;
use self::taken::Taken;
use crate::core::Core;

/// A take that waits gets at least this long for its first look, however short its wait.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// The queues of a provider.
#[derive(Debug)]
pub(crate) struct Queues {
    shared: Arc<Shared>,
}

/// What the operations on all queues share.
#[derive(Debug)]
struct Shared {
    core: Core,
    desks: Desks,
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
            desks: Desks::default(),
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
    ) -> Result<()> {
        let store = self.store(queue);
        let delay = opts.delay;
        store.put(&messages, opts).await?;
        if !delay.is_zero() && !messages.is_empty() {
            keeper::note_due(&store, delay);
        }
        Ok(())
    }

    pub(crate) async fn get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        let store = self.store(queue);
        tokio::select! {
            biased;
            taken = self.get_from(&store, &opts) => Ok(taken?.deliver()),
            () = self.shared.core.close.cancelled() => {
                Err(Error::new(ErrorKind::Closed, store.context("get from")))
            }
        }
    }

    async fn get_from(&self, store: &Store, opts: &GetOptions) -> Result<Taken> {
        let start = Instant::now();
        let deadline = match opts.wait {
            Wait::Forever => None,
            Wait::For(time) if !time.is_zero() => Some(start + time.min(CENTURY)),
            _ => return self.get_now(store, opts).await,
        };
        // Whoever waits also keeps the queue swept, even if it is never empty.
        keeper::touch(store);
        let first_look = deadline.map_or(start + FIRST_LOOK, |end| end.max(start + FIRST_LOOK));
        match timeout_at(first_look, self.take(store, opts)).await {
            Ok(Ok(taken)) if !taken.is_empty() => return Ok(taken),
            Ok(Err(error)) if !store::is_passing(&error) => return Err(error),
            _ => {}
        }
        Box::pin(keeper::wait(store, opts, deadline)).await
    }

    /// Takes without waiting; what is due counts.
    async fn get_now(&self, store: &Store, opts: &GetOptions) -> Result<Taken> {
        let taken = self.take(store, opts).await?;
        if !taken.is_empty() {
            return Ok(taken);
        }
        // Taken again also when nothing was moved: another may have swept between the two.
        Box::pin(store.sweep()).await?;
        self.take(store, opts).await
    }

    async fn take(&self, store: &Store, opts: &GetOptions) -> Result<Taken> {
        let taken = store.take(opts.max, opts.lease).await?;
        if let (Some(lease), false) = (opts.lease, taken.is_empty()) {
            keeper::note_due(store, lease);
        }
        Ok(taken)
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
            keeper::note_due(&store, next);
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
