//! Taking for good: what is returned is gone from the queue.

use std::fmt;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;

use super::Queue;
use super::handle::Handle;
use crate::codec::Decode;
use crate::error::{self, Error, ErrorKind, Result};
use crate::message::Message;
use crate::provider::{GetOptions, Wait};

const VERB: &str = "get from";

impl<T: Decode> Queue<T> {
    /// Removes and returns the item at the front, waiting until there is one.
    ///
    /// # Delivery
    ///
    /// At most once: an item returned is gone from the queue, also if its taker fails. Use
    /// [`lease`](Self::lease) for work that must not be lost.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped first, no item is lost.
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec) for an item that is not a `T`; it is removed, and [`Error::payload`] holds its bytes.
    /// [`Closed`](ErrorKind::Closed) when the queue was [closed](Self::close) and is used up, or the bus shuts down. Else
    /// what the provider answers; an outage is not an error but a longer wait.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    ///
    /// let waiting = tokio::spawn({
    ///     let jobs = jobs.clone();
    ///     async move { jobs.get().await }
    /// });
    /// jobs.put(&7).await?;
    ///
    /// assert_eq!(waiting.await.expect("the task ends")?, 7);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pop", alias = "receive", alias = "dequeue")]
    pub async fn get(&self) -> Result<T> {
        self.handle
            .get()
            .await
            .and_then(|message| self.read(&message))
    }

    /// Removes and returns the item at the front, waiting no longer than `timeout`; zero does not wait. `None`
    /// when none came.
    ///
    /// # Delivery
    ///
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped first, no item is lost.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); an empty queue is not an error. [`Disconnected`](ErrorKind::Disconnected) when there is no
    /// connection at the end of the wait, so that it is not known whether there is an item.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// let jobs = bus.queue::<u32>("jobs");
    ///
    /// assert_eq!(jobs.get_timeout(Duration::from_millis(10)).await?, None);
    /// # Ok(()) }
    /// ```
    pub async fn get_timeout(&self, timeout: Duration) -> Result<Option<T>> {
        let wait = if timeout.is_zero() {
            Wait::No
        } else {
            Wait::For(timeout)
        };
        let taken = self
            .handle
            .take(VERB, GetOptions::default().wait(wait))
            .await?;
        taken
            .first()
            .map(|delivery| self.read(&delivery.message))
            .transpose()
    }

    /// Removes and returns the item at the front if there is one now.
    ///
    /// # Delivery
    ///
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped first, no item is lost.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); an empty queue is not an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    ///
    /// assert_eq!(jobs.try_get().await?, None);
    /// # Ok(()) }
    /// ```
    pub async fn try_get(&self) -> Result<Option<T>> {
        self.get_timeout(Duration::ZERO).await
    }

    /// Removes and returns up to `max` items in one step, waiting only while there are none.
    ///
    /// Each item has a result of its own, so that one which is not a `T` takes no others with it.
    ///
    /// # Delivery
    ///
    /// As [`get`](Self::get), for each item.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped first, no item is lost.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put_all(&[1, 2, 3]).await?;
    ///
    /// let mut sum = 0;
    /// for job in jobs.get_many(64).await? {
    ///     sum += job?;
    /// }
    ///
    /// assert_eq!(sum, 6);
    /// # Ok(()) }
    /// ```
    pub async fn get_many(&self, max: usize) -> Result<Vec<Result<T>>> {
        let Some(max) = NonZeroUsize::new(max) else {
            return Ok(Vec::new());
        };
        let opts = GetOptions::default().max(max).wait(Wait::Forever);
        let taken = self.handle.take(VERB, opts).await?;
        Ok(taken
            .iter()
            .map(|delivery| self.read(&delivery.message))
            .collect())
    }

    /// Returns the items as they come, each taken as [`get`](Self::get) does when the stream is polled for it.
    ///
    /// The stream ends when the queue is [closed](Self::close) and used up, or the bus shuts down. After any other
    /// error the next item is still taken.
    ///
    /// # Delivery
    ///
    /// As [`get`](Self::get). Nothing is fetched ahead, so dropping the stream loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use futures_util::TryStreamExt;
    ///
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put_all(&[1, 2, 3]).await?;
    /// jobs.close();
    ///
    /// let all: Vec<u32> = jobs.stream().try_collect().await?;
    ///
    /// assert_eq!(all, [1, 2, 3]);
    /// # Ok(()) }
    /// ```
    pub fn stream(&self) -> Items<T> {
        Items {
            queue: self.clone(),
            next: None,
        }
    }

    fn read(&self, message: &Message) -> Result<T> {
        T::decode(message).map_err(|cause| self.handle.unreadable::<T>(VERB, message, cause))
    }
}

impl Handle {
    async fn get(&self) -> Result<Message> {
        let taken = self
            .take(VERB, GetOptions::default().wait(Wait::Forever))
            .await?;
        let first = taken.into_iter().next().map(|delivery| delivery.message);
        first.ok_or_else(|| {
            let context = format!("{}: nothing came of waiting for ever", self.context(VERB));
            Error::new(ErrorKind::Provider, context)
        })
    }
}

/// The items of a queue as a [`Stream`], made by [`Queue::stream`].
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use futures_util::StreamExt;
///
/// let jobs = bus.queue::<u32>("jobs");
/// jobs.put(&7).await?;
///
/// let first: Option<pymq::Result<u32>> = jobs.stream().next().await;
///
/// assert_eq!(first.transpose()?, Some(7));
/// # Ok(()) }
/// ```
#[must_use = "a stream takes nothing unless it is polled"]
pub struct Items<T> {
    queue: Queue<T>,
    /// The take in progress. Dropping it loses nothing: it is a `get` that was not finished.
    next: Option<NextMessage>,
}

type NextMessage = Pin<Box<dyn Future<Output = Result<Message>> + Send>>;

impl<T: Decode> Stream for Items<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = this.next.get_or_insert_with(|| {
            let handle = this.queue.handle.clone();
            Box::pin(async move { handle.get().await })
        });
        let message = ready!(next.as_mut().poll(cx));
        this.next = None;
        Poll::Ready(error::end_of_stream(
            message.and_then(|message| this.queue.read(&message)),
        ))
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
