//! Workers: a function that works on the items of a queue, each under a lease, until it is stopped.
//!
//! | file | content |
//! |---|---|
//! | `run` | the task: one loop that takes, begins, and waits for the first event |
//! | `runners` | the tasks that run the handler, and what they share with the loop |
//! | `item` | one item: what its handler is given, and how it reports |
//! | `outcome` | how an item is settled when its handler has ended |
//! | `settling` | settlements and extensions, and what their answers mean |
//! | `in_flight`, `schedule` | pure state: the items, and when each is settled or extended |
//! | `pace` | pure state: how many items to take ahead |
//! | `ongoing` | an operation that is under way |

mod in_flight;
mod item;
mod ongoing;
mod outcome;
mod pace;
mod run;
mod runners;
mod schedule;
mod settling;

use std::any::type_name_of_val;
use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use self::item::ItemFn;
pub use self::item::ItemMeta;
use self::run::{Rules, Worker};
use super::Handle;
use crate::client::{Alive, LocalQueue, Registration, Running, Session, Start};
use crate::codec::Decode;
use crate::error::{Error, ErrorKind, Result};
use crate::handler::Handler;
use crate::retry::RetryDelay;

const VERB: &str = "work on";

/// A worker before its start. [`Queue::worker`](crate::Queue::worker) creates it.
///
/// # Delivery
///
/// At least once: an item is acked after its handler has returned. If the process dies before the
/// ack, another worker gets the item. [`ItemMeta::attempt`] tells a handler that an item may have
/// been worked on before.
///
/// - **Failures.** A panic counts as an error. After a failure the item is hidden for its
///   [backoff](Self::backoff). Then it is tried again, by any worker. After
///   [`max_attempts`](crate::Queue::max_attempts) it becomes a dead letter. The reason of the dead
///   letter contains the number of attempts, the last error, and where it happened. An item that is
///   not what the handler takes becomes a dead letter at once. If a worker dies, the attempt
///   counts: an item that always kills its worker becomes a dead letter too.
/// - **Order.** One item at a time, which is the default, begins the items in the order of the
///   queue. An item that fails is hidden for its backoff, and the next ones begin meanwhile. With a
///   backoff of zero it goes back to the front, and no other item begins before it is done or dead.
///   Several items at a time keep no order. Several workers keep none either.
/// - **Leases** are extended after each third of their time, as long as the handler runs. If a
///   lease is lost, as after a long outage, another worker may have the item. Then the result of
///   the handler is dropped, logged and counted.
/// - **Taking ahead.** A worker takes when a handler is free: one item for each free handler, and
///   as many more as its handlers are expected to reach within 20 ms. The expectation is based on
///   the last items. It is at most 64 items, and none if an item takes longer than 20 ms. Items
///   that have not begun after 100 ms go back. So quick items need few round trips, and slow items
///   are left to other workers.
/// - **Outages.** The worker waits, tries again, and goes on by itself. Items that were finished
///   during the outage are settled after it, if their leases have lasted.
/// - **Its end.** After [`Running::stop`](crate::Running::stop) or
///   [`Bus::shutdown`](crate::Bus::shutdown) the worker begins nothing more. It gives back at once
///   what has not begun, and lets handlers finish. A shutdown ends handlers after its grace time,
///   and gives their items back too. The attempt of an item that is given back in this way does not
///   count. When a queue is [closed](crate::Queue::close), its workers end after its last item.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use std::time::Duration;
///
/// use pymq::queue::ItemMeta;
///
/// async fn deliver(mail: String, meta: ItemMeta) -> Result<(), String> {
///     if meta.attempt() == 1 { Err(format!("no route for {mail}")) } else { Ok(()) }
/// }
///
/// let mails = bus.queue::<String>("mails").max_attempts(3);
/// let worker = mails
///     .worker(deliver)
///     .concurrency(8)
///     .backoff(Duration::from_millis(10), Duration::from_secs(60))
///     .start()?;
///
/// mails.put("hello").await?;
///
/// mails.join().await?;
/// assert!(mails.dead_letters().is_empty().await?);
/// worker.stop().await;
/// # Ok(()) }
/// ```
#[must_use = "a worker takes no item before `start`"]
pub struct WorkerBuilder {
    handle: Handle,
    /// An error if the bus lacks a state that the handler takes.
    handler: Result<ItemFn>,
    /// The path of the handler in the code.
    name: &'static str,
    concurrency: usize,
    retry_delay: RetryDelay,
}

impl WorkerBuilder {
    pub(crate) fn new<T, Form>(handle: Handle, handler: impl Handler<T, Form, ItemMeta>) -> Self
    where
        T: Decode + 'static,
    {
        let states = handle.client().states();
        Self {
            name: type_name_of_val(&handler),
            handler: item::erase(handler, states),
            concurrency: 1,
            retry_delay: RetryDelay::default(),
            handle,
        }
    }

    /// Sets how many items the handler works on at the same time. More than one item keeps no
    /// order. The default is 1, and zero counts as 1.
    pub fn concurrency(mut self, items: usize) -> Self {
        // Small enough to add to it without an overflow.
        self.concurrency = items.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Sets how long a failed item is hidden: `first` after the first attempt, twice as long after
    /// each further attempt, and at most `longest`. The default is 1 second and 5 minutes.
    ///
    /// Each delay is shortened by up to a half, so that items which fail together come back at
    /// different times. The part depends on the item and is not random, so a test sees the same
    /// delay each time. A backoff of zero tries again at once, from the front of the queue. Without
    /// a [limit of attempts](crate::Queue::max_attempts) it never stops and never pauses.
    ///
    /// No worker holds the item while it is hidden. If the provider has no delays, the worker keeps
    /// the item under its lease for that time.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.retry_delay = RetryDelay::new(first, longest);
        self
    }

    /// Starts the worker. It runs until its guard is dropped or stopped, its bus is shut down, or
    /// its queue is closed.
    ///
    /// It does not wait for the provider. If the provider is unreachable or refuses to lease, the
    /// worker logs this and tries again.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) after a shutdown, [`InvalidName`](ErrorKind::InvalidName), and
    /// [`Unsupported`](ErrorKind::Unsupported) if the provider has no leases.
    pub fn start(self) -> Result<Running> {
        let handle = self.handle;
        let name = handle.name()?;
        let handler = self
            .handler
            .map_err(|error| Error::new(error.kind(), handle.context(VERB)).with_source(error))?;
        let origin = format!(
            "`{}` on `{name}`, process {}",
            self.name,
            std::process::id()
        );
        let rules = Rules {
            handler,
            origin,
            concurrency: self.concurrency,
            retry_delay: self.retry_delay,
            max_attempts: handle.max_attempts,
            lease: handle.lease_time,
        };
        let (queue, held) = (Arc::clone(handle.local()), rules.clone());
        let start: Start = Arc::new(move |session, alive| {
            let started = start_on(session, &queue, held.clone(), alive);
            Box::pin(ready(started))
        });
        let registration = Registration::new(handle.context(VERB), start);
        handle
            .client()
            .register_now(&registration, |session, alive| {
                start_on(session, handle.local(), rules, alive)
            })
    }
}

/// Spawns the task of a worker.
fn start_on(
    session: &Session,
    queue: &Arc<LocalQueue>,
    rules: Rules,
    alive: Arc<Alive>,
) -> Result<()> {
    let provider = session.provider();
    if !provider.capabilities().leases {
        let context = format!("{}: {VERB} `{}`", provider.name(), queue.name());
        return Err(Error::new(ErrorKind::Unsupported, context));
    }
    let worker = Worker::new(rules, queue.connected(session), alive);
    drop(session.tasks().spawn(worker.run()));
    Ok(())
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("queue", self.handle.local().name())
            .field("handler", &self.name)
            .field("concurrency", &self.concurrency)
            .field("retry_delay", &self.retry_delay)
            .finish_non_exhaustive()
    }
}
