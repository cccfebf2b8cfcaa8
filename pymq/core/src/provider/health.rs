//! The health of a provider: what it reports about its connections, and the counts that only it can
//! make.
//!
//! Reporting never waits. Each reader of the events has a bounded buffer of its own.

mod lifecycle;
mod link;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub use self::lifecycle::{Lifecycle, LifecycleEvent, Status};
use self::lifecycle::{MAX_EVENTS, push};
pub use self::link::{Link, Requirement};

use super::buffer::{BufferLimits, Shared};
use crate::error::{Error, ErrorKind};

/// The health of a provider, which the provider reports and the bus reads. Cheap to clone.
///
/// # Examples
///
/// ```
/// use pymq::provider::{Health, Requirement};
/// use pymq::{Error, ErrorKind};
/// use pymq::health::Status;
///
/// let health = Health::new();
/// let mut subscriptions = health.link("subscriptions", Requirement::Optional);
/// subscriptions.up();
/// assert_eq!(health.status(), Status::Ready);
///
/// subscriptions.down(&Error::new(ErrorKind::Disconnected, "toy: subscriptions"));
/// assert_eq!(health.status(), Status::Degraded);
///
/// subscriptions.up();
/// assert_eq!((health.status(), health.reconnects()), (Status::Ready, 1));
/// ```
#[derive(Clone)]
pub struct Health {
    shared: Arc<Inner>,
}

struct Inner {
    /// A std mutex, because the critical sections are short and never cross an await. No operation
    /// on messages takes it.
    connections: Mutex<Connections>,
    reconnects: AtomicU64,
    late_replies: AtomicU64,
}

/// The connections that are down, and the readers of the events.
#[derive(Debug, Default)]
struct Connections {
    required_down: usize,
    optional_down: usize,
    is_closed: bool,
    readers: Vec<Weak<Shared<LifecycleEvent>>>,
}

impl Connections {
    fn status(&self) -> Status {
        match self {
            _ if self.is_closed => Status::Closed,
            _ if self.required_down > 0 => Status::Connecting,
            _ if self.optional_down > 0 => Status::Degraded,
            _ => Status::Ready,
        }
    }

    /// Returns how many connections with this requirement are down.
    fn down(&mut self, requirement: Requirement) -> &mut usize {
        match requirement {
            Requirement::Required => &mut self.required_down,
            Requirement::Optional => &mut self.optional_down,
        }
    }

    /// Sends an event to every reader, and removes the readers that are gone.
    fn send(&mut self, event: &LifecycleEvent) {
        self.readers.retain(|reader| {
            let reader = reader.upgrade();
            reader.is_some_and(|reader| reader.push(event.clone(), push).is_ok())
        });
    }
}

impl Health {
    /// Creates the health of a provider that is connected.
    pub fn new() -> Self {
        let shared = Inner {
            connections: Mutex::default(),
            reconnects: AtomicU64::new(0),
            late_replies: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Adds a connection, named by its purpose. It counts as up until it is reported down.
    pub fn link(&self, connection: &'static str, requirement: Requirement) -> Link {
        Link::new(self.clone(), connection, requirement)
    }

    /// Counts a reply that arrived after its caller had stopped waiting.
    pub fn late_reply(&self) {
        // Relaxed: no other memory depends on this counter.
        self.shared.late_replies.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports that the provider is closed. This is the last event of each [`Lifecycle`].
    pub fn close(&self) {
        self.change(|connections| connections.is_closed = true);
        let readers = std::mem::take(&mut self.lock().readers);
        for reader in readers {
            if let Some(reader) = reader.upgrade() {
                reader.end(Error::new(ErrorKind::Closed, "lifecycle"));
            }
        }
    }

    /// Returns the current status.
    pub fn status(&self) -> Status {
        self.lock().status()
    }

    /// Returns how often a lost connection was restored.
    pub fn reconnects(&self) -> u64 {
        self.shared.reconnects.load(Ordering::Relaxed)
    }

    /// Returns how many replies arrived after their caller had stopped waiting.
    pub fn late_replies(&self) -> u64 {
        self.shared.late_replies.load(Ordering::Relaxed)
    }

    /// Returns the current status and the events from now on.
    pub fn lifecycle(&self) -> Lifecycle {
        let shared = Shared::new(BufferLimits {
            items: MAX_EVENTS,
            ..BufferLimits::default()
        });
        let mut connections = self.lock();
        // The push succeeds, because the reader is not detached yet.
        drop(shared.push(LifecycleEvent::Status(connections.status()), push));
        if connections.is_closed {
            shared.end(Error::new(ErrorKind::Closed, "lifecycle"));
        } else {
            connections.readers.push(Arc::downgrade(&shared));
        }
        Lifecycle { shared }
    }

    /// Changes the connections, and sends the status to the readers if it is a new one.
    fn change(&self, change: impl FnOnce(&mut Connections)) {
        let mut connections = self.lock();
        let before = connections.status();
        change(&mut connections);
        let after = connections.status();
        if before != after {
            connections.send(&LifecycleEvent::Status(after));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.shared
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Error {
        Error::new(ErrorKind::Disconnected, "toy: a connection")
    }

    async fn all(mut lifecycle: Lifecycle) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(event) = lifecycle.recv().await {
            seen.push(match event {
                LifecycleEvent::Status(status) => status.to_string(),
                LifecycleEvent::Disconnected { connection, .. } => format!("-{connection}"),
                LifecycleEvent::Reconnected { connection } => format!("+{connection}"),
                LifecycleEvent::Lagged(missed) => format!("missed {missed}"),
            });
        }
        seen
    }

    #[test]
    fn the_worst_link_decides_the_status() {
        let health = Health::new();
        let mut commands = health.link("commands", Requirement::Required);
        let mut replies = health.link("replies", Requirement::Optional);
        assert_eq!(health.status(), Status::Ready);

        replies.down(&broken());
        assert_eq!(health.status(), Status::Degraded);
        commands.down(&broken());
        commands.down(&broken());
        assert_eq!(health.status(), Status::Connecting);
        commands.up();
        assert_eq!(health.status(), Status::Degraded);
        drop(replies);
        assert_eq!(health.status(), Status::Ready);

        health.close();
        commands.down(&broken());
        assert_eq!(health.status(), Status::Closed);
    }

    #[test]
    fn a_first_connection_does_not_count_as_a_reconnect() {
        let health = Health::new();
        let mut link = health.link("replies", Requirement::Optional);

        link.down(&broken());
        link.up();
        assert_eq!(health.reconnects(), 0);
        link.down(&broken());
        link.up();
        link.up();

        assert_eq!(health.reconnects(), 1);
    }

    #[tokio::test]
    async fn a_reader_gets_every_event_in_order_and_the_end() {
        let health = Health::new();
        let mut link = health.link("commands", Requirement::Required);
        let lifecycle = health.lifecycle();

        link.down(&broken());
        link.down(&broken());
        link.up();
        health.close();
        health.close();

        let expected = [
            "ready",
            "-commands",
            "connecting",
            "-commands",
            "+commands",
            "ready",
            "closed",
        ];
        assert_eq!(all(lifecycle).await, expected);
        assert_eq!(all(health.lifecycle()).await, ["closed"]);
    }

    #[tokio::test]
    async fn a_slow_reader_gets_the_number_of_missed_events() {
        let health = Health::new();
        let mut link = health.link("replies", Requirement::Optional);
        let lifecycle = health.lifecycle();

        for _ in 0..MAX_EVENTS + 10 {
            link.down(&broken());
        }
        health.close();

        let seen = all(lifecycle).await;
        assert_eq!(seen.len(), MAX_EVENTS + 1);
        // 269 events: the first status, 266 losses, the status after the first loss, and the end.
        assert_eq!(seen[0], "missed 13");
        assert_eq!(seen.last().map(String::as_str), Some("closed"));
    }

    #[test]
    fn a_dropped_reader_is_removed() {
        let health = Health::new();
        let mut link = health.link("replies", Requirement::Optional);

        drop(health.lifecycle());
        link.down(&broken());

        assert!(health.lock().readers.is_empty());
    }
}
