//! Puts: at once, when there is space, once for an id, several together, or after a delay.

use std::borrow::Borrow;
use std::time::Duration;

use super::Queue;
use super::handle::Deadline;
use crate::codec::Encode;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Message, MessageId};
use crate::provider::{Put, PutOptions};

impl<T> Queue<T> {
    /// Puts an item at the back of the queue. If the queue is bounded, it waits for space.
    ///
    /// While there is no space it tries again: after 2 ms first, then after longer times up to 50
    /// ms, and at once when this bus takes an item.
    ///
    /// # Delivery
    ///
    /// When `Ok` is returned, the item is in the queue. A put is never repeated after an error,
    /// because the item may be in the queue: see [`Error::outcome_unknown`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped while it waits for space, nothing is put. If it is dropped during a
    /// call of the provider, the item may or may not be put.
    ///
    /// # Errors
    ///
    /// - [`Closed`](ErrorKind::Closed) after [`close`](Self::close) or a shutdown.
    /// - [`TooLarge`](ErrorKind::TooLarge), [`Codec`](ErrorKind::Codec) and
    ///   [`InvalidName`](ErrorKind::InvalidName) before anything is sent.
    /// - Any other error of the provider.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs").maxsize(1);
    /// jobs.put(&1).await?;
    ///
    /// let waiting = tokio::spawn({
    ///     let jobs = jobs.clone();
    ///     async move { jobs.put(&2).await }
    /// });
    ///
    /// assert_eq!(jobs.get().await?, 1);
    /// waiting.await.expect("the task ends")?;
    /// assert_eq!(jobs.get().await?, 2);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "send", alias = "push", alias = "enqueue")]
    pub async fn put<Q>(&self, item: &Q) -> Result<()>
    where
        T: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let message = self.message(item)?;
        self.handle
            .put(vec![message], PutOptions::default(), Deadline::NEVER)
            .await?;
        Ok(())
    }

    /// Puts an item as [`put`](Self::put) does, but once for this id. Another put of the same id to
    /// the same queue puts nothing and succeeds. This holds for 2 minutes, or for the
    /// [`once_window`](Self::once_window) that is set.
    ///
    /// Returns [`Put::New`] if this call put the item, and [`Put::Known`] if an earlier call did.
    /// So the call may be repeated when its outcome is unknown. A plain put may not. An id names
    /// the thing that is put, such as an order. It does not depend on the value: the first put
    /// counts. The id is also known when the item has already been taken and finished.
    ///
    /// # Delivery
    ///
    /// When `Ok` is returned, by this put or an earlier one of this id within its window, the item
    /// was put exactly once. Of all puts of an id within its window at most one returns `New`. None
    /// returns it if the answer of the put that put the item was lost. A put that is refused does
    /// not use up its id, also if there was no space. The window begins when the item is put. After
    /// the window, by the clock of the provider, the id is forgotten. A put that returns `Known`
    /// does not change the window.
    ///
    /// # Cancel safety
    ///
    /// As [`put`](Self::put). The call may be repeated.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use pymq::queue::Put;
    ///
    /// let jobs = bus.queue::<String>("jobs");
    /// let job = "invoice of order 17".to_owned();
    ///
    /// assert_eq!(jobs.put_once("order-17", &job).await?, Put::New);
    /// // If its answer was lost, the call can be repeated.
    /// assert_eq!(jobs.put_once("order-17", &job).await?, Put::Known);
    ///
    /// assert_eq!(jobs.len().await?, 1);
    /// # Ok(()) }
    /// ```
    pub async fn put_once<Q>(&self, id: impl Into<MessageId>, item: &Q) -> Result<Put>
    where
        T: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let message = self.message(item)?;
        let opts = PutOptions::default()
            .once(id.into())
            .window(self.handle.once_window);
        self.handle.put(vec![message], opts, Deadline::NEVER).await
    }

    /// Puts an item, waiting for space no longer than `timeout`. Zero does not wait.
    ///
    /// The timeout bounds the wait for space. The answer of the provider has a limit of its own.
    ///
    /// # Cancel safety
    ///
    /// As [`put`](Self::put).
    ///
    /// # Errors
    ///
    /// [`Full`](ErrorKind::Full) if there is no space in time: then nothing is put. Otherwise as
    /// [`put`](Self::put).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// let jobs = bus.queue::<u32>("jobs").maxsize(1);
    /// jobs.put(&1).await?;
    ///
    /// let late = jobs.put_timeout(&2, Duration::from_millis(10)).await;
    ///
    /// assert_eq!(late.unwrap_err().kind(), pymq::ErrorKind::Full);
    /// # Ok(()) }
    /// ```
    pub async fn put_timeout<Q>(&self, item: &Q, timeout: Duration) -> Result<()>
    where
        T: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let message = self.message(item)?;
        self.handle
            .put(
                vec![message],
                PutOptions::default(),
                Deadline::after(timeout),
            )
            .await?;
        Ok(())
    }

    /// Puts an item if there is space now.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the item may or may not be put.
    ///
    /// # Errors
    ///
    /// [`Full`](ErrorKind::Full) if there is no space: then nothing is put. Otherwise as
    /// [`put`](Self::put).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs").maxsize(1);
    ///
    /// jobs.try_put(&1).await?;
    ///
    /// assert_eq!(jobs.try_put(&2).await.unwrap_err().kind(), pymq::ErrorKind::Full);
    /// # Ok(()) }
    /// ```
    pub async fn try_put<Q>(&self, item: &Q) -> Result<()>
    where
        T: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.put_timeout(item, Duration::ZERO).await
    }

    /// Puts items in order and in one step: all of them or none. Waits until there is space for
    /// all.
    ///
    /// # Delivery
    ///
    /// As [`put`](Self::put). No other item comes between these items.
    ///
    /// # Cancel safety
    ///
    /// As [`put`](Self::put), for all of them together.
    ///
    /// # Errors
    ///
    /// [`Full`](ErrorKind::Full) at once if there are more items than the queue can hold.
    /// [`Unsupported`](ErrorKind::Unsupported) for several items with a [`maxsize`](Self::maxsize),
    /// before anything is sent, if the provider may put a part of a batch
    /// ([`atomic_batches`](crate::provider::Capabilities::atomic_batches)). Otherwise as
    /// [`put`](Self::put).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    ///
    /// jobs.put_all(&[1, 2, 3]).await?;
    ///
    /// assert_eq!(jobs.get().await?, 1);
    /// # Ok(()) }
    /// ```
    pub async fn put_all<'q, Q>(&self, items: impl IntoIterator<Item = &'q Q>) -> Result<()>
    where
        T: Borrow<Q>,
        Q: Encode + ?Sized + 'q,
    {
        let messages = items
            .into_iter()
            .map(|item| self.message(item))
            .collect::<Result<Vec<_>>>()?;
        self.check_batch(messages.len())?;
        self.handle
            .put(messages, PutOptions::default(), Deadline::NEVER)
            .await?;
        Ok(())
    }

    /// Puts an item that is hidden for `delay`. Then it joins the back of the queue.
    ///
    /// It never waits for space: [`maxsize`](Self::maxsize) bounds the items that are ready, and
    /// this item is not ready yet.
    ///
    /// # Delivery
    ///
    /// When `Ok` is returned, the item is stored. On Redis it becomes ready when it is due only if
    /// a process uses the queue through this library.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the item may or may not be put.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) if the provider has no delays. Otherwise as
    /// [`put`](Self::put).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// let reminders = bus.queue::<String>("reminders");
    ///
    /// reminders.put_after("stand up", Duration::from_millis(20)).await?;
    ///
    /// assert!(reminders.is_empty().await?);
    /// assert_eq!(reminders.get().await?, "stand up");
    /// # Ok(()) }
    /// ```
    pub async fn put_after<Q>(&self, item: &Q, delay: Duration) -> Result<()>
    where
        T: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let message = self.message(item)?;
        self.handle.put_delayed(message, delay).await?;
        Ok(())
    }

    /// Refuses a batch that may wait for space, where the provider may put a part of it: the next
    /// try would put that part again.
    fn check_batch(&self, len: usize) -> Result<()> {
        if len < 2 || self.handle.maxsize.is_none() {
            return Ok(());
        }
        // If there is no provider, the put says why.
        match self.handle.live("put to") {
            Ok(provider) if !provider.capabilities().atomic_batches => {
                let context = self.handle.context("put several items with a maxsize to");
                let why =
                    "the provider may put a part of a batch, and a second try would repeat it";
                Err(Error::new(ErrorKind::Unsupported, context).with_source(why))
            }
            _ => Ok(()),
        }
    }

    fn message<Q: Encode + ?Sized>(&self, item: &Q) -> Result<Message> {
        let encoded = match self.tag {
            Some(tag) => item.encode_with(tag),
            None => item.encode(),
        };
        let mut message = encoded.map_err(|cause| {
            let context = format!(
                "{} as `{}`",
                self.handle.context("put to"),
                std::any::type_name::<T>()
            );
            Error::new(ErrorKind::Codec, context).with_source(cause)
        })?;
        message.headers.clone_from(&self.handle.headers);
        Ok(message)
    }
}
