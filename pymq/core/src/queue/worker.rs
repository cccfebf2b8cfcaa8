//! Workers: a function that works on the items of a queue, each under a lease, until it is stopped.
//!
//! | file | what it holds |
//! |---|---|
//! | `run` | the task: one loop that takes, begins, and waits for what comes first |
//! | `item` | one item at its handler |
//! | `judging` | what becomes of an item whose handler has ended |
//! | `settling` | telling the provider, until it answers |
//! | `hands`, `outbox`, `pace` | pure state: the items in hand, what is to be told, how far to look ahead |
//! | `source`, `ongoing` | what is asked of the provider, and what of it is under way |

mod hands;
mod item;
mod judging;
mod ongoing;
mod outbox;
mod pace;
mod run;
mod settling;
mod source;

use std::any::type_name_of_val;
use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use self::item::ItemFn;
pub use self::item::ItemMeta;
use self::run::{Rules, Worker};
use self::source::Source;
use super::Handle;
use crate::client::{Alive, LocalQueue, Registration, Running, Session, Start};
use crate::codec::Decode;
use crate::error::{Error, ErrorKind, Result};
use crate::handler::Handler;
use crate::retry::RetryDelay;

const VERB: &str = "work on";

/// A worker that is to be started; made by [`Queue::worker`](crate::Queue::worker).
///
/// # Delivery
///
/// At least once: an item is acked after its handler returned, so a process that dies in between leaves it to another.
/// A handler sees by [`ItemMeta::attempt`] that an item may have been worked on before.
///
/// - **Failures.** An error and a panic are the same: the item rests for its [backoff](Self::backoff) and is tried again, by
///   any worker. After [`max_attempts`](crate::Queue::max_attempts) it is a dead letter, whose reason says how often it was
///   tried, the last error, and where that was. An item that is not what the handler takes is a dead letter at once.
///   A worker that dies counts as an attempt too, so what always kills its worker ends as a dead letter as well.
/// - **Order.** One item at a time, the default, begins them in the order of the queue. One that fails steps aside for its
///   backoff and lets others pass; with a backoff of zero it goes back to the front, and none is begun before it is done
///   or dead. Several at a time keep no order, and neither do several workers.
/// - **Leases** are extended every third of their time, for as long as the handler runs. If one is lost, as
///   after a long outage, another worker may have the item: what the handler returns is then dropped, logged and counted.
/// - **Taking ahead.** A worker takes when a handler is free, one item for each that is, and as many more as its handlers will
///   have come to within 20 ms, judged by how long the last ones took; at most 64, and none where an item takes longer. What
///   has not begun 100 ms later goes back. So quick items cost few round trips, and slow ones are left to others.
/// - **Outages.** The worker waits, tries again, and goes on by itself. What was finished meanwhile is settled afterwards, if
///   its lease has lasted.
/// - **Its end.** [`Running::stop`](crate::Running::stop) and [`Bus::shutdown`](crate::Bus::shutdown) begin nothing more, give back at once what
///   has not begun, and let handlers finish; what a shutdown ends after its grace time goes back too. What is given back so
///   has its attempt not counted. A [closed](crate::Queue::close) queue is worked off, then its workers end.
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
///     if meta.attempt() == 1 { Err("nobody at home".to_owned()) } else { Ok(()) }
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
#[must_use = "nothing is worked on until `start`"]
pub struct WorkerBuilder {
    handle: Handle,
    /// An error if the bus lacks a state that it takes.
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
        let states = handle.client.states();
        Self {
            name: type_name_of_val(&handler),
            handler: item::erase(handler, states),
            concurrency: 1,
            retry_delay: RetryDelay::default(),
            handle,
        }
    }

    /// Lets the handler work on so many items at once, which gives up their order; 1 unless set, and zero counts as one.
    pub fn concurrency(mut self, items: usize) -> Self {
        // A bound that leaves room to add to.
        self.concurrency = items.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Sets how long a failed item rests: `first` after the first attempt, twice as long after each further one, at most
    /// `longest`; 1 second and 5 minutes unless set.
    ///
    /// Each rest is cut by up to a half, so that items which fail together come back apart: by what is in the item, not by
    /// chance, so a test sees the same each time. A backoff of zero tries again at once, from the front of the queue: without a
    /// [limit of attempts](crate::Queue::max_attempts) that is for ever and without a pause.
    ///
    /// While it rests no worker holds the item. On a provider without delays the worker keeps it under its
    /// lease for so long.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.retry_delay = RetryDelay::new(first, longest);
        self
    }

    /// Starts the worker. It goes on until its guard is dropped or stopped, its bus is shut down or its queue is closed.
    ///
    /// Nobody is asked: a provider that is away or refuses is waited for, and the log says so.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) after a shutdown; [`InvalidName`](ErrorKind::InvalidName);
    /// [`Unsupported`](ErrorKind::Unsupported) by a provider without leases.
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
        let (queue, held) = (Arc::clone(&handle.local), rules.clone());
        let start: Start = Arc::new(move |session, alive| {
            let started = start_on(session, &queue, held.clone(), alive);
            Box::pin(ready(started))
        });
        let registration = Registration::new(handle.context(VERB), start);
        handle.client.register_now(&registration, |session, alive| {
            start_on(session, &handle.local, rules, alive)
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
    let source = Source::new(session, queue);
    let worker = Worker::new(rules, source, Arc::clone(session.leases()), alive);
    drop(session.tasks().spawn(worker.run()));
    Ok(())
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("queue", self.handle.local.name())
            .field("handler", &self.name)
            .field("concurrency", &self.concurrency)
            .field("retry_delay", &self.retry_delay)
            .finish_non_exhaustive()
    }
}
