//! All topics a glob matches: handled or read, never published on.

use super::{Events, SubscriptionBuilder};
use crate::client::{Client, Running};
use crate::codec::Decode;
use crate::error::Result;
use crate::handler::Handler;
use crate::provider::{BufferLimits, Filter, WhenFull};

/// A glob over topics; made by [`Bus::pattern`](crate::Bus::pattern). Cheap to clone.
///
/// `*` is any run of characters, `?` one byte, `[ab]` and `[^a-c]` a class, and `\` takes the meaning from the next; see
/// [`glob`](crate::glob). There is nothing to publish with: a pattern is no topic.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use pymq::topic::Meta;
///
/// async fn log(order: u64, meta: Meta) {
///     println!("{}: {order}", meta.topic());
/// }
///
/// let logging = bus.pattern("orders.*").subscribe(log).await?;
///
/// bus.topic("orders.paid").publish(&7).await?;
///
/// logging.stop().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Pattern {
    client: Client,
    glob: String,
}

impl Pattern {
    pub(crate) fn new(client: Client, glob: String) -> Self {
        Self { client, glob }
    }

    /// Returns the glob.
    pub fn glob(&self) -> &str {
        &self.glob
    }

    /// Subscribes a handler; resolves once it is live. Its [`Meta`](crate::Meta) tells the concrete topic.
    ///
    /// # Delivery
    ///
    /// As [`Bus::subscribe`](crate::Bus::subscribe). Beside a subscription to the topic itself, each gets its own copy.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays subscribed.
    ///
    /// # Errors
    ///
    /// As [`Topic::subscribe`](crate::Topic::subscribe), and [`Unsupported`](crate::ErrorKind::Unsupported) where the
    /// provider has no patterns.
    pub async fn subscribe<E, Form>(&self, handler: impl Handler<E, Form>) -> Result<Running>
    where
        E: Decode + 'static,
    {
        self.builder().subscribe(handler).await
    }

    /// Lets a handler work on so many events at once, which gives up their order; zero counts as one.
    pub fn concurrency(&self, events: usize) -> SubscriptionBuilder {
        self.builder().concurrency(events)
    }

    /// Limits how much may wait for a handler or a stream; 1,024 events and 16 MiB unless set.
    pub fn buffer(&self, limits: BufferLimits) -> SubscriptionBuilder {
        self.builder().buffer(limits)
    }

    /// Chooses what goes when more waits than may; the oldest events unless set.
    pub fn when_full(&self, when_full: WhenFull) -> SubscriptionBuilder {
        self.builder().when_full(when_full)
    }

    /// Subscribes, and returns the events as a stream; resolves once it is live.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays subscribed.
    ///
    /// # Errors
    ///
    /// As [`Topic::stream`](crate::Topic::stream), and [`Unsupported`](crate::ErrorKind::Unsupported) where the provider
    /// has no patterns.
    pub async fn stream<T: Decode>(&self) -> Result<Events<T>> {
        self.builder().stream().await
    }

    fn builder(&self) -> SubscriptionBuilder {
        SubscriptionBuilder::new(self.client.clone(), self.filter())
    }

    fn filter(&self) -> Filter {
        Filter::Pattern(self.glob.clone())
    }
}
