//! [`Quiet`]: tells when a queue that had no message for a while gets one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use pymq_core::ErrorKind;
use tokio::time::{Instant, sleep_until};

use crate::connection::{Connection, Fault, Remedy};
use crate::keys::QueueKeys;
use crate::subscriptions::{Subscriptions, Watch};

/// How long a queue counts as busy after a message. A wait then has a connection of its own.
const BUSY_TIME: Duration = Duration::from_secs(3);

/// The pause between a change of the leases and the next watch of them.
const LEASES_PAUSE: Duration = Duration::from_millis(500);

/// Watches a quiet queue, on the connection that all quiet queues share.
pub(super) struct Quiet {
    messages: Watch,
    /// The leases and the delayed messages. Unless they change, a sweep finds nothing new.
    leases: Watch,
    /// Begins a watch, and tells whether there is a message.
    beginning: Option<BoxFuture<'static, Result<bool, Fault>>>,
    are_messages_watched: bool,
    are_leases_watched: bool,
    /// How often a watch began.
    began: u64,
    /// When to watch the leases again.
    leases_at: Option<Instant>,
    busy_until: Option<Instant>,
    /// The server does not tell this user what changes.
    is_refused: bool,
}

/// What happened at a quiet queue.
pub(super) enum Sign {
    /// There may be a message. The server said so on this connection.
    Message(Arc<Connection>),
    /// Leases or delayed messages changed.
    Leases,
    /// The queue cannot be watched now.
    Unavailable,
}

impl Quiet {
    pub(super) fn new(subscriptions: &Subscriptions, keys: &QueueKeys) -> Self {
        Self {
            messages: subscriptions.watch(vec![keys.list.clone()]),
            leases: subscriptions.watch(vec![keys.leases.clone(), keys.delayed.clone()]),
            beginning: None,
            are_messages_watched: false,
            are_leases_watched: false,
            began: 0,
            leases_at: None,
            busy_until: None,
            // A slot of a cluster may move, and nothing tells that a queue without a key has moved.
            is_refused: subscriptions.is_on_cluster(),
        }
    }

    /// Tells whether to watch the queue. A busy one is waited at by a blocking command.
    pub(super) fn is_quiet(&self) -> bool {
        !self.is_refused && self.busy_until.is_none_or(|until| until <= Instant::now())
    }

    pub(super) fn note_activity(&mut self) {
        self.busy_until = Some(Instant::now() + BUSY_TIME);
    }

    /// Tells whether there is no message: the server would have told.
    pub(super) fn is_known_empty(&self) -> bool {
        self.are_messages_watched && self.messages.is_on()
    }

    /// Returns the number of the watch if the queue is watched and nothing has changed since.
    pub(super) fn unchanged_watch(&self) -> Option<u64> {
        let is_watched = self.are_messages_watched && self.are_leases_watched;
        let is_unchanged = is_watched && self.messages.is_on() && self.leases.is_on();
        is_unchanged.then_some(self.began)
    }

    /// Waits for a sign.
    ///
    /// Cancel safe: a change that was not returned yet is returned next.
    pub(super) async fn sign(&mut self) -> Sign {
        loop {
            if let Some(beginning) = &mut self.beginning {
                let begun = beginning.await;
                self.beginning = None;
                match begun {
                    Ok(has_message) => {
                        self.are_messages_watched = true;
                        self.are_leases_watched = true;
                        self.began += 1;
                        if has_message {
                            return self.message();
                        }
                    }
                    Err(fault) => return self.unavailable(&fault),
                }
            }
            if !self.are_messages_watched {
                self.begin();
                continue;
            }
            let leases_at = self.leases_at;
            tokio::select! {
                biased;
                () = self.messages.ended() => return self.message(),
                () = self.leases.ended(), if self.are_leases_watched => {
                    self.are_leases_watched = false;
                    self.leases_at = Some(Instant::now() + LEASES_PAUSE);
                    return Sign::Leases;
                }
                () = sleep_until(leases_at.unwrap_or_else(Instant::now)), if leases_at.is_some() => {
                    self.leases_at = None;
                    let leases = self.leases.begin();
                    self.beginning = Some(Box::pin(async { leases.await.map(|_| false) }));
                }
            }
        }
    }

    /// Ends the watches.
    pub(super) fn stop(&mut self) {
        self.beginning = None;
        self.are_messages_watched = false;
        self.are_leases_watched = false;
        self.leases_at = None;
        self.messages.end();
        self.leases.end();
    }

    fn begin(&mut self) {
        self.leases_at = None;
        let (messages, leases) = (self.messages.begin(), self.leases.begin());
        self.beginning = Some(Box::pin(async {
            leases.await?;
            messages.await
        }));
    }

    fn message(&mut self) -> Sign {
        self.are_messages_watched = false;
        self.note_activity();
        self.messages
            .connection()
            .map_or(Sign::Unavailable, Sign::Message)
    }

    fn unavailable(&mut self, fault: &Fault) -> Sign {
        self.are_messages_watched = false;
        self.note_activity();
        let passes = fault.remedy != Remedy::None
            || matches!(fault.kind, ErrorKind::Disconnected | ErrorKind::Closed);
        if !passes && !self.is_refused {
            self.is_refused = true;
            tracing::debug!("cannot watch a queue, each wait has a connection: {fault}");
        }
        Sign::Unavailable
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.stop();
    }
}
