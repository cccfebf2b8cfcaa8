//! Who in this process listens to what, and what Redis knows of it: a state machine without I/O. Each change marks its
//! target; [`Table::plan`] says what to tell Redis, and its answers come back as [`joined`](Table::joined),
//! [`left`](Table::left) and [`refused`](Table::refused).

mod entry;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pymq_core::provider::{Detached, Inlet};
use pymq_core::{Error, Message};
use tokio::sync::oneshot;

use self::entry::{Entry, Stage, Topic, Wire, tell};
use crate::connection::Fault;
use crate::rpc::Server;

/// What one wire subscription is to, by its whole Redis name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Target {
    Channel(String),
    Pattern(String),
}

/// What one local subscription hands its messages to.
#[derive(Clone, Debug)]
pub(crate) enum Sink {
    Topic(Inlet),
    Remote(Arc<Server>),
}

/// Tells apart the local subscriptions of one target.
pub(crate) type Id = u64;

/// What a `subscribe` waits for: Redis' confirmation, or its refusal.
pub(crate) type Confirmed = oneshot::Receiver<Result<(), Fault>>;

/// What Redis is to be told.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) join: Vec<Target>,
    pub(crate) leave: Vec<Target>,
}

impl Plan {
    pub(crate) fn is_empty(&self) -> bool {
        self.join.is_empty() && self.leave.is_empty()
    }
}

/// All local subscriptions, by target.
#[derive(Debug, Default)]
pub(crate) struct Table {
    channels: HashMap<String, Entry>,
    patterns: HashMap<String, Entry>,
    /// Targets that may need to be joined or left.
    changed: HashSet<Target>,
    /// How many connections there were before this one.
    connection: u64,
    is_closed: bool,
}

impl Table {
    /// Adds a local subscription, to be waited for.
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
        entry.waiting.push(waiting);
        self.changed.insert(target.clone());
        Ok(confirmed)
    }

    /// Removes a local subscription; nothing is delivered to it any more. `detached` is let go at once while others
    /// remain, and else when Redis has confirmed that it was the last.
    pub(crate) fn detach(&mut self, target: &Target, id: Id, detached: Detached) {
        let Some(entry) = self.entry(target) else {
            return;
        };
        entry.topics.retain(|topic| topic.id != id);
        if let Some(at) = entry.remotes.iter().position(|(remote, _)| *remote == id) {
            let (_, server) = entry.remotes.remove(at);
            entry.departed = Some(server);
        }
        if entry.is_wanted() {
            return;
        }
        if entry.wire == Wire::Off {
            // Redis knows nothing of it, as in an outage, whose end nobody should wait for.
            self.remove(target);
            return;
        }
        entry.leaving.push(detached);
        self.changed.insert(target.clone());
    }

    /// Says what has to be told to Redis now, and takes it for being told.
    pub(crate) fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        for target in std::mem::take(&mut self.changed) {
            let Some(entry) = self.entry(&target) else {
                continue;
            };
            match (entry.wire, entry.is_wanted()) {
                (Wire::Off, true) => plan.join.push(target),
                // Asked again for those who came since; Redis confirms once more.
                (Wire::On, true) if !entry.waiting.is_empty() => plan.join.push(target),
                (Wire::On, false) => plan.leave.push(target),
                (Wire::Off, false) => self.remove(&target),
                // On its way: the answer marks the target again.
                (Wire::Joining | Wire::Leaving, _) | (Wire::On, true) => {}
            }
        }
        for target in &plan.join {
            if let Some(entry) = self.entry(target) {
                entry.ask();
            }
        }
        for target in &plan.leave {
            if let Some(entry) = self.entry(target) {
                entry.wire = Wire::Leaving;
            }
        }
        plan
    }

    /// Redis has confirmed a subscription.
    pub(crate) fn joined(&mut self, targets: &[Target]) {
        for target in targets {
            let Some(entry) = self.entry(target) else {
                continue;
            };
            entry.wire = Wire::On;
            for topic in &mut entry.topics {
                topic.resume();
                if topic.stage == Stage::Asked {
                    topic.stage = Stage::Live;
                }
            }
            tell(&mut entry.asked, &Ok(()));
            self.changed.insert(target.clone());
        }
    }

    /// Redis has confirmed the end of a subscription.
    pub(crate) fn left(&mut self, targets: &[Target]) {
        for target in targets {
            let Some(entry) = self.entry(target) else {
                continue;
            };
            entry.wire = Wire::Off;
            entry.leaving.clear();
            entry.departed = None;
            self.changed.insert(target.clone());
        }
    }

    /// Redis will not have it: everyone who listens gets the error.
    pub(crate) fn refused(&mut self, target: &Target, fault: &Fault, error: &Error) {
        if let Some(entry) = self.entry(target) {
            entry.end(fault, error);
        }
        self.remove(target);
    }

    /// Returns what the messages of the next connection, or of the one there is, are to be delivered with.
    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    /// The connection is gone, and all subscriptions with it.
    pub(crate) fn lost(&mut self) {
        self.connection += 1;
        self.channels.retain(|_, entry| entry.is_wanted());
        self.patterns.retain(|_, entry| entry.is_wanted());
        for (name, entry) in &mut self.channels {
            entry.interrupt();
            self.changed.insert(Target::Channel(name.clone()));
        }
        for (name, entry) in &mut self.patterns {
            entry.interrupt();
            self.changed.insert(Target::Pattern(name.clone()));
        }
    }

    /// Ends everything, now and for later.
    pub(crate) fn close(&mut self, error: &Error) {
        self.is_closed = true;
        for (_, mut entry) in self.channels.drain().chain(self.patterns.drain()) {
            entry.end(&Fault::closed(), error);
        }
        self.changed.clear();
    }

    /// Hands a message to every local subscription of the target. A connection that was given up may still bring
    /// some, which the next one brings as well or the gap stands for: they are dropped.
    pub(crate) fn deliver(
        &mut self,
        connection: u64,
        target: TargetRef<'_>,
        topic: &Arc<str>,
        message: &Message,
    ) {
        if connection != self.connection {
            return;
        }
        let entry = match target {
            TargetRef::Channel(name) => self.channels.get_mut(name),
            TargetRef::Pattern(name) => self.patterns.get_mut(name),
        };
        for local in entry.into_iter().flat_map(|entry| &mut entry.topics) {
            // The first message may be faster than the confirmation is heard of, and the gap is before both.
            local.resume();
            if local.stage == Stage::Live {
                local.inlet.push(topic, message);
            }
        }
    }

    /// Returns who serves the requests of a channel that this connection brings.
    pub(crate) fn server(&self, connection: u64, channel: &str) -> Option<Arc<Server>> {
        if connection != self.connection {
            return None;
        }
        let entry = self.channels.get(channel)?;
        let newest = entry.remotes.last().map(|(_, server)| server);
        newest.or(entry.departed.as_ref()).cloned()
    }

    fn entry(&mut self, target: &Target) -> Option<&mut Entry> {
        match target {
            Target::Channel(name) => self.channels.get_mut(name),
            Target::Pattern(name) => self.patterns.get_mut(name),
        }
    }

    fn entry_or_new(&mut self, target: &Target) -> &mut Entry {
        match target {
            Target::Channel(name) => self.channels.entry(name.clone()).or_default(),
            Target::Pattern(name) => self.patterns.entry(name.clone()).or_default(),
        }
    }

    fn remove(&mut self, target: &Target) {
        drop(match target {
            Target::Channel(name) => self.channels.remove(name),
            Target::Pattern(name) => self.patterns.remove(name),
        });
    }
}

/// A [`Target`] as it stands in a push message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TargetRef<'a> {
    Channel(&'a str),
    Pattern(&'a str),
}

#[cfg(test)]
mod tests;
