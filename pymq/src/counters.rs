//! What a bus counts about its handlers, as their failures reach nobody else.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        // Relaxed: nothing else is read by it.
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// The counters of one bus.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Events that were not what the handler takes.
    pub(crate) undecodable: Counter,
    /// Handlers that returned an error.
    pub(crate) failed: Counter,
    /// Handlers and remote functions that panicked.
    pub(crate) panicked: Counter,
    /// Events a handler was too slow for, as far as they could be counted.
    pub(crate) missed: Counter,
    /// Requests that had expired before they could run.
    pub(crate) expired: Counter,
}
