//! Topics by name: publish on them, handle their events, or read them as a stream.

mod events;
mod pattern;
mod publication;
mod runner;
mod subscription;

pub use self::events::{Events, Received};
pub use self::pattern::Pattern;
pub use self::publication::Publication;
pub use self::subscription::SubscriptionBuilder;

use std::sync::Arc;

use self::subscription::subscribing;
use crate::client::Client;
use crate::codec::Encode;
use crate::error::Result;
use crate::message::Headers;
use crate::provider::Filter;

/// A named topic, from [`Bus::topic`](crate::Bus::topic). Cheap to clone.
///
/// The first operation checks the name.
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
    name: Arc<str>,
    headers: Headers,
}

impl Topic {
    pub(crate) fn new(client: Client, name: Arc<str>) -> Self {
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

    /// Publishes a value of any serde type, or [`Raw`](crate::codec::Raw) bytes. Returns how many
    /// subscribers it reached.
    ///
    /// # Delivery
    ///
    /// At most once to each current subscriber, in order for each publisher. Nothing is stored.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the value may or may not be sent.
    ///
    /// # Errors
    ///
    /// As [`Bus::publish`](crate::Bus::publish), and
    /// [`InvalidName`](crate::ErrorKind::InvalidName).
    #[doc(alias = "send", alias = "emit")]
    pub async fn publish<V: Encode + ?Sized>(&self, value: &V) -> Result<usize> {
        let headers = self.headers.clone();
        publication::send(&self.client, &self.name, || value.encode(), headers).await
    }

    /// Publishes a value soon, and does not wait until it is sent. As
    /// [`Bus::publish_nowait`](crate::Bus::publish_nowait), for a value of any serde type.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the value is not published.
    ///
    /// # Errors
    ///
    /// As [`Bus::publish_nowait`](crate::Bus::publish_nowait), and
    /// [`InvalidName`](crate::ErrorKind::InvalidName).
    pub async fn publish_nowait<V: Encode + ?Sized>(&self, value: &V) -> Result<()> {
        let headers = self.headers.clone();
        publication::buffer(
            &self.client,
            Arc::clone(&self.name),
            || value.encode(),
            headers,
        )
        .await
    }

    /// Returns the topic with a header for what it publishes. The header replaces one of the same
    /// name.
    #[must_use]
    pub fn header(&self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let mut topic = self.clone();
        topic.headers.insert(name, value);
        topic
    }

    /// Returns the topic with headers for what it publishes. They replace those of the same names.
    #[must_use]
    pub fn headers<K: Into<String>, V: Into<String>>(
        &self,
        headers: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let mut topic = self.clone();
        topic.headers.extend(headers);
        topic
    }

    fn filter(&self) -> Filter {
        Filter::Topic(self.name.to_string())
    }
}

subscribing! { Topic }
