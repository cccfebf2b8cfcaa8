//! [`Outcome`]: how a wait ends.

use std::sync::Arc;

use bytes::Bytes;
use pymq_core::Error;
use tokio::time::Instant;

/// The result of a wait.
#[derive(Debug)]
pub(in crate::queues) enum Outcome {
    Message(HandedOver),
    /// There were no messages.
    Empty,
    /// There may be messages. Only a take tells.
    Unknown,
    /// Leases or delayed messages changed: a sweep may make messages ready.
    Changed,
    /// There is no connection for waiting now.
    Unavailable,
    /// The queue cannot be waited at.
    Failed(Error),
}

/// A message in a handoff.
#[derive(Debug)]
pub(in crate::queues) struct HandedOver {
    pub(in crate::queues) payload: Bytes,
    pub(in crate::queues) batch: Arc<str>,
    /// When its lease ends at the earliest. `None` if the handoff is not registered.
    pub(in crate::queues) ends: Option<Instant>,
    /// More messages were ready.
    pub(in crate::queues) has_more: bool,
}
