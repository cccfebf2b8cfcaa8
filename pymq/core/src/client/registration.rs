//! [`Registration`]: a handler, a worker or a remote function that can wait for a session.
//! [`Running`]: its guard.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::lifeline::{Alive, Stop, lifeline};
use super::{Client, Session};
use crate::error::Result;

/// Starts something on a session, and resolves when it is live. If it fails or is dropped early,
/// nothing stays started.
pub(crate) type Start = Arc<
    dyn for<'a> Fn(
            &'a Arc<Session>,
            Arc<Alive>,
        ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>
        + Send
        + Sync,
>;

/// A handler, a worker or a remote function that is to run on a bus.
#[derive(Clone)]
pub(crate) struct Registration {
    /// For errors, such as "expose `product`".
    operation: Arc<str>,
    /// The name of a remote, which a bus exposes only once.
    remote: Option<Arc<str>>,
    start: Start,
}

impl Registration {
    pub(crate) fn new(operation: impl Into<Arc<str>>, start: Start) -> Self {
        Self {
            operation: operation.into(),
            remote: None,
            start,
        }
    }

    /// Marks this as the remote of this name.
    pub(crate) fn remote_of(mut self, name: &str) -> Self {
        self.remote = Some(name.into());
        self
    }

    pub(super) fn remote(&self) -> Option<&str> {
        self.remote.as_deref()
    }

    pub(super) fn operation(&self) -> &str {
        &self.operation
    }

    pub(super) async fn start(&self, session: &Arc<Session>, alive: Arc<Alive>) -> Result<()> {
        (self.start)(session, alive).await
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

/// The guard of a handler, a worker or an exposed function. Dropping it stops them, without
/// waiting.
///
/// It is a handle of the bus, so the bus stays alive while the guard exists.
///
/// On a bus that is not connected yet, nothing runs until the bus is connected. If the guard is
/// dropped before that, nothing runs at all.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// let handler = bus.topic("news").subscribe(async |text: String| println!("{text}")).await?;
/// let remote = bus.expose("answer", async || 42).await?;
/// let worker = bus.queue("jobs").worker(async |job: u32| println!("{job}")).start()?;
///
/// handler.stop().await; // waits until no event is handled any more
/// drop(worker); // does not wait
/// remote.keep(); // goes on until the bus is shut down
/// # Ok(()) }
/// ```
#[doc(alias = "unsubscribe", alias = "unexpose", alias = "guard")]
#[must_use = "dropping it stops what it guards; `keep()` lets that run until the shutdown"]
pub struct Running {
    stop: Stop,
    /// Keeps the bus alive, which its tasks must not do.
    client: Client,
    is_kept: bool,
}

impl Running {
    /// Creates a guard, and the token that the guarded tasks hold until they end.
    pub(super) fn new(client: &Client) -> (Self, Arc<Alive>) {
        let (stop, alive) = lifeline();
        let running = Self {
            stop,
            client: client.clone(),
            is_kept: false,
        };
        (running, alive)
    }

    /// Takes no new event, call or item. Resolves when everything that has begun is finished.
    ///
    /// - A handler: no event is delivered any more, and all running calls of the handler finish.
    /// - A remote: the calls that had arrived are answered. New calls go to other servers.
    /// - A worker: running handlers finish and their items are settled. Other items that it has
    ///   taken go back at once.
    ///
    /// A handler that awaits its own stop waits for ever. It can drop the guard instead.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, it stops without waiting, as if the guard were dropped.
    pub async fn stop(self) {
        self.ask();
        self.stop.ended().await;
    }

    /// Lets it run until the bus is shut down, or until the last handle of the bus is dropped.
    ///
    /// When the last handle is dropped, handlers end at their current await point, and the items of
    /// workers come back when their leases end.
    pub fn keep(mut self) {
        self.is_kept = true;
    }

    fn ask(&self) {
        self.stop.stop();
        self.client.forget_stopped();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_kept {
            self.ask();
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}
