//! A topic by name: publish on it, handle its events, or read them as a stream.

mod events;
mod pattern;
mod publication;
mod runner;
mod subscription;

pub use self::events::{Events, Received};
pub use self::pattern::Pattern;
pub use self::publication::Publication;
pub use self::subscription::SubscriptionBuilder;

use crate::client::{Client, Running};
use crate::codec::{Decode, Encode};
use crate::error::Result;
use crate::handler::Handler;
use crate::message::Headers;
use crate::provider::{BufferLimits, Filter, WhenFull};

/// A named topic; made by [`Bus::topic`](crate::Bus::topic). Cheap to clone.
///
/// The name is checked when something is done with it.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use pymq::topic::Received;
///
/// let news = bus.topic("news");
/// let mut headlines = news.stream::<String>().await?;
///
/// news.header("lang", "en").publish("it rains").await?;
///
/// let Received::Event(headline, meta) = headlines.recv().await? else { panic!("not lagged") };
/// assert_eq!(headline, "it rains");
/// assert_eq!(meta.headers().get("lang"), Some("en"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Topic {
    client: Client,
    name: String,
    headers: Headers,
}

impl Topic {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self {
            client,
            name,
            headers: Headers::new(),
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Publishes a value of any serde type, or [`Raw`](crate::codec::Raw) bytes, and returns how many it reached.
    ///
    /// # Delivery
    ///
    /// At most once to everyone subscribed now, in order for this publisher. Nothing is stored.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the value may or may not have been sent.
    ///
    /// # Errors
    ///
    /// As [`Bus::publish`](crate::Bus::publish), and [`InvalidName`](crate::ErrorKind::InvalidName).
    #[doc(alias = "send", alias = "emit")]
    pub async fn publish<V: Encode + ?Sized>(&self, value: &V) -> Result<usize> {
        let (message, headers) = (value.encode(), self.headers.clone());
        publication::send(&self.client, &self.name, message, headers).await
    }

    /// Returns the topic with a header for what is published on it, replacing the one of the same
    /// name.
    #[must_use]
    pub fn header(&self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let mut topic = self.clone();
        topic.headers.insert(name, value);
        topic
    }

    /// Returns the topic with headers for what is published on it, replacing those of the same
    /// names.
    #[must_use]
    pub fn headers<K: Into<String>, V: Into<String>>(
        &self,
        headers: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let mut topic = self.clone();
        topic.headers.extend(headers);
        topic
    }

    /// Subscribes a handler of any serde type, or of [`Raw`](crate::codec::Raw) bytes; resolves once it is live.
    ///
    /// On a bus that is not connected yet it is held, and live once the bus is connected.
    ///
    /// # Delivery
    ///
    /// As [`Bus::subscribe`](crate::Bus::subscribe).
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays subscribed.
    ///
    /// # Errors
    ///
    /// As [`Bus::subscribe`](crate::Bus::subscribe), and [`InvalidName`](crate::ErrorKind::InvalidName).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let reading = bus.topic("news").subscribe(async |text: String| println!("{text}")).await?;
    ///
    /// bus.topic("news").publish("it rains").await?;
    ///
    /// reading.stop().await;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "listener", alias = "subscriber", alias = "consumer")]
    pub async fn subscribe<E, Form>(&self, handler: impl Handler<E, Form>) -> Result<Running>
    where
        E: Decode + 'static,
    {
        self.builder().subscribe(handler).await
    }

    /// Lets a handler work on so many events at once, which gives up their order; zero counts as one.
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
    pub fn concurrency(&self, events: usize) -> SubscriptionBuilder {
        self.builder().concurrency(events)
    }

    /// Limits how much may wait for a handler or a stream; 1,024 events and 16 MiB unless set.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use pymq::topic::{BufferLimits, Received, WhenFull};
    ///
    /// let prices = bus.topic("prices");
    /// let mut latest = prices.buffer(BufferLimits::default().items(1)).stream::<u32>().await?;
    /// let first = prices.buffer(BufferLimits::default().items(1)).when_full(WhenFull::DropNewest);
    /// let mut first = first.stream::<u32>().await?;
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
    /// As [`subscribe`](Self::subscribe); [`NotInitialized`](crate::ErrorKind::NotInitialized) on the process-wide bus
    /// before `init`.
    pub async fn stream<T: Decode>(&self) -> Result<Events<T>> {
        self.builder().stream().await
    }

    fn builder(&self) -> SubscriptionBuilder {
        SubscriptionBuilder::new(self.client.clone(), self.filter())
    }

    fn filter(&self) -> Filter {
        Filter::Topic(self.name.clone())
    }
}
