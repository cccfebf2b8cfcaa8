//! The counters of a bus: failures of handlers and queues that no caller gets as an error.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        // Relaxed, because no other memory depends on it.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one bus.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Events and items that could not be decoded.
    pub(crate) undecodable: Counter,
    /// Handlers of events and items that returned an error.
    pub(crate) failed: Counter,
    /// Handlers and remote functions that panicked.
    pub(crate) panicked: Counter,
    /// How often an unknown number of events was missing.
    pub(crate) gaps: Counter,
    /// Events that were dropped because a handler or a stream was too slow, if their number is
    /// known.
    pub(crate) missed: Counter,
    /// Requests that had expired before they could run.
    pub(crate) expired: Counter,
    /// Buffered events that may not be published.
    pub(crate) unpublished: Counter,
    /// Items that were taken and had been taken before.
    pub(crate) redelivered: Counter,
    /// Items moved to the dead letters.
    pub(crate) dead_lettered: Counter,
    /// Leases that ended before the handler of a worker did.
    pub(crate) lease_lost: Counter,
}

impl Counters {
    /// Counts events that are missing for a reader.
    pub(crate) fn lagged(&self, missed: Option<u64>) {
        match missed {
            Some(missed) => self.missed.add(missed),
            None => self.gaps.add(1),
        }
    }
}
