//! A message on its way to a consumer, and how it is settled.

use std::time::Duration;

use bytes::Bytes;

use crate::message::Message;

/// A message taken from a queue.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Delivery {
    /// What was put.
    pub message: Message,
    /// How often it has been taken, including this time; starts at 1.
    pub attempt: u32,
    /// Identifies the lease in a settlement; present if the message is leased.
    pub receipt: Option<Receipt>,
}

impl Delivery {
    /// Creates a delivery.
    pub fn new(message: Message, attempt: u32, receipt: Option<Receipt>) -> Self {
        Self {
            message,
            attempt,
            receipt,
        }
    }
}

/// Identifies a lease: opaque bytes that the provider creates.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Receipt(Bytes);

impl Receipt {
    /// Wraps the bytes by which the provider finds the lease again.
    pub fn new(receipt: impl Into<Bytes>) -> Self {
        Self(receipt.into())
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How to settle a leased message.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Settle {
    /// The message is done: remove it.
    Ack,
    /// The attempt failed: give the message back to the queue.
    Nack {
        /// Zero returns the message to the front now. Otherwise it is hidden for this time and then
        /// joins the back.
        delay: Duration,
    },
    /// The attempt did not start: return the message to the front and do not count the attempt.
    Release,
    /// The attempt needs more time: move the end of the lease.
    Extend {
        /// The time from now to the new end, at least [`MIN_LEASE`](super::MIN_LEASE).
        lease: Duration,
    },
    /// The message has no attempts left or cannot be read: make it a dead letter.
    Bury {
        /// Why the message is buried.
        reason: String,
    },
}
