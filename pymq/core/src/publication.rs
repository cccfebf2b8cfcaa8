//! What is published with headers: a value, soon.

use crate::codec::{self, Encode};
use crate::error::Result;
use crate::event::Event;
use crate::message::Headers;
use crate::registration::Owner;

/// Headers, and a bus to publish an event on; made by [`Bus::header`](crate::Bus::header).
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// # #[derive(serde::Serialize)] struct Placed { order: u64 }
/// # pymq::event!(Placed);
/// bus.header("tenant", "a").header("trace", "af01").publish(&Placed { order: 7 }).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is published until `publish` is awaited"]
pub struct Publication {
    owner: Owner,
    headers: Headers,
}

impl Publication {
    pub(crate) fn new(owner: Owner) -> Self {
        Self {
            owner,
            headers: Headers::new(),
        }
    }

    /// Adds a header, replacing the one of the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Publishes the event with these headers; else as [`Bus::publish`](crate::Bus::publish).
    ///
    /// # Errors
    ///
    /// As [`Bus::publish`](crate::Bus::publish).
    pub async fn publish<E: Event>(self, event: &E) -> Result<usize> {
        self.owner
            .bus()?
            .send(E::TOPIC, codec::encode_event(event), self.headers)
            .await
    }
}

/// Headers, and a topic to publish a value on; made by [`Topic::header`](crate::Topic::header).
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// bus.topic("news").header("lang", "en").header("trace", "af01").publish("it rains").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is published until `publish` is awaited"]
pub struct TopicPublication {
    owner: Owner,
    topic: String,
    headers: Headers,
}

impl TopicPublication {
    pub(crate) fn new(owner: Owner, topic: String) -> Self {
        Self {
            owner,
            topic,
            headers: Headers::new(),
        }
    }

    /// Adds a header, replacing the one of the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Publishes the value with these headers; else as [`Topic::publish`](crate::Topic::publish).
    ///
    /// # Errors
    ///
    /// As [`Bus::publish`](crate::Bus::publish).
    pub async fn publish<V: Encode + ?Sized>(self, value: &V) -> Result<usize> {
        self.owner
            .bus()?
            .send(&self.topic, value.encode(), self.headers)
            .await
    }
}
