//! How a handler or a stream is subscribed: [`SubscriptionBuilder`].

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Events, runner};
use crate::client::{Client, Registration, Running, Start};
use crate::codec::Decode;
use crate::error::{Error, Result};
use crate::handler::{self, EventFn, Handler};
use crate::name;
use crate::provider::{BufferLimits, Filter, Subscription, WhenFull};

/// What waits for a reader, and what goes when that is too much.
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
        Events::open(&self.client, self.filter, self.buffer).await
    }

    /// Subscribes the handler; else as [`Topic::subscribe`](crate::Topic::subscribe).
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
