//! A handler, a worker or a remote function as a value, so that it can wait for a session; and
//! [`Running`], the guard of what runs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::tasks::{Alive, Stop, lifeline};
use super::{Client, Session};
use crate::error::Result;

/// Starts something on a session, and resolves once it is live. Failed or dropped early, it leaves
/// nothing behind.
pub(crate) type Start = Arc<
    dyn for<'a> Fn(
            &'a Arc<Session>,
            Arc<Alive>,
        ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>
        + Send
        + Sync,
>;

/// What is to run on a bus.
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

    /// Says that it is the remote of this name.
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

/// The guard of a handler, a worker or an exposed function. Dropped, it stops what runs, without
/// waiting for it.
///
/// It is a handle of the bus: what it guards goes on while the guard is there.
///
/// Registered on a bus that is not connected yet, nothing runs until it is. Dropped before that,
/// nothing ever does.
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
/// handler.stop().await; // waits for the events that are being handled
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
    /// Creates the guard of what is about to run, and what that holds until its end.
    pub(super) fn new(client: &Client) -> (Self, Arc<Alive>) {
        let (stop, alive) = lifeline();
        let running = Self {
            stop,
            client: client.clone(),
            is_kept: false,
        };
        (running, alive)
    }

    /// Takes no new event, call or item. Resolves once what was begun has finished.
    ///
    /// - A handler: no event is delivered any more, and the handlers that ran have finished.
    /// - A remote: the calls that had arrived are answered; new ones go to other servers.
    /// - A worker: handlers that run finish and are settled. What was not begun goes back at once.
    ///
    /// A handler that stops itself would wait for itself. Let it drop the guard instead.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, it stops as if the guard were dropped: without waiting.
    pub async fn stop(self) {
        self.ask();
        self.stop.ended().await;
    }

    /// Lets it run until the bus is shut down, or its last handle is dropped. In the latter case
    /// handlers are ended where they wait, and the items of workers come back when their leases
    /// end.
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
