//! The parts of a queue, the messages in them, and their counts.

use crate::message::{Message, MessageId};

/// A part of a queue that can be peeked at and cleared.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// Messages that can be taken now.
    Ready,
    /// Messages that are not due yet.
    Delayed,
    /// Dead letters.
    Dead,
}

/// A message in a queue.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stored {
    /// What was put.
    pub message: Message,
    /// How often it has been taken.
    pub attempt: u32,
    /// The id of a dead letter, for [`Redrive::Ids`]; `None` in the other parts.
    pub id: Option<MessageId>,
    /// Why a dead letter was buried; `None` in the other parts.
    pub reason: Option<String>,
}

impl Stored {
    /// Creates a ready or delayed message.
    pub fn new(message: Message, attempt: u32) -> Self {
        Self {
            message,
            attempt,
            id: None,
            reason: None,
        }
    }

    /// Creates a dead letter.
    pub fn dead(message: Message, attempt: u32, id: MessageId, reason: impl Into<String>) -> Self {
        Self {
            message,
            attempt,
            id: Some(id),
            reason: Some(reason.into()),
        }
    }
}

/// Which dead letters are redriven.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Redrive {
    /// All dead letters, oldest first.
    All,
    /// The dead letters with these ids. Unknown ids are ignored.
    Ids(Vec<MessageId>),
}

/// How many messages a queue holds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Messages that can be taken now.
    pub ready: usize,
    /// Messages that are not due yet.
    pub delayed: usize,
    /// Messages with a lease that has not ended.
    pub leased: usize,
    /// Dead letters.
    pub dead: usize,
}

impl QueueStats {
    /// Creates counts of ready, delayed, leased and dead messages.
    pub fn new(ready: usize, delayed: usize, leased: usize, dead: usize) -> Self {
        Self {
            ready,
            delayed,
            leased,
            dead,
        }
    }

    /// Returns the number of ready, delayed and leased messages.
    pub fn unfinished(&self) -> usize {
        self.ready + self.delayed + self.leased
    }
}
