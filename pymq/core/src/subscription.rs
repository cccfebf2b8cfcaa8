//! Typed subscriptions: the stream [`Events`], the guard of a handler, and the task that runs one.
//!
//! Each handler has a task and a bounded buffer of its own, so that a slow one delays nobody else.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::bus::Bus;
use crate::codec::Decode;
use crate::counters::Counters;
use crate::error::{ErrorKind, Result, end_of_stream};
use crate::handler::{self, EventFn, Failure, Handler, Meta};
use crate::isolation::catch_panic;
use crate::message::Message;
use crate::name;
use crate::provider::{BufferLimits, Filter, Incoming, Subscription, WhenFull};
use crate::registration::{Guard, Owner, Registration};
use crate::shutdown::{Running, Tasks};

/// A handler that is subscribed. Dropping it unsubscribes.
///
/// It is a handle to its bus, too: the handler goes on while the guard is there.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// let guard = bus.topic("news").subscribe(async |text: String| println!("{text}")).await?;
/// assert_eq!(bus.topic("news").publish("it rains").await?, 1);
///
/// guard.unsubscribe().await;
///
/// assert_eq!(bus.topic("news").publish("it pours").await?, 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "dropping it unsubscribes at once; `keep()` leaves the handler subscribed until shutdown"]
pub struct SubscriptionGuard(Guard);

impl SubscriptionGuard {
    /// Unsubscribes, and resolves once the provider no longer delivers and the events being handled are finished.
    ///
    /// Events still waiting are dropped, also during a shutdown, which lets other handlers handle theirs. A handler that unsubscribes itself would wait for itself; let it drop the
    /// guard instead.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, it unsubscribes all the same, only nobody waits for it.
    pub async fn unsubscribe(self) {
        self.0.end().await;
    }

    /// Leaves the handler subscribed until the bus is shut down, or its last handle dropped.
    pub fn keep(self) {
        self.0.keep();
    }
}

/// What a stream of [`Events`] yields.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use pymq::Received;
///
/// let mut news = bus.topic("news").stream::<String>().await?;
/// bus.topic("news").publish("it rains").await?;
///
/// match news.recv().await? {
///     Received::Event(text, meta) => println!("{}: {text}", meta.topic()),
///     Received::Lagged(missed) => println!("missed {missed:?}, better look at the whole state again"),
///     _ => {}
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Received<T> {
    /// An event, and what is known about it.
    Event(T, Meta),
    /// Events are missing here, as the reader was too slow or the connection broke: so many, or none when nobody
    /// can know.
    Lagged(Option<u64>),
}

impl<T> Received<T> {
    /// Returns the event, if it is one.
    pub fn into_event(self) -> Option<T> {
        match self {
            Self::Event(event, _) => Some(event),
            Self::Lagged(_) => None,
        }
    }
}

/// The events of a topic or pattern as a [`Stream`]. Dropping it unsubscribes.
///
/// An event that does not decode is an error with its payload; the stream goes on with the next one. It ends when
/// the bus is closed, after the events that had arrived by then. A [shutdown](Bus::shutdown) does not wait for its reader.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use futures_util::TryStreamExt;
/// use pymq::Received;
///
/// let mut news = bus.topic("news").stream::<String>().await?;
/// bus.topic("news").publish("it rains").await?;
/// bus.close().await?;
///
/// while let Some(received) = news.try_next().await? {
///     assert_eq!(received.into_event().as_deref(), Some("it rains"));
/// }
/// # Ok(()) }
/// ```
pub struct Events<T> {
    subscription: Subscription,
    /// Kept alive while somebody listens.
    bus: Bus,
    event: PhantomData<fn() -> T>,
}

impl<T: Decode> Events<T> {
    /// Opens a stream; resolves once it is live.
    pub(crate) async fn open(bus: Bus, filter: Filter, buffer: Buffer) -> Result<Self> {
        name::check(filter.as_str())?;
        bus.check_open(|| format!("subscribe to `{}`", filter.as_str()))?;
        let mut subscription = bus.provider().subscribe(filter).await?;
        buffer.set(&mut subscription);
        Ok(Self {
            subscription,
            bus,
            event: PhantomData,
        })
    }

    /// Returns the next event or lag, waiting until there is one.
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec), with the payload, for an event that is no `T`; [`Closed`](ErrorKind::Closed) after
    /// the bus was closed, each time.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an event is taken only when it is returned.
    pub async fn recv(&mut self) -> Result<Received<T>> {
        let incoming = self.subscription.recv().await;
        self.receive(incoming)
    }

    /// Unsubscribes, and resolves once the provider no longer delivers.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, it unsubscribes all the same, only nobody waits for it.
    pub async fn unsubscribe(self) {
        self.subscription.unsubscribe().await;
    }

    fn receive(&self, incoming: Result<Incoming>) -> Result<Received<T>> {
        let counters = self.bus.counters();
        match incoming? {
            Incoming::Lagged { missed } => {
                counters.lagged(missed);
                Ok(Received::Lagged(missed))
            }
            Incoming::Message { topic, message } => {
                let event = handler::decode(&topic, &message)
                    .inspect_err(|_| counters.undecodable.add(1))?;
                Ok(Received::Event(event, Meta::new(topic, message.headers)))
            }
        }
    }
}

impl<T: Decode> Stream for Events<T> {
    type Item = Result<Received<T>>;

    /// Yields as [`recv`](Self::recv) does; ends where that answers `Closed`.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let incoming = ready!(self.subscription.poll_recv(cx));
        Poll::Ready(end_of_stream(self.receive(incoming)))
    }
}

impl<T> fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}

/// What waits for a reader, and what goes when that is too much.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Buffer {
    limits: BufferLimits,
    when_full: WhenFull,
}

impl Buffer {
    fn set(self, subscription: &mut Subscription) {
        subscription.set_limits(self.limits);
        subscription.set_when_full(self.when_full);
    }
}

/// How a handler is to be subscribed, or a stream opened; made by [`Topic::concurrency`](crate::Topic::concurrency),
/// [`buffer`](crate::Topic::buffer) and [`when_full`](crate::Topic::when_full), and those of
/// [`Pattern`](crate::Pattern).
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// async fn fetch(url: String) {
///     println!("{url}");
/// }
///
/// bus.pattern("urls.*").concurrency(8).subscribe(fetch).await?.keep();
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is subscribed until `subscribe` is awaited"]
pub struct SubscriptionBuilder {
    owner: Owner,
    filter: Filter,
    concurrency: usize,
    buffer: Buffer,
}

impl SubscriptionBuilder {
    pub(crate) fn new(owner: Owner, filter: Filter) -> Self {
        Self {
            owner,
            filter,
            concurrency: 1,
            buffer: Buffer::default(),
        }
    }

    /// Lets the handler work on so many events at once, which gives up their order; zero counts as one.
    pub fn concurrency(mut self, events: usize) -> Self {
        // The semaphore that keeps the limit has one of its own.
        self.concurrency = events.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Limits how much may wait for the handler or the reader; 1,024 events and 16 MiB unless set.
    pub fn buffer(mut self, limits: BufferLimits) -> Self {
        self.buffer.limits = limits;
        self
    }

    /// Chooses what goes when that is full; the oldest events unless set.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.buffer.when_full = when_full;
        self
    }

    /// Subscribes, and returns the events as a stream, which the reader itself takes one at a time; else as
    /// [`Topic::stream`](crate::Topic::stream).
    ///
    /// # Errors
    ///
    /// As [`Topic::stream`](crate::Topic::stream).
    pub async fn stream<T: Decode>(self) -> Result<Events<T>> {
        Events::open(self.owner.bus()?.into_owned(), self.filter, self.buffer).await
    }

    /// Subscribes the handler; else as [`Topic::subscribe`](crate::Topic::subscribe).
    ///
    /// # Errors
    ///
    /// As [`Topic::subscribe`](crate::Topic::subscribe).
    pub async fn subscribe<E, Form>(
        self,
        handler: impl Handler<E, Form>,
    ) -> Result<SubscriptionGuard>
    where
        E: Decode + 'static,
    {
        let registration = Registration::Subscription {
            filter: self.filter,
            concurrency: self.concurrency,
            buffer: self.buffer,
            handler: handler::erase(handler),
        };
        self.owner
            .register(registration)
            .await
            .map(SubscriptionGuard)
    }
}

/// Subscribes an erased handler and spawns what runs it.
pub(crate) async fn start(
    bus: &Bus,
    filter: Filter,
    concurrency: usize,
    buffer: Buffer,
    handler: EventFn,
    running: Arc<Running>,
) -> Result<()> {
    bus.check_open(|| format!("subscribe to `{}`", filter.as_str()))?;
    let topic = Arc::from(filter.as_str());
    let mut subscription = bus.provider().subscribe(filter).await?;
    buffer.set(&mut subscription);
    let runner = Runner {
        topic,
        handler,
        running,
        slots: Arc::new(Semaphore::new(concurrency)),
        tasks: bus.tasks().clone(),
        counters: Arc::clone(bus.counters()),
    };
    bus.tasks().spawn(runner.run(subscription));
    Ok(())
}

/// What hands the events of one subscription to its handler.
struct Runner {
    /// The topic or pattern, for the log.
    topic: Arc<str>,
    handler: EventFn,
    running: Arc<Running>,
    /// One for each event that may be handled at a time. Taken before the event, so that none waits outside the
    /// bounded buffer, and one slot means one after the other.
    slots: Arc<Semaphore>,
    tasks: Tasks,
    counters: Arc<Counters>,
}

impl Runner {
    async fn run(self, mut subscription: Subscription) {
        let is_stopped = tokio::select! {
            biased;
            () = self.running.stopped(&self.tasks) => true,
            () = self.serve(&mut subscription) => false,
        };
        if !is_stopped || self.running.is_stopped() {
            return subscription.unsubscribe().await;
        }
        // A shutdown: events that had arrived are handled within its grace time, and no new ones
        // are taken meanwhile. The provider may need a while to let go, which must not hold them up.
        let detached = subscription.seal();
        tokio::select! {
            biased;
            () = self.running.stopped_by_owner() => {}
            () = self.serve(&mut subscription) => {}
        }
        // Frees what an owner has left unread before the wait for the provider.
        drop(subscription);
        detached.await;
    }

    /// Hands events to the handler until there are no more.
    ///
    /// Cancel safe: an event is taken only when it is handed on.
    async fn serve(&self, subscription: &mut Subscription) {
        loop {
            let slot = Arc::clone(&self.slots)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            match subscription.recv().await {
                Ok(Incoming::Message { topic, message }) => self.spawn(slot, topic, message),
                Ok(Incoming::Lagged { missed }) => {
                    self.counters.lagged(missed);
                    tracing::warn!(topic = &*self.topic, missed, "a handler missed events");
                }
                Err(error) => {
                    if error.kind() != ErrorKind::Closed {
                        tracing::error!(
                            topic = &*self.topic,
                            error = &error as &dyn StdError,
                            "a subscription ended"
                        );
                    }
                    return;
                }
            }
        }
    }

    fn spawn(&self, slot: OwnedSemaphorePermit, topic: Arc<str>, message: Message) {
        let (handler, counters) = (Arc::clone(&self.handler), Arc::clone(&self.counters));
        // Held to the end: an `unsubscribe` waits for the events being handled.
        let running = Arc::clone(&self.running);
        self.tasks.spawn(async move {
            handle(&handler, &counters, topic, message).await;
            drop((slot, running));
        });
    }
}

/// Handles one event; what goes wrong ends here.
async fn handle(handler: &EventFn, counters: &Counters, topic: Arc<str>, message: Message) {
    let meta = Meta::new(Arc::clone(&topic), message.headers.clone());
    match catch_panic(|| handler(&message, meta)).await {
        Ok(Ok(())) => {}
        Ok(Err(Failure::Undecodable(error))) => {
            counters.undecodable.add(1);
            tracing::warn!(topic = &*topic, error, "an event does not decode");
        }
        Ok(Err(Failure::Failed(error))) => {
            counters.failed.add(1);
            tracing::warn!(topic = &*topic, error, "a handler failed");
        }
        Err(panic) => {
            counters.panicked.add(1);
            tracing::error!(topic = &*topic, panic, "a handler panicked");
        }
    }
}
