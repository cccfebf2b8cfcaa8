//! A leased item: exclusive for a time, settled exactly once. An item that its owner does not
//! settle is given back, so no item depends on a taker that stays alive.

mod claim;

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::error::Result;
use crate::message::{Headers, Message};
use crate::provider::{Settle, lease_time};

pub(super) use self::claim::{Claim, burial};
use super::taking::Claimed;

/// An item of a queue that is yours until you settle it or the lease ends.
///
/// It dereferences to the item. Settle it with [`ack`](Self::ack) or [`nack`](Self::nack). If it is
/// dropped without a settlement, it is nacked at once, also on a thread without a runtime. If the
/// process dies, the lease ends and another taker gets the item.
///
/// Settlements that several tasks make at the same time, in one queue, go to the provider together.
/// A lone settlement is sent at once.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// let jobs = bus.queue::<String>("jobs");
/// jobs.put("resize 17.png").await?;
///
/// let job = jobs.lease().await?;
/// if job.ends_with(".png") {
///     job.ack().await?;
/// } else {
///     job.nack().await?;
/// }
/// # Ok(()) }
/// ```
#[must_use = "a lease that is dropped without a settlement gives its item back at once"]
pub struct Lease<T> {
    claimed: Claimed,
    item: T,
}

impl<T> Lease<T> {
    pub(super) fn new(claimed: Claimed, item: T) -> Self {
        Self { claimed, item }
    }

    /// Removes the item, because the work is done.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the item is either acked or given back.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) if the lease has ended: another taker may have
    /// the item, so the work may be done twice. After any other error the ack may not have been
    /// made, and then the item comes back when the lease ends.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put(&7).await?;
    ///
    /// jobs.lease().await?.ack().await?;
    ///
    /// assert_eq!(jobs.stats().await?.unfinished(), 0);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "delete", alias = "complete")]
    pub async fn ack(self) -> Result<()> {
        self.claimed.claim.settle(Settle::Ack).await
    }

    /// Acks, and returns the item.
    ///
    /// # Cancel safety
    ///
    /// As [`ack`](Self::ack).
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack). The item is not returned then, because another taker may get it.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put(&7).await?;
    ///
    /// let job: u32 = jobs.lease().await?.into_inner().await?;
    ///
    /// assert_eq!(job, 7);
    /// # Ok(()) }
    /// ```
    pub async fn into_inner(self) -> Result<T> {
        self.claimed.claim.settle(Settle::Ack).await?;
        Ok(self.item)
    }

    /// Gives the item back to the front of the queue. The attempt counts.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the item is given back too.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) if the lease has ended: the item has already gone
    /// back. After any other error the item goes back when the lease ends, if not before.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put(&7).await?;
    ///
    /// jobs.lease().await?.nack().await?;
    ///
    /// assert_eq!(jobs.lease().await?.attempt(), 2);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "nak", alias = "reject", alias = "requeue")]
    pub async fn nack(self) -> Result<()> {
        self.nack_after(Duration::ZERO).await
    }

    /// Gives the item back, hidden for `delay`. Then it joins the back of the queue. The attempt
    /// counts.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the item is given back after the delay or at once.
    ///
    /// # Errors
    ///
    /// As [`nack`](Self::nack), and [`Unsupported`](crate::ErrorKind::Unsupported) if the provider
    /// has no delays.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put(&7).await?;
    ///
    /// jobs.lease().await?.nack_after(Duration::from_millis(20)).await?;
    ///
    /// assert!(jobs.try_lease().await?.is_none());
    /// assert_eq!(*jobs.lease().await?, 7);
    /// # Ok(()) }
    /// ```
    pub async fn nack_after(self, delay: Duration) -> Result<()> {
        self.claimed.claim.settle(Settle::Nack { delay }).await
    }

    /// Moves the end of the lease to `time` from now, but to at least 10 ms from now
    /// ([`MIN_LEASE`](crate::provider::MIN_LEASE)).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the lease may or may not be extended.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) if the lease has ended: stop the work, because
    /// another taker may have the item.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put(&7).await?;
    ///
    /// let job = jobs.lease().await?;
    /// job.extend(Duration::from_secs(300)).await?;
    /// job.ack().await?;
    /// # Ok(()) }
    /// ```
    pub async fn extend(&self, time: Duration) -> Result<()> {
        let lease = lease_time(time);
        self.claimed.claim.send(Settle::Extend { lease }).await
    }

    /// Returns how often the item has been leased, including this time. It starts at 1.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put(&7).await?;
    ///
    /// drop(jobs.lease().await?);
    ///
    /// assert_eq!(jobs.lease().await?.attempt(), 2);
    /// # Ok(()) }
    /// ```
    pub fn attempt(&self) -> u32 {
        self.claimed.attempt
    }

    /// Returns the headers with which the item was put.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.header("trace", "af01").put(&7).await?;
    ///
    /// assert_eq!(jobs.lease().await?.headers().get("trace"), Some("af01"));
    /// # Ok(()) }
    /// ```
    pub fn headers(&self) -> &Headers {
        &self.claimed.message.headers
    }

    /// Returns the message as it was put.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<Vec<u32>>("jobs");
    /// jobs.put(&vec![7, 8]).await?;
    ///
    /// assert_eq!(jobs.lease().await?.message().body, "[7, 8]");
    /// # Ok(()) }
    /// ```
    pub fn message(&self) -> &Message {
        &self.claimed.message
    }
}

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: fmt::Debug> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("queue", self.claimed.claim.queue())
            .field("attempt", &self.claimed.attempt)
            .field("item", &self.item)
            .finish_non_exhaustive()
    }
}
