//! [`SubscriptionBuilder`]: how a handler or a stream is subscribed.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Events, runner};
use crate::client::{Client, Registration, Running, Start};
use crate::codec::Decode;
use crate::error::{Error, Result};
use crate::handler::{self, EventFn, Handler};
use crate::name;
use crate::provider::{BufferLimits, Filter, Subscription, WhenFull};

/// How much may wait for a reader, and what a full buffer drops.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Buffer {
    limits: BufferLimits,
    when_full: WhenFull,
}

impl Buffer {
    pub(super) fn set(self, subscription: &mut Subscription) {
        subscription.set_limits(self.limits);
        subscription.set_when_full(self.when_full);
    }
}

/// The settings of a handler or a stream that is to be subscribed.
///
/// It comes from [`Topic::concurrency`](crate::Topic::concurrency),
/// [`buffer`](crate::Topic::buffer) and [`when_full`](crate::Topic::when_full), and from the same
/// methods of [`Pattern`](crate::Pattern).
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
    client: Client,
    filter: Filter,
    concurrency: usize,
    buffer: Buffer,
}

impl SubscriptionBuilder {
    pub(crate) fn new(client: Client, filter: Filter) -> Self {
        Self {
            client,
            filter,
            concurrency: 1,
            buffer: Buffer::default(),
        }
    }

    /// Lets the handler work on this number of events at once, in any order. Zero counts as one.
    pub fn concurrency(mut self, events: usize) -> Self {
        // The semaphore that enforces the limit has a maximum of its own.
        self.concurrency = events.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Limits how much may wait for the handler or the reader: 1,024 events and 16 MiB unless set.
    pub fn buffer(mut self, limits: BufferLimits) -> Self {
        self.buffer.limits = limits;
        self
    }

    /// Chooses which events a full buffer drops: the oldest unless set.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.buffer.when_full = when_full;
        self
    }

    /// Subscribes, and returns the events as a stream. It ignores
    /// [`concurrency`](Self::concurrency). Otherwise as [`Topic::stream`](crate::Topic::stream).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, nothing stays subscribed.
    ///
    /// # Errors
    ///
    /// As [`Topic::stream`](crate::Topic::stream).
    pub async fn stream<T: Decode>(self) -> Result<Events<T>> {
        Events::open(&self.client, self.filter, self.buffer).await
    }

    /// Subscribes the handler, as [`Topic::subscribe`](crate::Topic::subscribe) does.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, nothing stays subscribed.
    ///
    /// # Errors
    ///
    /// As [`Topic::subscribe`](crate::Topic::subscribe).
    pub async fn subscribe<E, Form>(self, handler: impl Handler<E, Form>) -> Result<Running>
    where
        E: Decode + 'static,
    {
        name::check(self.filter.as_str())?;
        let operation = format!("subscribe to `{}`", self.filter.as_str());
        let handler = handler::erase(handler, self.client.states())
            .map_err(|error| Error::new(error.kind(), operation.clone()).with_source(error))?;
        let subscribing = Subscribing {
            filter: self.filter,
            concurrency: self.concurrency,
            buffer: self.buffer,
            handler,
        };
        let start: Start = Arc::new(move |session, alive| {
            Box::pin(runner::start(session, subscribing.clone(), alive))
        });
        self.client
            .register(Registration::new(operation, start))
            .await
    }
}

/// What a subscription consists of.
#[derive(Clone)]
pub(super) struct Subscribing {
    pub(super) filter: Filter,
    pub(super) concurrency: usize,
    pub(super) buffer: Buffer,
    pub(super) handler: EventFn,
}

/// Adds the methods that subscribe to a topic or to a pattern. The type has a `client` and a
/// `filter()`.
macro_rules! subscribing {
    ($name:ident) => {
        impl $name {
            /// Subscribes a handler of any serde type, or of [`Raw`](crate::codec::Raw) bytes.
            /// Resolves when it is live. Its [`Meta`](crate::Meta) names the topic of each event.
            ///
            /// On a bus that is not connected yet, the handler waits and starts when the bus is
            /// connected.
            ///
            /// # Delivery
            ///
            /// As [`Bus::subscribe`](crate::Bus::subscribe). A subscription to a topic and one to a
            /// pattern that matches it receive a copy each.
            ///
            /// # Cancel safety
            ///
            /// If the future is dropped early, nothing stays subscribed.
            ///
            /// # Errors
            ///
            /// As [`Bus::subscribe`](crate::Bus::subscribe), and
            /// [`InvalidName`](crate::ErrorKind::InvalidName). A pattern fails with
            /// [`Unsupported`](crate::ErrorKind::Unsupported) if the provider has none.
            ///
            /// # Examples
            ///
            /// ```
            /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
            /// # let bus = pymq::connect("memory://").await?;
            /// let news = bus.topic("news");
            /// let reading = news.subscribe(async |text: String| println!("{text}")).await?;
            ///
            /// news.publish("it rains").await?;
            ///
            /// reading.stop().await;
            /// # Ok(()) }
            /// ```
            #[doc(alias = "listener", alias = "subscriber", alias = "consumer")]
            pub async fn subscribe<E, Form>(
                &self,
                handler: impl crate::handler::Handler<E, Form>,
            ) -> crate::error::Result<crate::client::Running>
            where
                E: crate::codec::Decode + 'static,
            {
                self.builder().subscribe(handler).await
            }

            /// Lets a handler work on this number of events at once, in any order. Zero counts as
            /// one.
            ///
            /// # Examples
            ///
            /// ```
            /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
            /// # let bus = pymq::connect("memory://").await?;
            /// # async fn fetch(_url: String) {}
            /// bus.topic("urls").concurrency(8).subscribe(fetch).await?.keep();
            /// # Ok(()) }
            /// ```
            pub fn concurrency(&self, events: usize) -> crate::topic::SubscriptionBuilder {
                self.builder().concurrency(events)
            }

            /// Limits how much may wait for a handler or a stream: 1,024 events and 16 MiB unless
            /// set.
            ///
            /// # Examples
            ///
            /// ```
            /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
            /// # let bus = pymq::connect("memory://").await?;
            /// use pymq::topic::{BufferLimits, Received, WhenFull};
            ///
            /// let prices = bus.topic("prices");
            /// let one = prices.buffer(BufferLimits::default().items(1));
            /// let mut latest = one.clone().stream::<u32>().await?;
            /// let mut first = one.when_full(WhenFull::DropNewest).stream::<u32>().await?;
            ///
            /// for price in [10, 11, 12] {
            ///     prices.publish(&price).await?;
            /// }
            ///
            /// assert!(matches!(latest.recv().await?, Received::Lagged(Some(2))));
            /// assert_eq!(latest.recv().await?.into_event(), Some(12));
            /// assert_eq!(first.recv().await?.into_event(), Some(10));
            /// assert!(matches!(first.recv().await?, Received::Lagged(Some(2))));
            /// # Ok(()) }
            /// ```
            pub fn buffer(
                &self,
                limits: crate::provider::BufferLimits,
            ) -> crate::topic::SubscriptionBuilder {
                self.builder().buffer(limits)
            }

            /// Chooses which events a full buffer drops: the oldest unless set.
            pub fn when_full(
                &self,
                when_full: crate::provider::WhenFull,
            ) -> crate::topic::SubscriptionBuilder {
                self.builder().when_full(when_full)
            }

            /// Subscribes, and returns the events as a stream. Resolves when it is live.
            ///
            /// # Cancel safety
            ///
            /// If the future is dropped early, nothing stays subscribed.
            ///
            /// # Errors
            ///
            /// As [`subscribe`](Self::subscribe). On a bus that is not connected yet,
            /// [`NotInitialized`](crate::ErrorKind::NotInitialized).
            pub async fn stream<T: crate::codec::Decode>(
                &self,
            ) -> crate::error::Result<crate::topic::Events<T>> {
                self.builder().stream().await
            }

            fn builder(&self) -> crate::topic::SubscriptionBuilder {
                crate::topic::SubscriptionBuilder::new(self.client.clone(), self.filter())
            }
        }
    };
}

pub(super) use subscribing;
