//! [`Table`]: the local subscriptions, and what Redis knows of them. A state machine without I/O.
//! Each change marks its target. [`Table::plan`] returns what to send to Redis, and the answers
//! come back as [`subscribed`](Table::subscribed), [`unsubscribed`](Table::unsubscribed) and
//! [`refused`](Table::refused).

mod entry;

use std::collections::HashSet;
use std::sync::Arc;

use pymq_core::provider::{Detached, Inlet};
use pymq_core::{Error, Message, Published};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use self::entry::{Entry, ServerState, Stage, Topic, notify_all};
use crate::connection::Fault;
use crate::rpc::Server;

/// The target of one Redis subscription, by its Redis name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Target {
    Channel(String),
    Pattern(String),
    /// A channel that only one node of a cluster knows: the owner of its slot.
    Shard(String),
}

impl Target {
    pub(crate) fn name(&self) -> &str {
        let (Self::Channel(name) | Self::Pattern(name) | Self::Shard(name)) = self;
        name
    }
}

/// The receiver of the messages of one local subscription.
#[derive(Clone, Debug)]
pub(crate) enum Sink {
    Topic(Inlet),
    Remote(Arc<Server>),
}

/// Distinguishes the local subscriptions of one target.
pub(crate) type Id = u64;

/// The confirmation of Redis, or its refusal.
pub(crate) type Confirmed = oneshot::Receiver<Result<(), Fault>>;

/// The changes to send to Redis.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) subscribe: Vec<Target>,
    pub(crate) unsubscribe: Vec<Target>,
}

impl Plan {
    pub(crate) fn is_empty(&self) -> bool {
        self.subscribe.is_empty() && self.unsubscribe.is_empty()
    }
}

/// All local subscriptions, by target.
#[derive(Debug, Default)]
pub(crate) struct Table {
    channels: FxHashMap<String, Entry>,
    patterns: FxHashMap<String, Entry>,
    shards: FxHashMap<String, Entry>,
    /// Targets that may have to be subscribed or unsubscribed.
    changed: HashSet<Target>,
    /// How many connections there were before this one.
    connection: u64,
    is_closed: bool,
}

impl Table {
    /// Adds a local subscription and returns its confirmation.
    pub(crate) fn attach(
        &mut self,
        target: &Target,
        id: Id,
        sink: Sink,
    ) -> Result<Confirmed, Fault> {
        if self.is_closed {
            return Err(Fault::closed());
        }
        let entry = self.entry_or_new(target);
        match sink {
            Sink::Topic(inlet) => entry.topics.push(Topic {
                id,
                inlet,
                stage: Stage::New,
            }),
            Sink::Remote(server) => entry.remotes.push((id, server)),
        }
        let (waiting, confirmed) = oneshot::channel();
        entry.unsent.push(waiting);
        self.changed.insert(target.clone());
        Ok(confirmed)
    }

    /// Removes a local subscription. It gets no more messages. `detached` is released at once while
    /// others remain, and otherwise when Redis has confirmed the end of the last one.
    pub(crate) fn detach(&mut self, target: &Target, id: Id, detached: Arc<Detached>) {
        let Some(entry) = self.entry(target) else {
            return;
        };
        entry.topics.retain(|topic| topic.id != id);
        if let Some(at) = entry.remotes.iter().position(|(remote, _)| *remote == id) {
            let (_, server) = entry.remotes.remove(at);
            entry.last_remote = Some(server);
        }
        if entry.is_wanted() {
            return;
        }
        if entry.server_state == ServerState::Unsubscribed {
            // Redis does not know it, as in an outage. Its end must not wait for a connection.
            self.remove(target);
            return;
        }
        entry.detached.push(detached);
        self.changed.insert(target.clone());
    }

    /// Returns what to send to Redis now, and takes it for sent.
    pub(crate) fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        for target in std::mem::take(&mut self.changed) {
            let Some(entry) = self.entry(&target) else {
                continue;
            };
            match (entry.server_state, entry.is_wanted()) {
                (ServerState::Unsubscribed, true) => plan.subscribe.push(target),
                // Sent again for new subscribers: Redis confirms once more.
                (ServerState::Subscribed, true) if !entry.unsent.is_empty() => {
                    plan.subscribe.push(target);
                }
                (ServerState::Subscribed, false) => plan.unsubscribe.push(target),
                (ServerState::Unsubscribed, false) => self.remove(&target),
                // Already sent: the answer marks the target again.
                (ServerState::Subscribing | ServerState::Unsubscribing, _)
                | (ServerState::Subscribed, true) => {}
            }
        }
        for target in &plan.subscribe {
            if let Some(entry) = self.entry(target) {
                entry.mark_sent();
            }
        }
        for target in &plan.unsubscribe {
            if let Some(entry) = self.entry(target) {
                entry.server_state = ServerState::Unsubscribing;
            }
        }
        plan
    }

    /// Notes that Redis has confirmed subscriptions.
    pub(crate) fn subscribed(&mut self, targets: &[Target]) {
        for target in targets {
            let Some(entry) = self.entry(target) else {
                continue;
            };
            entry.server_state = ServerState::Subscribed;
            for topic in &mut entry.topics {
                topic.resume();
                if topic.stage == Stage::Requested {
                    topic.stage = Stage::Live;
                }
            }
            notify_all(&mut entry.sent, &Ok(()));
            self.changed.insert(target.clone());
        }
    }

    /// Notes that Redis has confirmed the end of subscriptions.
    pub(crate) fn unsubscribed(&mut self, targets: &[Target]) {
        for target in targets {
            let Some(entry) = self.entry(target) else {
                continue;
            };
            entry.server_state = ServerState::Unsubscribed;
            entry.detached.clear();
            entry.last_remote = None;
            self.changed.insert(target.clone());
        }
    }

    /// Notes that Redis has refused a subscription. Every local subscription gets the error.
    pub(crate) fn refused(&mut self, target: &Target, fault: &Fault, error: &Error) {
        if let Some(entry) = self.entry(target) {
            entry.end(fault, error);
        }
        self.remove(target);
    }

    /// Returns the number of the current or next connection. Its messages are delivered with it.
    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    /// Notes that the connection is lost, and all subscriptions with it.
    pub(crate) fn disconnected(&mut self) {
        self.connection += 1;
        for (entries, target) in [
            (&mut self.channels, Target::Channel as fn(String) -> Target),
            (&mut self.patterns, Target::Pattern),
            (&mut self.shards, Target::Shard),
        ] {
            entries.retain(|_, entry| entry.is_wanted());
            for (name, entry) in entries {
                entry.mark_disconnected();
                self.changed.insert(target(name.clone()));
            }
        }
    }

    /// Ends all subscriptions, and refuses new ones.
    pub(crate) fn close(&mut self, error: &Error) {
        self.is_closed = true;
        let channels = self.channels.drain().chain(self.patterns.drain());
        for (_, mut entry) in channels.chain(self.shards.drain()) {
            entry.end(&Fault::closed(), error);
        }
        self.changed.clear();
    }

    /// Delivers a message to every local subscription of the target. An abandoned connection may
    /// still bring messages. They are dropped: the next connection brings them too, or the gap
    /// covers them.
    pub(crate) fn deliver(
        &mut self,
        connection: u64,
        target: TargetRef<'_>,
        topic: &str,
        message: Message,
    ) {
        if connection != self.connection {
            return;
        }
        let entry = match target {
            TargetRef::Channel(name) => self.channels.get_mut(name),
            TargetRef::Pattern(name) => self.patterns.get_mut(name),
        };
        let Some(entry) = entry else {
            return;
        };
        let published = Published::new(entry.shared_name(topic), message);
        for local in &mut entry.topics {
            // A message may come before the confirmation is processed. The gap comes before both.
            local.resume();
            if local.stage == Stage::Live {
                local.inlet.push(published.clone());
            }
        }
    }

    /// Returns the server of a channel for requests from this connection.
    pub(crate) fn server(&self, connection: u64, channel: &str) -> Option<Arc<Server>> {
        if connection != self.connection {
            return None;
        }
        let entry = self.channels.get(channel);
        let entry = entry.or_else(|| self.shards.get(channel))?;
        let newest = entry.remotes.last().map(|(_, server)| server);
        newest.or(entry.last_remote.as_ref()).cloned()
    }

    /// Tells whether this connection still has the subscription to a channel of a cluster.
    pub(crate) fn needs_shard(&self, connection: u64, channel: &str) -> bool {
        let entry = self.shards.get(channel);
        connection == self.connection
            && entry.is_some_and(|entry| entry.server_state != ServerState::Unsubscribing)
    }

    fn entries(&mut self, target: &Target) -> &mut FxHashMap<String, Entry> {
        match target {
            Target::Channel(_) => &mut self.channels,
            Target::Pattern(_) => &mut self.patterns,
            Target::Shard(_) => &mut self.shards,
        }
    }

    fn entry(&mut self, target: &Target) -> Option<&mut Entry> {
        self.entries(target).get_mut(target.name())
    }

    fn entry_or_new(&mut self, target: &Target) -> &mut Entry {
        let name = target.name().to_owned();
        self.entries(target).entry(name).or_default()
    }

    fn remove(&mut self, target: &Target) {
        self.entries(target).remove(target.name());
    }
}

/// A borrowed [`Target`], from a push message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TargetRef<'a> {
    Channel(&'a str),
    Pattern(&'a str),
}

#[cfg(test)]
mod tests;
