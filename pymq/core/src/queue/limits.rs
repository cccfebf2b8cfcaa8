//! The limits of a handle: how much may be in line, and how often an item is leased.

use super::Queue;
use super::handle::Handle;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::MaxAttempts;

impl<T> Queue<T> {
    /// Limits how many items may be in line for puts by this handle. There is no limit unless set.
    ///
    /// With a limit of zero, every operation of this handle fails with
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig): no item would fit. Call
    /// [`unbounded`](Self::unbounded) for no limit.
    ///
    /// Items in line count; leased and delayed ones do not. The bound is checked in one step with
    /// the put, so racing puts keep it. Items that come back or become due may exceed it, and puts
    /// by Python ignore it.
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
    #[must_use]
    pub fn maxsize(mut self, maxsize: usize) -> Self {
        self.handle.maxsize = Some(maxsize);
        self
    }

    /// Removes the limit that [`maxsize`](Self::maxsize) has set.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs").maxsize(1);
    /// jobs.put(&1).await?;
    ///
    /// jobs.clone().unbounded().put(&2).await?;
    ///
    /// assert_eq!(jobs.len().await?, 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn unbounded(mut self) -> Self {
        self.handle.maxsize = None;
        self
    }

    /// Sets how often an item may be leased before it becomes a dead letter. It is 5 unless set.
    ///
    /// With zero, every operation of this handle fails with
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig): no item could be leased. Call
    /// [`unlimited_attempts`](Self::unlimited_attempts) for no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs").max_attempts(1);
    /// jobs.put(&1).await?;
    ///
    /// jobs.lease().await?.nack().await?;
    ///
    /// assert!(jobs.try_lease().await?.is_none());
    /// assert_eq!(jobs.dead_letters().len().await?, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn max_attempts(mut self, max: u32) -> Self {
        self.handle.max_attempts = MaxAttempts::new(max);
        self
    }

    /// Lets an item be leased without a limit, so that it never runs out of attempts.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs").unlimited_attempts();
    /// jobs.put(&1).await?;
    ///
    /// for _ in 0..10 {
    ///     jobs.lease().await?.nack().await?;
    /// }
    ///
    /// assert_eq!(jobs.lease().await?.attempt(), 11);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn unlimited_attempts(mut self) -> Self {
        self.handle.max_attempts = MaxAttempts::UNLIMITED;
        self
    }
}

impl Handle {
    /// Refuses a limit of zero, which would permit nothing.
    pub(super) fn check_limits(&self) -> Result<()> {
        let (zero, instead) = if self.maxsize == Some(0) {
            ("maxsize(0)", "unbounded()")
        } else if self.max_attempts.is_zero() {
            ("max_attempts(0)", "unlimited_attempts()")
        } else {
            return Ok(());
        };
        let queue = self.local().name();
        let context =
            format!("queue `{queue}`: `{zero}` permits nothing, call `{instead}` for no limit");
        Err(Error::new(ErrorKind::InvalidConfig, context))
    }
}
