//! Taking under a lease: an item comes back until a taker has settled it.

use std::time::Duration;

use super::handle::Deadline;
use super::{Lease, Queue};
use crate::codec::Decode;
use crate::error::{Error, ErrorKind, Result};
use crate::text::cut;

const VERB: &str = "lease from";

impl<T: Decode> Queue<T> {
    /// Leases the item at the front, waiting until there is one.
    ///
    /// The item is hidden from other takers until the lease is acked, nacked or dropped, or until
    /// it ends. It ends after the [`lease_time`](Self::lease_time) if it is not extended. An item
    /// that was already handed out [`max_attempts`](Self::max_attempts) times is moved to the [dead
    /// letters](Self::dead_letters) instead, and the next one is taken.
    ///
    /// # Delivery
    ///
    /// At least once after its put returned `Ok`: an item that is not acked goes to another taker.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped early, no item is lost and no attempt is counted. An
    /// item that is being moved to the dead letters still becomes one.
    ///
    /// # Errors
    ///
    /// - [`Codec`](ErrorKind::Codec) for an item that is not a `T`. It becomes a dead letter, and
    ///   [`Error::payload`] holds its bytes.
    /// - [`Closed`](ErrorKind::Closed) when the queue was [closed](Self::close) and no item is
    ///   ready, or when the bus shuts down.
    /// - [`Unsupported`](ErrorKind::Unsupported) if the provider has no leases.
    /// - Any other error of the provider. An outage is no error: the wait lasts longer.
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
    /// assert_eq!(*job, "resize 17.png");
    /// job.ack().await?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "reserve", alias = "receive")]
    pub async fn lease(&self) -> Result<Lease<T>> {
        self.lease_until(Deadline::NEVER).await?.ok_or_else(|| {
            let context = format!(
                "{}: a wait without an end ended without an item",
                self.handle.context(VERB)
            );
            Error::new(ErrorKind::Provider, context)
        })
    }

    /// Leases the item at the front, waiting no longer than `timeout`. Zero does not wait. Returns
    /// `None` if no item came.
    ///
    /// # Delivery
    ///
    /// As [`lease`](Self::lease).
    ///
    /// # Cancel safety
    ///
    /// As [`lease`](Self::lease).
    ///
    /// # Errors
    ///
    /// As [`lease`](Self::lease). An empty queue is no error.
    /// [`Disconnected`](ErrorKind::Disconnected) if there is no connection at the end of the wait:
    /// then it is unknown whether there is an item.
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
    /// assert!(jobs.lease_timeout(Duration::from_millis(10)).await?.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn lease_timeout(&self, timeout: Duration) -> Result<Option<Lease<T>>> {
        self.lease_until(Deadline::after(timeout)).await
    }

    /// Leases the item at the front if there is one now.
    ///
    /// # Delivery
    ///
    /// As [`lease`](Self::lease).
    ///
    /// # Cancel safety
    ///
    /// As [`lease`](Self::lease).
    ///
    /// # Errors
    ///
    /// As [`lease`](Self::lease). An empty queue is no error.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    ///
    /// assert!(jobs.try_lease().await?.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn try_lease(&self) -> Result<Option<Lease<T>>> {
        self.lease_timeout(Duration::ZERO).await
    }

    async fn lease_until(&self, deadline: Deadline) -> Result<Option<Lease<T>>> {
        let Some(claimed) = self.handle.claim(deadline).await? else {
            return Ok(None);
        };
        let cause = match T::decode(&claimed.message) {
            Ok(item) => return Ok(Some(Lease::new(claimed, item))),
            Err(cause) => cause,
        };
        let reason = unreadable_reason::<T>(&cause);
        let unreadable = self.handle.unreadable::<T>(VERB, &claimed.message, cause);
        let attempt = claimed.attempt;
        if let Err(error) = claimed.claim.bury(attempt, reason).await {
            tracing::warn!(
                queue = self.name(),
                attempt,
                %error,
                "an unreadable item comes back when its lease ends"
            );
        }
        Err(unreadable)
    }
}

/// Returns why an item that is not a `T` becomes a dead letter.
pub(crate) fn unreadable_reason<T>(cause: &Error) -> String {
    format!(
        "not a `{}`: {}",
        std::any::type_name::<T>(),
        innermost(cause)
    )
}

/// Returns the first cause of an error, without the errors around it.
fn innermost(error: &Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    cut(&innermost.to_string()).into_owned()
}
