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
    /// The item is hidden from other takers until the lease is acked, nacked, dropped or over, which is after the
    /// [`lease_time`](Self::lease_time) unless it is extended. An item that was handed out
    /// [`max_attempts`](Self::max_attempts) times already is moved to the [dead letters](Self::dead_letters) instead, and
    /// the next one is taken.
    ///
    /// # Delivery
    ///
    /// At least once after its put returned `Ok`: what is not acked, another taker gets.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped first, no item is lost and none is counted as an attempt. An item that is
    /// just being moved to the dead letters still gets there.
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec) for an item that is not a `T`; it becomes a dead letter, and [`Error::payload`] holds
    /// its bytes. [`Closed`](ErrorKind::Closed) when the queue was [closed](Self::close) and nothing is in line, or the bus
    /// shuts down. [`Unsupported`](ErrorKind::Unsupported) by a provider without leases. Else what the provider answers;
    /// an outage is not an error but a longer wait.
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
                "{}: nothing came of waiting for ever",
                self.handle.context(VERB)
            );
            Error::new(ErrorKind::Provider, context)
        })
    }

    /// Leases the item at the front, waiting no longer than `timeout`; zero does not wait. `None` when none came.
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
    /// As [`lease`](Self::lease); an empty queue is not an error. [`Disconnected`](ErrorKind::Disconnected) when there is
    /// no connection at the end of the wait, so that it is not known whether there is an item.
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
    /// As [`lease`](Self::lease); an empty queue is not an error.
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
        let Some((claim, delivery)) = self.handle.claim(deadline).await? else {
            return Ok(None);
        };
        let cause = match T::decode(&delivery.message) {
            Ok(item) => return Ok(Some(Lease::new(claim, delivery, item))),
            Err(cause) => cause,
        };
        let reason = unreadable_reason::<T>(&cause);
        let error = self.handle.unreadable::<T>(VERB, &delivery.message, cause);
        tracing::warn!(
            queue = self.name(),
            attempt = delivery.attempt,
            reason,
            "dead letter"
        );
        match claim.bury(reason).await {
            Ok(()) => self.handle.session(VERB)?.counters().dead_lettered.add(1),
            Err(error) => {
                tracing::warn!(
                    queue = self.name(),
                    attempt = delivery.attempt,
                    %error,
                    "an unreadable item comes back when its lease is over"
                );
            }
        }
        Err(error)
    }
}

/// Says why an item that is not a `T` is a dead letter.
pub(crate) fn unreadable_reason<T>(cause: &Error) -> String {
    format!(
        "not a `{}`: {}",
        std::any::type_name::<T>(),
        innermost(cause)
    )
}

/// Returns what went wrong in the first place, without the layers it came through.
fn innermost(error: &Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    cut(&innermost.to_string()).into_owned()
}
