//! One target of the table: what Redis knows of it, and who listens to it here.

use std::sync::Arc;

use pymq_core::Error;
use pymq_core::provider::{Detached, Inlet};
use tokio::sync::oneshot;

use super::Id;
use crate::connection::Fault;
use crate::rpc::Server;

/// Who waits to be told.
pub(super) type Waiting = oneshot::Sender<Result<(), Fault>>;

/// One target: one subscription in Redis, any number here.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) wire: Wire,
    pub(super) topics: Vec<Topic>,
    /// The newest one gets the requests, as Redis counts this process once.
    pub(super) remotes: Vec<(Id, Arc<Server>)>,
    /// The last remote to go, until Redis sends no more requests: those on their way are answered, not lost.
    pub(super) departed: Option<Arc<Server>>,
    /// Who came since Redis was last asked.
    pub(super) waiting: Vec<Waiting>,
    /// Whom the answer of Redis will be for.
    pub(super) asked: Vec<Waiting>,
    /// Released once Redis has let go.
    pub(super) leaving: Vec<Detached>,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: Id,
    pub(super) inlet: Inlet,
    pub(super) stage: Stage,
}

/// How far a topic's subscription has come. What was published before it was asked for must not reach it, though it may
/// still be on its way to another one here: so each of them is confirmed by Redis for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    New,
    Asked,
    Live,
    /// Live, but for an outage.
    Interrupted,
}

/// What Redis knows of a target.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Wire {
    #[default]
    Off,
    Joining,
    On,
    Leaving,
}

impl Topic {
    /// It hears again, and first of the gap.
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

    /// Takes it for asked that Redis joins.
    pub(super) fn ask(&mut self) {
        self.wire = Wire::Joining;
        self.asked.append(&mut self.waiting);
        for topic in &mut self.topics {
            if topic.stage == Stage::New {
                topic.stage = Stage::Asked;
            }
        }
    }

    /// The connection is gone: all has to be asked again.
    pub(super) fn interrupt(&mut self) {
        self.wire = Wire::Off;
        self.waiting.append(&mut self.asked);
        for topic in &mut self.topics {
            topic.stage = match topic.stage {
                Stage::New | Stage::Asked => Stage::New,
                Stage::Live | Stage::Interrupted => Stage::Interrupted,
            };
        }
    }

    pub(super) fn end(&mut self, fault: &Fault, error: &Error) {
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

pub(super) fn tell(waiting: &mut Vec<Waiting>, outcome: &Result<(), Fault>) {
    for waiting in waiting.drain(..) {
        // Who does not wait any more has detached.
        drop(waiting.send(outcome.clone()));
    }
}
