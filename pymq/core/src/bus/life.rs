//! The status of a [`Bus`], and its end.

use std::time::Duration;

use super::Bus;
use crate::client::BusStats;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::{Health, Lifecycle, Status};

/// The queue that [`Bus::ping`] asks for. The name is reserved, so no application puts to it.
const PING_QUEUE: &str = "__rpc_ping";

impl Bus {
    /// Checks that the provider answers within `timeout`: the connection, the rights, the scripts.
    ///
    /// It sends one request. A provider with a limit of its own for each command, such as the
    /// `op_timeout` of Redis, may fail earlier. With [`Duration::MAX`], only that limit counts.
    /// With zero, it succeeds only if the answer is available at once. [`status`](Self::status)
    /// returns what is known without a request.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. It changes nothing.
    ///
    /// # Errors
    ///
    /// [`Timeout`](ErrorKind::Timeout) at the end of the timeout. The source of the error names the
    /// status of the bus. [`Closed`](ErrorKind::Closed), or another error of the provider, such as
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

    /// Returns the current status of the bus, without a request to the server.
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

    /// Returns a stream of the changes of the connections of this bus.
    ///
    /// It begins with the current status. It ends with [`Status::Closed`], at the end of a
    /// shutdown. It does not keep the bus alive.
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
    ///         LifecycleEvent::Disconnected { connection, error } => {
    ///             println!("{connection}: {error}");
    ///         }
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

    /// Returns the counters of this bus: failures, lag, redeliveries and others.
    pub fn stats(&self) -> BusStats {
        self.client
            .any_session()
            .map_or_else(BusStats::default, |session| {
                BusStats::new(session.provider().health(), session.counters())
            })
    }

    /// Shuts the bus down. When it returns, nothing runs any more.
    ///
    /// It takes no new work, lets running and arrived work finish within `grace`, and ends the
    /// rest. Then it gives back the leases that are not settled, and closes the provider.
    ///
    /// Within the grace time:
    ///
    /// - Handlers of topics and patterns handle the events that waited when the shutdown began. New
    ///   events are not taken. An event that arrives at that moment may be taken.
    /// - Functions answer the calls that had arrived.
    /// - Workers finish the items that they have begun. Their other items go back to the queue.
    /// - Leases in other places of the program can be settled.
    ///
    /// It returns as soon as all of that is done. Events that still wait at the end of the grace
    /// time are dropped, because nothing stores them. [`Duration::ZERO`] means now, as in
    /// [`close`](Self::close): running work is ended, and waiting work is dropped or goes back. To
    /// drop the events of one handler only, drop its guard.
    ///
    /// It does not wait for streams ([`Events`](crate::Events)), because only their readers know
    /// when they are done. Streams get events until the provider is closed. Events that have
    /// arrived by then can still be read.
    ///
    /// A handler may publish and call while it finishes. A second shutdown during the first waits
    /// as well, and the shorter grace time counts. After the first it does nothing. A handler that
    /// awaits the shutdown waits for itself until the grace time ends. A handler that blocks its
    /// thread cannot be ended, so the shutdown waits for it. If the provider does not answer, the
    /// shutdown takes longer: the time of one command to give leases back, and a second to close.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the bus takes no new work and is not closed. Call it again.
    ///
    /// # Errors
    ///
    /// The error with which the provider fails to close.
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

    /// Closes the bus now: a [`shutdown`](Self::shutdown) without grace time. Running handlers are
    /// ended, and waiting events are dropped.
    ///
    /// # Cancel safety
    ///
    /// As [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown).
    pub async fn close(&self) -> Result<()> {
        self.shutdown(Duration::ZERO).await
    }

    /// Tells whether a shutdown has begun, or the runtime of the bus has ended.
    pub fn is_closed(&self) -> bool {
        let session = self.client.any_session();
        session.is_some_and(|session| session.is_closed())
    }
}
