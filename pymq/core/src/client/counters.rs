//! What a bus counts about its handlers and queues: what no caller is told.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        // Relaxed: nothing else is read by it.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one bus.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Events and items that were not what the handler takes.
    pub(crate) undecodable: Counter,
    /// Handlers of events and items that returned an error.
    pub(crate) failed: Counter,
    /// Handlers and remote functions that panicked.
    pub(crate) panicked: Counter,
    /// Times an unknown number of events was missing.
    pub(crate) gaps: Counter,
    /// Events a handler or stream was too slow for, as far as they could be counted.
    pub(crate) missed: Counter,
    /// Requests that had expired before they could run.
    pub(crate) expired: Counter,
    /// Items taken that had been taken before.
    pub(crate) redelivered: Counter,
    /// Items moved to the dead letters.
    pub(crate) dead_lettered: Counter,
    /// Leases that were over before the handler of a worker was.
    pub(crate) lease_lost: Counter,
}

impl Counters {
    /// Counts that a reader is told of missing events.
    pub(crate) fn lagged(&self, missed: Option<u64>) {
        match missed {
            Some(missed) => self.missed.add(missed),
            None => self.gaps.add(1),
        }
    }
}
