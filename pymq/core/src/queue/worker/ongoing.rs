//! Waiting for an operation that may be under way, beside other things.

use std::future::{Future, pending};
use std::pin::Pin;

use tokio::time::{Instant, sleep_until};

/// An operation that is under way, or none.
pub(super) struct Ongoing<T>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Default for Ongoing<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Ongoing<T> {
    pub(super) fn start(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.0 = Some(Box::pin(future));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn cancel(&mut self) {
        self.0 = None;
    }

    /// Waits for the end. Never resolves if no operation is under way. Cancel safe.
    pub(super) async fn end(&mut self) -> T {
        let Some(future) = &mut self.0 else {
            return pending().await;
        };
        let output = future.await;
        self.0 = None;
        output
    }
}

/// Waits until a time. Never resolves if there is none.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
