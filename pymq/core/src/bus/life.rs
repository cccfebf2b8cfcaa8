//! How a [`Bus`] is, and its end.

use std::time::Duration;

use super::Bus;
use crate::client::BusStats;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::{Health, Lifecycle, Status};

/// The name that [`Bus::ping`] asks for: a reserved one, which no application can put to.
const PING_QUEUE: &str = "__rpc_ping";

impl Bus {
    /// Checks that the provider answers within `timeout`: the connection, the rights, the scripts.
    ///
    /// It asks once. A provider with a limit of its own for each command, such as the `op_timeout` of Redis, may give up
    /// earlier. [`Duration::MAX`] leaves it to that limit. With a timeout of zero, only an answer that is there at once
    /// counts. [`status`](Self::status) tells what is known without asking.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it changes nothing.
    ///
    /// # Errors
    ///
    /// [`Timeout`](ErrorKind::Timeout) when the time is over, whose source tells the status of the bus;
    /// [`Closed`](ErrorKind::Closed); else what the provider answers, such as
    /// [`Disconnected`](ErrorKind::Disconnected).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// bus.ping(Duration::from_millis(500)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn ping(&self, timeout: Duration) -> Result<()> {
        let operation = || format!("{}: ping", self.client.provider_name());
        let provider = self.client.session(operation)?.provider();
        let asking = provider.queue_stats(PING_QUEUE);
        if let Ok(answer) = tokio::time::timeout(timeout, asking).await {
            return answer.map(drop);
        }
        let why = format!("no answer within {timeout:?}, the bus is {}", self.status());
        Err(Error::new(ErrorKind::Timeout, operation()).with_source(why))
    }

    /// Returns how the bus is at the moment, without asking the server.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use pymq::health::Status;
    ///
    /// assert_eq!(bus.status(), Status::Ready);
    ///
    /// bus.close().await?;
    ///
    /// assert_eq!(bus.status(), Status::Closed);
    /// # Ok(()) }
    /// ```
    pub fn status(&self) -> Status {
        match self.client.any_session() {
            None => Status::Connecting,
            Some(session) if session.is_closed() => Status::Closed,
            Some(session) => session.provider().health().status(),
        }
    }

    /// Listens to what happens to the connections of this bus: a stream that begins with the status of now and ends with
    /// [`Status::Closed`], which comes when a shutdown is over.
    ///
    /// It does not keep the bus alive.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use pymq::health::LifecycleEvent;
    ///
    /// let mut lifecycle = bus.lifecycle();
    /// bus.close().await?;
    ///
    /// while let Some(event) = lifecycle.recv().await {
    ///     match event {
    ///         LifecycleEvent::Status(status) => println!("the bus is {status}"),
    ///         LifecycleEvent::Disconnected { connection, error } => println!("{connection}: {error}"),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn lifecycle(&self) -> Lifecycle {
        match self.client.any_session() {
            Some(session) => session.provider().health().lifecycle(),
            None => Health::default().lifecycle(),
        }
    }

    /// Returns what this bus has counted so far: failures, lag, redeliveries and the like.
    pub fn stats(&self) -> BusStats {
        self.client
            .any_session()
            .map_or_else(BusStats::default, |session| {
                BusStats::new(session.provider().health(), session.counters())
            })
    }

    /// Shuts the bus down: takes no new work, lets what has arrived finish within `grace`, ends the rest, gives back
    /// the leases that are not settled by then, and closes the provider. When it returns nothing runs any more.
    ///
    /// What the grace time is used for:
    ///
    /// - Handlers of topics and patterns handle the events that waited for them when the shutdown began. New events are not
    ///   taken; one that arrives just as it begins may be.
    /// - Functions answer the calls that had arrived.
    /// - Workers finish the items they have begun. What they have not begun goes back to its queue.
    /// - Leases held elsewhere are waited for.
    ///
    /// It ends as soon as all of that is done. Events that still wait when the grace time is over are dropped: nothing
    /// stores them. [`Duration::ZERO`] means now, as [`close`](Self::close) does: what runs is ended, and what waits is
    /// dropped or goes back. To drop the events of one handler only, drop its guard or unsubscribe it.
    ///
    /// Streams ([`Events`](crate::Events)) are not waited for, as only their reader knows when it is done. They get events
    /// until the provider is closed. What has arrived by then can still be read; after it comes the end.
    ///
    /// A handler may publish and call while it finishes. A second shutdown finds nothing to do; during the first it
    /// waits as well, and the shorter grace time wins. A handler that waits for it waits for itself, until its grace
    /// time is over. A handler that blocks its thread cannot be ended and is waited for. With a provider that does not
    /// answer, it takes as much longer as one command may take, to give leases back, and a second to close.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the bus takes no new work and is not closed; call it again.
    ///
    /// # Errors
    ///
    /// What the provider answers to its closing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// bus.shutdown(Duration::from_secs(30)).await?;
    ///
    /// assert!(bus.is_closed());
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(&self, grace: Duration) -> Result<()> {
        match self.client.any_session() {
            Some(session) => session.shutdown(grace).await,
            None => Ok(()),
        }
    }

    /// Closes the bus now: a [`shutdown`](Self::shutdown) without grace. Handlers that run are ended, and events that wait
    /// are dropped.
    ///
    /// # Errors
    ///
    /// What the provider answers to its closing.
    pub async fn close(&self) -> Result<()> {
        self.shutdown(Duration::ZERO).await
    }

    /// Tells whether a shutdown has begun, or the runtime of the bus has ended.
    pub fn is_closed(&self) -> bool {
        let session = self.client.any_session();
        session.is_some_and(|session| session.is_closed())
    }
}
