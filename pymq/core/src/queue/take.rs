//! Taking without a lease: an item that is returned has left the queue.

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
    /// At most once: an item that is returned has left the queue, even if its taker fails. Use
    /// [`lease`](Self::lease) for work that must not be lost.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped early, no item is lost.
    ///
    /// # Errors
    ///
    /// - [`Codec`](ErrorKind::Codec) for an item that is not a `T`. The item is removed, and
    ///   [`Error::payload`] holds its bytes.
    /// - [`Closed`](ErrorKind::Closed) when the queue was [closed](Self::close) and is empty, or
    ///   when the bus shuts down.
    /// - Any other error of the provider. An outage is no error: the wait lasts longer.
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
            .and_then(|message| self.read(message))
    }

    /// Removes and returns the item at the front, waiting no longer than `timeout`. Zero does not
    /// wait. Returns `None` if no item came.
    ///
    /// # Delivery
    ///
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// As [`get`](Self::get).
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get). An empty queue is no error. [`Disconnected`](ErrorKind::Disconnected)
    /// if there is no connection at the end of the wait: then it is unknown whether there is an
    /// item.
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
            .into_iter()
            .next()
            .map(|delivery| self.read(delivery.message))
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
    /// As [`get`](Self::get).
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get). An empty queue is no error.
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
    /// Each item has a result of its own, so an item that is not a `T` does not affect the others.
    ///
    /// # Delivery
    ///
    /// As [`get`](Self::get), for each item.
    ///
    /// # Cancel safety
    ///
    /// As [`get`](Self::get).
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
            .into_iter()
            .map(|delivery| self.read(delivery.message))
            .collect())
    }

    /// Returns the items as a stream. Each poll for an item takes one, as [`get`](Self::get) does.
    ///
    /// The stream ends when the queue is [closed](Self::close) and empty, or when the bus shuts
    /// down. After any other error it goes on with the next item.
    ///
    /// # Delivery
    ///
    /// As [`get`](Self::get). Nothing is taken ahead, so no item is lost when the stream is
    /// dropped.
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

    fn read(&self, mut message: Message) -> Result<T> {
        T::decode_last(&mut message)
            .map_err(|cause| self.handle.unreadable::<T>(VERB, &message, cause))
    }
}

impl Handle {
    async fn get(&self) -> Result<Message> {
        let taken = self
            .take(VERB, GetOptions::default().wait(Wait::Forever))
            .await?;
        let first = taken.into_iter().next().map(|delivery| delivery.message);
        first.ok_or_else(|| {
            let context = self.context(VERB);
            let context = format!("{context}: a wait without an end ended without an item");
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
    /// The take under way. It may be dropped: it is a `get` that has not ended.
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
            message.and_then(|message| this.queue.read(message)),
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
