//! Who in this process listens to what, and what Redis knows of it: a state machine without I/O. Each change marks its
//! target; [`Table::plan`] says what to tell Redis, and its answers come back as [`joined`](Table::joined),
//! [`left`](Table::left) and [`refused`](Table::refused).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pymq_core::provider::{Detached, Inlet};
use pymq_core::{Error, Message};
use tokio::sync::oneshot;

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

/// Who waits to be told.
type Waiting = oneshot::Sender<Result<(), Fault>>;

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

/// One target: one subscription in Redis, any number here.
#[derive(Debug, Default)]
struct Entry {
    wire: Wire,
    topics: Vec<Topic>,
    /// The newest one gets the requests, as Redis counts this process once.
    remotes: Vec<(Id, Arc<Server>)>,
    /// The last remote to go, until Redis sends no more requests: those on their way are answered, not lost.
    departed: Option<Arc<Server>>,
    /// Who came since Redis was last asked.
    waiting: Vec<Waiting>,
    /// Whom the answer of Redis will be for.
    asked: Vec<Waiting>,
    /// Released once Redis has let go.
    leaving: Vec<Detached>,
}

#[derive(Debug)]
struct Topic {
    id: Id,
    inlet: Inlet,
    stage: Stage,
}

/// How far a topic's subscription has come. What was published before it was asked for must not reach it, though it may
/// still be on its way to another one here: so each of them is confirmed by Redis for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    New,
    Asked,
    Live,
    /// Live, but for an outage.
    Interrupted,
}

/// What Redis knows of a target.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Wire {
    #[default]
    Off,
    Joining,
    On,
    Leaving,
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

impl Topic {
    /// It hears again, and first of the gap.
    fn resume(&mut self) {
        if self.stage == Stage::Interrupted {
            self.inlet.gap();
            self.stage = Stage::Live;
        }
    }
}

impl Entry {
    fn is_wanted(&self) -> bool {
        !self.topics.is_empty() || !self.remotes.is_empty()
    }

    /// Takes it for asked that Redis joins.
    fn ask(&mut self) {
        self.wire = Wire::Joining;
        self.asked.append(&mut self.waiting);
        for topic in &mut self.topics {
            if topic.stage == Stage::New {
                topic.stage = Stage::Asked;
            }
        }
    }

    /// The connection is gone: all has to be asked again.
    fn interrupt(&mut self) {
        self.wire = Wire::Off;
        self.waiting.append(&mut self.asked);
        for topic in &mut self.topics {
            topic.stage = match topic.stage {
                Stage::New | Stage::Asked => Stage::New,
                Stage::Live | Stage::Interrupted => Stage::Interrupted,
            };
        }
    }

    fn end(&mut self, fault: &Fault, error: &Error) {
        tell(&mut self.waiting, &Err(fault.clone()));
        tell(&mut self.asked, &Err(fault.clone()));
        for topic in self.topics.drain(..) {
            topic.inlet.end(error.clone());
        }
        for (_, server) in self.remotes.drain(..) {
            server.end(error.clone());
        }
    }
}

fn tell(waiting: &mut Vec<Waiting>, outcome: &Result<(), Fault>) {
    for waiting in waiting.drain(..) {
        // Who does not wait any more has detached.
        drop(waiting.send(outcome.clone()));
    }
}

#[cfg(test)]
mod tests {
    use pymq_core::ErrorKind;
    use pymq_core::provider::{Filter, Incoming, Subscription, subscription};

    use super::*;

    fn channel() -> Target {
        Target::Channel("c".to_owned())
    }

    fn topic() -> (Sink, Subscription) {
        let (inlet, subscription) = subscription(&Filter::Topic("c".to_owned()), drop);
        (Sink::Topic(inlet), subscription)
    }

    /// A subscription that hands out its `Detached` when dropped.
    fn leaver() -> (Sink, Subscription, oneshot::Receiver<Detached>) {
        let (handed, taken) = oneshot::channel();
        let (inlet, subscription) = subscription(&Filter::Topic("c".to_owned()), move |detached| {
            drop(handed.send(detached));
        });
        (Sink::Topic(inlet), subscription, taken)
    }

    fn join(table: &mut Table) {
        let plan = table.plan();
        assert_eq!((plan.join.len(), plan.leave.len()), (1, 0));
        table.joined(&[channel()]);
        assert!(table.plan().join.is_empty());
    }

    fn deliver(table: &mut Table, connection: u64, text: &'static str) {
        let target = TargetRef::Channel("c");
        table.deliver(connection, target, &"c".into(), &Message::json(text));
    }

    fn incoming(text: &'static str) -> Incoming {
        Incoming::Message {
            topic: "c".into(),
            message: Message::json(text),
        }
    }

    #[test]
    fn each_is_confirmed_for_itself() {
        let mut table = Table::default();
        let (first, _first) = topic();
        let (second, _second) = topic();
        let (third, _third) = topic();

        let mut first = table.attach(&channel(), 1, first).unwrap();
        assert_eq!(table.plan().join, [channel()]);
        let mut second = table.attach(&channel(), 2, second).unwrap();
        assert!(table.plan().is_empty());
        table.joined(&[channel()]);
        assert!(matches!(first.try_recv(), Ok(Ok(()))));
        assert!(second.try_recv().is_err());
        join(&mut table);
        assert!(matches!(second.try_recv(), Ok(Ok(()))));

        let mut third = table.attach(&channel(), 3, third).unwrap();
        join(&mut table);
        assert!(matches!(third.try_recv(), Ok(Ok(()))));
    }

    #[tokio::test]
    async fn what_was_published_before_reaches_only_who_was_there() {
        let mut table = Table::default();
        let (first, mut first_end) = topic();
        let (second, mut second_end) = topic();
        table.attach(&channel(), 1, first).unwrap();
        join(&mut table);

        table.attach(&channel(), 2, second).unwrap();
        deliver(&mut table, 0, "1");
        assert_eq!(table.plan().join, [channel()]);
        deliver(&mut table, 0, "2");
        table.joined(&[channel()]);
        deliver(&mut table, 0, "3");
        table.close(&Error::new(ErrorKind::Closed, "test"));

        for (end, expected) in [
            (&mut first_end, ["1", "2", "3"].as_slice()),
            (&mut second_end, &["3"]),
        ] {
            for text in expected {
                assert_eq!(end.recv().await.unwrap(), incoming(text));
            }
            assert!(end.recv().await.is_err());
        }
    }

    #[test]
    fn only_the_last_one_leaves() {
        let mut table = Table::default();
        let (first, first_end, mut first_gone) = leaver();
        let (second, second_end, mut second_gone) = leaver();
        table.attach(&channel(), 1, first).unwrap();
        join(&mut table);
        table.attach(&channel(), 2, second).unwrap();
        join(&mut table);

        drop((first_end, second_end));
        table.detach(&channel(), 1, first_gone.try_recv().unwrap());
        assert!(table.plan().leave.is_empty());
        table.detach(&channel(), 2, second_gone.try_recv().unwrap());

        assert_eq!(table.plan().leave, [channel()]);
        table.left(&[channel()]);
        assert!(table.plan().join.is_empty());
        assert!(table.channels.is_empty());
    }

    #[test]
    fn who_goes_in_an_outage_waits_for_nothing() {
        let mut table = Table::default();
        let (first, first_end, mut first_gone) = leaver();
        let (second, second_end, mut second_gone) = leaver();
        table.attach(&channel(), 1, first).unwrap();
        join(&mut table);

        drop(first_end);
        table.detach(&channel(), 1, first_gone.try_recv().unwrap());
        assert_eq!(table.plan().leave, [channel()]);
        table.lost();
        assert!(table.channels.is_empty(), "on its way when it began");
        table.attach(&channel(), 2, second).unwrap();
        drop(second_end);
        table.detach(&channel(), 2, second_gone.try_recv().unwrap());

        assert!(table.channels.is_empty(), "in the middle of it");
        assert!(table.plan().is_empty());
    }

    #[test]
    fn who_comes_while_the_last_one_leaves_waits_for_a_new_subscription() {
        let mut table = Table::default();
        let (first, first_end, mut first_gone) = leaver();
        let (second, _second) = topic();
        table.attach(&channel(), 1, first).unwrap();
        join(&mut table);
        drop(first_end);
        table.detach(&channel(), 1, first_gone.try_recv().unwrap());
        assert_eq!(table.plan().leave, [channel()]);

        let mut confirmed = table.attach(&channel(), 2, second).unwrap();
        assert!(table.plan().join.is_empty());
        table.left(&[channel()]);
        assert!(confirmed.try_recv().is_err());
        join(&mut table);

        assert!(matches!(confirmed.try_recv(), Ok(Ok(()))));
    }

    #[test]
    fn who_goes_before_the_confirmation_is_unsubscribed_after_it() {
        let mut table = Table::default();
        let (sink, end, mut gone) = leaver();
        table.attach(&channel(), 1, sink).unwrap();
        assert_eq!(table.plan().join, [channel()]);

        drop(end);
        table.detach(&channel(), 1, gone.try_recv().unwrap());
        assert!(table.plan().leave.is_empty());
        table.joined(&[channel()]);

        assert_eq!(table.plan().leave, [channel()]);
    }

    #[tokio::test]
    async fn an_outage_is_a_gap_for_those_who_were_live() {
        let mut table = Table::default();
        let (live, mut live_end) = topic();
        let (new, mut new_end) = topic();
        table.attach(&channel(), 1, live).unwrap();
        join(&mut table);

        table.lost();
        table.attach(&channel(), 2, new).unwrap();
        join(&mut table);
        table.close(&Error::new(ErrorKind::Closed, "test"));

        assert_eq!(
            live_end.recv().await.unwrap(),
            Incoming::Lagged { missed: None }
        );
        assert_eq!(new_end.recv().await.unwrap_err().kind(), ErrorKind::Closed);
    }

    #[tokio::test]
    async fn the_gap_comes_before_a_message_that_overtakes_the_confirmation() {
        let mut table = Table::default();
        let (sink, mut end) = topic();
        table.attach(&channel(), 1, sink).unwrap();
        join(&mut table);

        table.lost();
        assert_eq!(table.plan().join, [channel()]);
        deliver(&mut table, 1, "1");
        table.joined(&[channel()]);
        deliver(&mut table, 1, "2");
        table.close(&Error::new(ErrorKind::Closed, "test"));

        let gap = Incoming::Lagged { missed: None };
        for expected in [gap, incoming("1"), incoming("2")] {
            assert_eq!(end.recv().await.unwrap(), expected);
        }
        assert!(end.recv().await.is_err());
    }

    #[tokio::test]
    async fn a_connection_that_was_given_up_brings_nothing_more() {
        let mut table = Table::default();
        let (sink, mut end) = topic();
        table.attach(&channel(), 1, sink).unwrap();
        join(&mut table);

        table.lost();
        deliver(&mut table, 0, "late");
        join(&mut table);
        deliver(&mut table, 1, "1");
        deliver(&mut table, 0, "1");
        table.close(&Error::new(ErrorKind::Closed, "test"));

        let gap = Incoming::Lagged { missed: None };
        for expected in [gap, incoming("1")] {
            assert_eq!(end.recv().await.unwrap(), expected);
        }
        assert!(end.recv().await.is_err());
    }

    #[test]
    fn what_redis_refuses_ends_and_can_be_tried_again() {
        let mut table = Table::default();
        let (sink, _end) = topic();
        let (again, _again) = topic();
        let mut confirmed = table.attach(&channel(), 1, sink).unwrap();
        assert_eq!(table.plan().join, [channel()]);

        let fault = Fault::new(ErrorKind::Permission, "no");
        table.refused(
            &channel(),
            &fault,
            &Error::new(ErrorKind::Permission, "test"),
        );

        assert_eq!(
            confirmed.try_recv().unwrap().unwrap_err().kind,
            ErrorKind::Permission
        );
        table.attach(&channel(), 2, again).unwrap();
        assert_eq!(table.plan().join, [channel()]);
    }
}
