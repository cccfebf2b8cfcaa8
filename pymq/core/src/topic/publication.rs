//! Publishing: events with headers, and the function that sends every message to the provider.

use std::sync::Arc;

use crate::client::{Client, PublishBuffer, Session};
use crate::codec;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::message::{Headers, Message};
use crate::name;

/// Headers for an event that is to be published, from [`Bus::header`](crate::Bus::header).
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
    client: Client,
    headers: Headers,
}

impl Publication {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            headers: Headers::new(),
        }
    }

    /// Adds a header. It replaces one of the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds headers. They replace those of the same names.
    pub fn headers<K: Into<String>, V: Into<String>>(
        mut self,
        headers: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Publishes the event with these headers, as [`Bus::publish`](crate::Bus::publish) does.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the event may or may not be sent.
    ///
    /// # Errors
    ///
    /// As [`Bus::publish`](crate::Bus::publish).
    pub async fn publish<E: Event>(self, event: &E) -> Result<usize> {
        let encode = || codec::encode_event(event);
        send(&self.client, E::TOPIC, encode, self.headers).await
    }

    /// Publishes the event with these headers soon, as
    /// [`Bus::publish_nowait`](crate::Bus::publish_nowait) does.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the event is not published.
    ///
    /// # Errors
    ///
    /// As [`Bus::publish_nowait`](crate::Bus::publish_nowait).
    pub async fn publish_nowait<E: Event>(self, event: &E) -> Result<()> {
        let encode = || codec::encode_event(event);
        buffer(&self.client, E::TOPIC.into(), encode, self.headers).await
    }
}

/// Encodes a value and publishes it.
pub(super) async fn send(
    client: &Client,
    topic: &str,
    encode: impl FnOnce() -> Result<Message>,
    headers: Headers,
) -> Result<usize> {
    name::check(topic)?;
    let mut message = encode().map_err(|error| unwritable(topic, error))?;
    message.headers = headers;
    let session = check(client, topic, &message)?;
    match session.provider().try_publish(topic, message) {
        Ok(outcome) => outcome,
        Err(message) => session.provider().publish(topic, message).await,
    }
}

/// Encodes a value and adds it to those that are published soon.
pub(super) async fn buffer(
    client: &Client,
    topic: Arc<str>,
    encode: impl FnOnce() -> Result<Message>,
    headers: Headers,
) -> Result<()> {
    name::check(&topic)?;
    let mut message = encode().map_err(|error| unwritable(&topic, error))?;
    message.headers = headers;
    let session = check(client, &topic, &message)?;
    PublishBuffer::add(session, topic, message).await
}

fn check<'a>(client: &'a Client, topic: &str, message: &Message) -> Result<&'a Arc<Session>> {
    client.check_size(|| operation(topic), message)?;
    client.session(|| operation(topic))
}

#[cold]
fn unwritable(topic: &str, cause: Error) -> Error {
    Error::new(cause.kind(), operation(topic)).with_source(cause)
}

/// Returns the context of an error.
fn operation(topic: &str) -> String {
    format!("publish to `{topic}`")
}
