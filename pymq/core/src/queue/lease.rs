//! A leased item: exclusive for a time, settled exactly once. What its owner does not settle is given
//! back, so that no item depends on a taker staying alive.

mod claim;

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::error::Result;
use crate::message::{Headers, Message};
use crate::provider::{Delivery, Settle, lease_time};

pub(super) use self::claim::Claim;

/// An item of a queue that is yours until you settle it or its time is over.
///
/// It reads as the item itself. Settle it with [`ack`](Self::ack) or [`nack`](Self::nack); dropped unsettled, it is
/// nacked at once, also from a thread without a runtime. What happens when the process dies: the lease runs out,
/// and another taker gets the item.
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
#[must_use = "a lease dropped unsettled gives its item back at once"]
pub struct Lease<T> {
    claim: Claim,
    message: Message,
    attempt: u32,
    item: T,
}

impl<T> Lease<T> {
    pub(crate) fn new(claim: Claim, delivery: Delivery, item: T) -> Self {
        Self {
            claim,
            message: delivery.message,
            attempt: delivery.attempt,
            item,
        }
    }

    /// Says that the work is done: the item is removed.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the item is either acked or given back.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) when the lease was over: the item is or was another's, so the work may be
    /// done twice. After any other error the item comes back once the lease is over, if the ack did not get through.
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
        self.claim.settle(Settle::Ack).await
    }

    /// Acks, and returns the item.
    ///
    /// # Cancel safety
    ///
    /// As [`ack`](Self::ack).
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack); the item is not returned then, since another taker gets it.
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
        let Self { claim, item, .. } = self;
        claim.settle(Settle::Ack).await?;
        Ok(item)
    }

    /// Gives the item back to the front of the queue. The attempt counts.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the item is given back as well.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) when the lease was over: the item has gone back already. After any other
    /// error it goes back once the lease is over, if the nack did not get through.
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

    /// Gives the item back, hidden for `delay`; then it joins at the back of the queue. The attempt counts.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the item is given back: after the delay, or at once.
    ///
    /// # Errors
    ///
    /// As [`nack`](Self::nack), and [`Unsupported`](crate::ErrorKind::Unsupported) by a provider without delays.
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
        self.claim.settle(Settle::Nack { delay }).await
    }

    /// Lets the lease end `time` from now instead of when it would; at least 10 ms from now
    /// ([`MIN_LEASE`](crate::provider::MIN_LEASE)).
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the lease is extended or as it was.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) when the lease was over: stop the work, another taker has it.
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
        self.claim.send(Settle::Extend { lease }).await
    }

    /// Returns how often the item has been leased, this time included; starts at 1.
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
        self.attempt
    }

    /// Returns the headers the item was put with.
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
        &self.message.headers
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
        &self.message
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
            .field("queue", self.claim.queue())
            .field("attempt", &self.attempt)
            .field("item", &self.item)
            .finish_non_exhaustive()
    }
}
