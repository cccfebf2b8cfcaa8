//! The contents of a queue: to count them, to clear them, and to wait until all items are finished.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::Queue;
use crate::error::Result;
use crate::provider::{Part, QueueStats};
use crate::retry::Backoff;

/// A join does not count the items more often than this.
const MIN_BETWEEN_COUNTS: Duration = Duration::from_millis(1);

impl<T> Queue<T> {
    /// Counts the items that are ready. Delayed and leased items do not count.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) after a shutdown, or any other error of the provider.
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
    /// assert_eq!(jobs.len().await?, 3);
    /// # Ok(()) }
    /// ```
    pub async fn len(&self) -> Result<usize> {
        Ok(self.stats().await?.ready)
    }

    /// Tells whether no item is ready.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// assert!(bus.queue::<u32>("jobs").is_empty().await?);
    /// # Ok(()) }
    /// ```
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.len().await? == 0)
    }

    /// Tells whether a put by this handle would find no space. Without a [`maxsize`](Self::maxsize)
    /// there is always space.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs").maxsize(1);
    ///
    /// jobs.put(&1).await?;
    ///
    /// assert!(jobs.is_full().await?);
    /// # Ok(()) }
    /// ```
    pub async fn is_full(&self) -> Result<bool> {
        let len = self.len().await?;
        Ok(self.handle.maxsize.is_some_and(|maxsize| len >= maxsize))
    }

    /// Counts the items in each state: ready, delayed, leased, dead.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put_all(&[1, 2]).await?;
    ///
    /// let _job = jobs.lease().await?;
    /// let stats = jobs.stats().await?;
    ///
    /// assert_eq!((stats.ready, stats.leased), (1, 1));
    /// # Ok(()) }
    /// ```
    pub async fn stats(&self) -> Result<QueueStats> {
        let name = self.handle.name()?;
        self.handle.live("look at")?.queue_stats(name).await
    }

    /// Removes all ready and all delayed items, and returns how many. Leased items and dead letters
    /// stay.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, all, some or none of the items are removed.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put_all(&[1, 2]).await?;
    ///
    /// assert_eq!(jobs.clear().await?, 2);
    /// assert!(jobs.is_empty().await?);
    /// # Ok(()) }
    /// ```
    pub async fn clear(&self) -> Result<usize> {
        let (name, provider) = (self.handle.name()?, self.handle.live("clear")?);
        let mut removed = provider.queue_clear(name, Part::Ready).await?;
        self.handle.local().emptied();
        if provider.capabilities().delays {
            removed += provider.queue_clear(name, Part::Delayed).await?;
        }
        self.handle.local().finish(removed);
        Ok(removed)
    }

    /// Waits until every item is finished: no item is ready, delayed or leased.
    ///
    /// So it waits for the ack of each lease. An item taken by [`get`](Self::get) is finished at
    /// once. It counts the items of all processes: after 5 ms first, then after longer times up to
    /// 250 ms, and at once when this bus has finished as many as there were.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put(&1).await?;
    /// let job = jobs.lease().await?;
    ///
    /// let done = tokio::spawn(async move { job.ack().await });
    /// jobs.join().await?;
    /// # done.await.expect("the task ends")?;
    /// # Ok(()) }
    /// ```
    pub async fn join(&self) -> Result<()> {
        let local = self.handle.local();
        let mut backoff = Backoff::join();
        loop {
            // Before the count, so that what is finished during it is not awaited again.
            let finished = local.finished();
            let unfinished = self.stats().await?.unfinished();
            if unfinished == 0 {
                return Ok(());
            }
            let counted = Instant::now();
            let last = local.has_finished(finished + unfinished as u64);
            if timeout(backoff.next_wait(), last).await.is_ok() {
                // Other items may have come meanwhile. They may be few and finish at once.
                sleep_until(counted + MIN_BETWEEN_COUNTS).await;
            }
        }
    }
}
