//! The stream of a topic or a pattern: [`Events`].

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::subscription::Buffer;
use crate::client::{Client, Session};
use crate::codec::Decode;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Result, end_of_stream};
use crate::handler::{Meta, undecodable};
use crate::name;
use crate::provider::{Filter, Incoming, Subscription};

/// What a stream of [`Events`] yields.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use pymq::topic::Received;
///
/// let mut news = bus.topic("news").stream::<String>().await?;
/// bus.topic("news").publish("it rains").await?;
///
/// match news.recv().await? {
///     Received::Event(text, meta) => println!("{}: {text}", meta.topic()),
///     Received::Lagged(missed) => println!("missed {missed:?}, read the whole state again"),
///     _ => {}
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Received<T> {
    /// An event, and what is known about it.
    Event(T, Meta),
    /// Events are missing here, because the reader was too slow or the connection broke. `None` if
    /// their number is unknown.
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
/// An event that cannot be decoded is an error with its payload. The stream continues with the next
/// event. When the bus is closed, it ends after the events that had arrived. A
/// [shutdown](crate::Bus::shutdown) does not wait for the reader.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use futures_util::TryStreamExt;
/// use pymq::topic::Received;
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
    /// Keeps the bus alive.
    session: Arc<Session>,
    event: PhantomData<fn() -> T>,
}

impl<T: Decode> Events<T> {
    /// Opens a stream. Resolves when it is live.
    pub(super) async fn open(client: &Client, filter: Filter, buffer: Buffer) -> Result<Self> {
        name::check(filter.as_str())?;
        let session = client.open_session(|| format!("subscribe to `{}`", filter.as_str()))?;
        let mut subscription = session.provider().subscribe(filter).await?;
        buffer.set(&mut subscription);
        Ok(Self {
            subscription,
            session: Arc::clone(session),
            event: PhantomData,
        })
    }

    /// Waits for the next event or lag.
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec), with the payload, for an event that is not a `T`.
    /// [`Closed`](ErrorKind::Closed) after the bus was closed, for each further call.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. An event is removed only when it is returned.
    pub async fn recv(&mut self) -> Result<Received<T>> {
        poll_fn(|cx| self.poll_received(cx)).await
    }

    /// Unsubscribes, and resolves when the provider no longer delivers.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the stream is still unsubscribed.
    pub async fn unsubscribe(self) {
        self.subscription.unsubscribe().await;
    }

    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received<T>>> {
        Poll::Ready(match ready!(self.subscription.poll_recv(cx))? {
            Incoming::Lagged { missed } => {
                self.session.counters().lagged(missed);
                Ok(Received::Lagged(missed))
            }
            Incoming::Message(mut published) => {
                // The last reader may take the body out.
                let event = match published.message_mut() {
                    Some(message) => T::decode_last(message),
                    None => T::decode(published.message()),
                };
                let event = event.map_err(|cause| {
                    self.session.counters().undecodable.add(1);
                    undecodable::<T>(&published, cause)
                })?;
                Ok(Received::Event(event, Meta::new(published)))
            }
        })
    }
}

impl<T: Decode> Stream for Events<T> {
    type Item = Result<Received<T>>;

    /// Yields the results of [`recv`](Self::recv), and ends where that returns `Closed`.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_received(cx).map(end_of_stream)
    }
}

impl<T> fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}
