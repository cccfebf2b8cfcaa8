//! How a provider is: what it reports of its connections, and counts that only it can make. Reporting never waits;
//! who listens reads from a bounded buffer of its own.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;

use super::buffer::{BufferLimits, Shared, State};
use crate::error::{Error, ErrorKind};

/// How a bus is at the moment.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// The connection without which nothing works is lost and being made again. Operations wait for it, each within its
    /// own time.
    Connecting,
    /// All is well.
    Ready,
    /// Operations work, but one of the other connections is being made again: events may be missing, answers to calls and
    /// items of waiting takes may be late.
    Degraded,
    /// A shutdown has begun, or the provider was closed. For good.
    Closed,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Closed => "closed",
        })
    }
}

/// What happens to the connections of a bus.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LifecycleEvent {
    /// The status of the bus is this from now on.
    Status(Status),
    /// A connection was lost, or could not be made again: why. The bus goes on trying, ever more slowly.
    Disconnected {
        /// What it is for, as the provider calls it: `"commands"`, `"subscriptions"`.
        connection: &'static str,
        /// What went wrong.
        error: Error,
    },
    /// A connection that was lost is there again, with all it is for.
    Reconnected {
        /// What it is for.
        connection: &'static str,
    },
    /// The reader was slow: so many of the oldest events are missing here.
    Lagged(u64),
}

/// What a provider reports about itself; made by it, read by the bus. Cheap to clone.
///
/// # Examples
///
/// ```
/// use pymq::provider::{Health, Need};
/// use pymq::{Error, ErrorKind, Status};
///
/// let health = Health::new();
/// let mut subscriptions = health.link("subscriptions", Need::Partly);
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
    /// A std mutex: the critical sections are a few moves, never an await; nothing on the way of a message takes it.
    now: Mutex<Now>,
    reconnects: AtomicU64,
    late_replies: AtomicU64,
}

#[derive(Debug, Default)]
struct Now {
    /// How many links of each need are down.
    down_wholly: usize,
    down_partly: usize,
    is_closed: bool,
    listeners: Vec<Weak<Shared<LifecycleEvent>>>,
}

impl Now {
    fn status(&self) -> Status {
        match self {
            _ if self.is_closed => Status::Closed,
            _ if self.down_wholly > 0 => Status::Connecting,
            _ if self.down_partly > 0 => Status::Degraded,
            _ => Status::Ready,
        }
    }

    fn down(&mut self, need: Need) -> &mut usize {
        match need {
            Need::Wholly => &mut self.down_wholly,
            Need::Partly => &mut self.down_partly,
        }
    }

    /// Tells all who listen; forgets those who do not any more.
    fn tell(&mut self, event: &LifecycleEvent) {
        self.listeners.retain(|listener| {
            let listener = listener.upgrade();
            listener.is_some_and(|it| it.push(event.clone(), push).is_ok())
        });
    }
}

impl Health {
    /// Creates the health of a provider that is connected.
    pub fn new() -> Self {
        let shared = Inner {
            now: Mutex::default(),
            reconnects: AtomicU64::new(0),
            late_replies: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Adds a connection to report on, by what it is for. Until it is reported down it changes nothing.
    pub fn link(&self, connection: &'static str, need: Need) -> Link {
        Link {
            health: self.clone(),
            connection,
            need,
            is_down: false,
            was_up: false,
        }
    }

    /// Counts a reply for which nobody waited any more.
    pub fn late_reply(&self) {
        // Relaxed: nothing else is read by it.
        self.shared.late_replies.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports that the provider is closed; who listens hears of it last of all.
    pub fn close(&self) {
        self.change(|now| now.is_closed = true);
        let listeners = std::mem::take(&mut self.lock().listeners);
        for listener in listeners {
            if let Some(listener) = listener.upgrade() {
                listener.end(Error::new(ErrorKind::Closed, "lifecycle"));
            }
        }
    }

    /// Returns how the provider is.
    pub fn status(&self) -> Status {
        self.lock().status()
    }

    /// Returns how often a lost connection was made again.
    pub fn reconnects(&self) -> u64 {
        self.shared.reconnects.load(Ordering::Relaxed)
    }

    /// Returns how many replies came when nobody waited for them any more.
    pub fn late_replies(&self) -> u64 {
        self.shared.late_replies.load(Ordering::Relaxed)
    }

    /// Listens to what happens from now on, after the status of now.
    pub fn lifecycle(&self) -> Lifecycle {
        let shared = Shared::new(BufferLimits {
            items: KEPT_EVENTS,
            ..BufferLimits::default()
        });
        let mut now = self.lock();
        // Nobody has detached it yet, so it takes this.
        drop(shared.push(LifecycleEvent::Status(now.status()), push));
        if now.is_closed {
            shared.end(Error::new(ErrorKind::Closed, "lifecycle"));
        } else {
            now.listeners.push(Arc::downgrade(&shared));
        }
        Lifecycle { shared }
    }

    /// Changes what is; tells who listens when the status is another one then.
    fn change(&self, change: impl FnOnce(&mut Now)) {
        let mut now = self.lock();
        let before = now.status();
        change(&mut now);
        let after = now.status();
        if before != after {
            now.tell(&LifecycleEvent::Status(after));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.shared
            .now
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

/// What depends on a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Need {
    /// Without it nothing works: [`Status::Connecting`] while it is down.
    Wholly,
    /// The rest works without it: [`Status::Degraded`] while it is down.
    Partly,
}

/// One connection of a provider, held by the task that keeps it up. Dropped, it no longer counts.
#[derive(Debug)]
pub struct Link {
    health: Health,
    connection: &'static str,
    need: Need,
    is_down: bool,
    was_up: bool,
}

impl Link {
    /// Reports that the connection is there, with all it is for: subscriptions are confirmed again.
    pub fn up(&mut self) {
        let was_down = std::mem::take(&mut self.is_down);
        let was_up = std::mem::replace(&mut self.was_up, true);
        if !was_down {
            return;
        }
        if was_up {
            self.health
                .shared
                .reconnects
                .fetch_add(1, Ordering::Relaxed);
        }
        let (connection, need) = (self.connection, self.need);
        self.health.change(|now| {
            *now.down(need) -= 1;
            now.tell(&LifecycleEvent::Reconnected { connection });
        });
    }

    /// Reports that the connection was lost, or once more could not be made.
    pub fn down(&mut self, error: &Error) {
        let was_down = std::mem::replace(&mut self.is_down, true);
        let (connection, need) = (self.connection, self.need);
        let error = error.clone();
        self.health.change(|now| {
            if !was_down {
                *now.down(need) += 1;
            }
            now.tell(&LifecycleEvent::Disconnected { connection, error });
        });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.is_down {
            let need = self.need;
            self.health.change(|now| *now.down(need) -= 1);
        }
    }
}

/// What happens to the connections of a bus: a [`Stream`] that begins with the status of now and ends after
/// [`Status::Closed`].
///
/// At most 256 events wait for a reader; then the oldest go and [`LifecycleEvent::Lagged`] says how many.
pub struct Lifecycle {
    shared: Arc<Shared<LifecycleEvent>>,
}

/// So many events wait for one reader.
const KEPT_EVENTS: usize = 256;

impl Lifecycle {
    /// Returns the next event, waiting until there is one; none after the bus is closed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an event is taken only when it is returned.
    pub async fn recv(&mut self) -> Option<LifecycleEvent> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<LifecycleEvent>> {
        let next = self.shared.poll(cx, |state| state.items.pop_front());
        next.map(Result::ok)
    }
}

impl Stream for Lifecycle {
    type Item = LifecycleEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx)
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle")
            .field("buffer", &self.shared)
            .finish()
    }
}

/// Appends; when it is full the oldest goes, and one mark at the front counts those that went.
fn push(state: &mut State<LifecycleEvent>, event: LifecycleEvent) {
    let limit = state.limits.items;
    push_within(limit, &mut state.items, event);
}

fn push_within(limit: usize, events: &mut VecDeque<LifecycleEvent>, event: LifecycleEvent) {
    let missed = match events.front() {
        Some(LifecycleEvent::Lagged(missed)) => *missed,
        _ => 0,
    };
    if events.len() < limit + usize::from(missed > 0) {
        events.push_back(event);
        return;
    }
    if missed > 0 {
        events.pop_front();
    }
    events.pop_front();
    events.push_front(LifecycleEvent::Lagged(missed + 1));
    events.push_back(event);
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
    fn the_worst_link_makes_the_status() {
        let health = Health::new();
        let mut commands = health.link("commands", Need::Wholly);
        let mut replies = health.link("replies", Need::Partly);
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
    fn a_first_connection_is_no_reconnect() {
        let health = Health::new();
        let mut link = health.link("replies", Need::Partly);

        link.down(&broken());
        link.up();
        assert_eq!(health.reconnects(), 0);
        link.down(&broken());
        link.up();
        link.up();

        assert_eq!(health.reconnects(), 1);
    }

    #[tokio::test]
    async fn who_listens_hears_everything_in_order_and_the_end() {
        let health = Health::new();
        let mut link = health.link("commands", Need::Wholly);
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
    async fn a_slow_reader_is_told_what_it_missed() {
        let health = Health::new();
        let mut link = health.link("replies", Need::Partly);
        let lifecycle = health.lifecycle();

        for _ in 0..KEPT_EVENTS + 10 {
            link.down(&broken());
        }
        health.close();

        let seen = all(lifecycle).await;
        assert_eq!(seen.len(), KEPT_EVENTS + 1);
        // The first status, the first loss and its status, and ten more are over the limit, as is the end.
        assert_eq!(seen[0], "missed 13");
        assert_eq!(seen.last().map(String::as_str), Some("closed"));
    }

    #[test]
    fn a_dropped_reader_is_forgotten() {
        let health = Health::new();
        let mut link = health.link("replies", Need::Partly);

        drop(health.lifecycle());
        link.down(&broken());

        assert!(health.lock().listeners.is_empty());
    }
}
