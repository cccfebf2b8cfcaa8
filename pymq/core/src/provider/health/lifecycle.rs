//! The status of a bus and the events of its connections.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::error::Error;
use crate::provider::buffer::{Shared, State};

/// The current status of a bus.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// A required connection is lost, and the provider reconnects. Operations wait for it within
    /// their own time.
    Connecting,
    /// All connections work.
    Ready,
    /// An optional connection is lost, and the provider reconnects. Operations work. Events may be
    /// missing, and replies to calls and the items of waiting takes may be late.
    Degraded,
    /// A shutdown has begun, or the provider was closed. This status is final.
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

/// An event of the connections of a bus.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LifecycleEvent {
    /// The status of the bus has changed to this one.
    Status(Status),
    /// A connection was lost, or a reconnect failed. The provider tries again, at growing
    /// intervals.
    Disconnected {
        /// The purpose of the connection in the provider's words: `"commands"`, `"subscriptions"`.
        connection: &'static str,
        /// The cause.
        error: Error,
    },
    /// A lost connection is restored, together with its subscriptions.
    Reconnected {
        /// The purpose of the connection.
        connection: &'static str,
    },
    /// The reader was too slow: this number of events is missing here.
    Lagged(u64),
}

/// The events of the connections of a bus, as a [`Stream`].
///
/// It begins with the current status and ends after [`Status::Closed`]. At most 256 events wait for
/// the reader. More events replace the oldest, and [`LifecycleEvent::Lagged`] counts those.
pub struct Lifecycle {
    pub(super) shared: Arc<Shared<LifecycleEvent>>,
}

/// How many events may wait for one reader.
pub(super) const MAX_EVENTS: usize = 256;

impl Lifecycle {
    /// Waits for the next event; returns `None` after the bus was closed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. An event is removed only when it is returned.
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

/// Appends an event. In a full buffer it replaces the oldest, and one `Lagged` at the front counts
/// the replaced events.
pub(super) fn push(state: &mut State<LifecycleEvent>, event: LifecycleEvent) {
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
