//! [`Entry`]: one target of the table, what Redis knows of it, and its local subscriptions.

use std::sync::Arc;

use pymq_core::Error;
use pymq_core::provider::{Detached, Inlet};
use tokio::sync::oneshot;

use super::Id;
use crate::connection::Fault;
use crate::rpc::Server;

/// A local subscriber that waits for its confirmation.
pub(super) type Waiter = oneshot::Sender<Result<(), Fault>>;

/// One target: one subscription in Redis, and any number of local ones.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) server_state: ServerState,
    pub(super) topics: Vec<Topic>,
    /// The topic of the last message. That of the next one is mostly the same.
    pub(super) last_topic: Option<Arc<str>>,
    /// The newest server gets the requests, because Redis counts this process once.
    pub(super) remotes: Vec<(Id, Arc<Server>)>,
    /// The last server that left. It answers the requests that Redis sent before the
    /// unsubscription.
    pub(super) last_remote: Option<Arc<Server>>,
    /// Subscribers that came since the last command to Redis.
    pub(super) unsent: Vec<Waiter>,
    /// Subscribers that wait for the answer to the last command.
    pub(super) sent: Vec<Waiter>,
    /// Released once Redis has confirmed the end.
    pub(super) detached: Vec<Arc<Detached>>,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: Id,
    pub(super) inlet: Inlet,
    pub(super) stage: Stage,
}

/// The progress of a local subscription to a topic. An event that was published before it was sent
/// must not reach it, although the event may still be on its way to another local subscription. So
/// Redis confirms each subscription for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    New,
    Requested,
    Live,
    /// Live before an outage, and not yet again.
    Interrupted,
}

/// What Redis knows of a target.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum ServerState {
    #[default]
    Unsubscribed,
    Subscribing,
    Subscribed,
    Unsubscribing,
}

impl Topic {
    /// Ends the interruption: the subscriber gets the gap first.
    pub(super) fn resume(&mut self) {
        if self.stage == Stage::Interrupted {
            self.inlet.gap();
            self.stage = Stage::Live;
        }
    }
}

impl Entry {
    pub(super) fn is_wanted(&self) -> bool {
        !self.topics.is_empty() || !self.remotes.is_empty()
    }

    /// Returns the name of a topic to share with the subscribers.
    pub(super) fn shared_name(&mut self, topic: &str) -> Arc<str> {
        match &self.last_topic {
            Some(last) if **last == *topic => Arc::clone(last),
            _ => Arc::clone(self.last_topic.insert(topic.into())),
        }
    }

    /// Notes that the subscription is being sent to Redis.
    pub(super) fn mark_sent(&mut self) {
        self.server_state = ServerState::Subscribing;
        self.sent.append(&mut self.unsent);
        for topic in &mut self.topics {
            if topic.stage == Stage::New {
                topic.stage = Stage::Requested;
            }
        }
    }

    /// Notes that the connection is lost: everything must be sent again.
    pub(super) fn mark_disconnected(&mut self) {
        self.server_state = ServerState::Unsubscribed;
        self.unsent.append(&mut self.sent);
        for topic in &mut self.topics {
            topic.stage = match topic.stage {
                Stage::New | Stage::Requested => Stage::New,
                Stage::Live | Stage::Interrupted => Stage::Interrupted,
            };
        }
    }

    pub(super) fn end(&mut self, fault: &Fault, error: &Error) {
        notify_all(&mut self.unsent, &Err(fault.clone()));
        notify_all(&mut self.sent, &Err(fault.clone()));
        for topic in self.topics.drain(..) {
            topic.inlet.end(error.clone());
        }
        for (_, server) in self.remotes.drain(..) {
            server.end(error.clone());
        }
    }
}

pub(super) fn notify_all(waiters: &mut Vec<Waiter>, outcome: &Result<(), Fault>) {
    for waiter in waiters.drain(..) {
        // A subscriber that does not wait any more has detached.
        drop(waiter.send(outcome.clone()));
    }
}
