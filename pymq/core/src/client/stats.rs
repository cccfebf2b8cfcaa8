//! The counters of a bus, as numbers that a program can read.

use super::counters::Counters;
use crate::provider::Health;

/// The counters of a bus since its creation, from [`Bus::stats`](crate::Bus::stats). They only
/// grow.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// let before = bus.stats();
///
/// // .. some time later
/// let now = bus.stats();
///
/// println!("{} handlers failed", now.handler_failures - before.handler_failures);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct BusStats {
    /// Connections that were lost and opened again.
    pub reconnects: u64,
    /// How often a handler or a stream learned that an unknown number of events may be missing, as
    /// after a reconnect.
    pub gaps: u64,
    /// Events that were dropped because handlers and streams were too slow, counted when they see
    /// it.
    pub lagged: u64,
    /// Items that were taken and had been taken before.
    pub redelivered: u64,
    /// Items that this bus moved to the dead letters.
    pub dead_lettered: u64,
    /// Leases that ended before the handler of a worker did.
    pub leases_lost: u64,
    /// Replies that arrived when the caller no longer waited.
    pub late_replies: u64,
    /// Handlers of events and items that returned an error.
    pub handler_failures: u64,
    /// Handlers and remote functions that panicked.
    pub panics: u64,
    /// Events and items that could not be decoded as the type of the handler or stream.
    pub undecodable: u64,
    /// Requests that had expired before they could run.
    pub expired_requests: u64,
    /// Events of [`publish_nowait`](crate::Bus::publish_nowait) that were not published, or may not
    /// have been.
    pub unpublished: u64,
}

impl BusStats {
    pub(crate) fn new(health: &Health, counters: &Counters) -> Self {
        Self {
            reconnects: health.reconnects(),
            gaps: counters.gaps.get(),
            lagged: counters.missed.get(),
            redelivered: counters.redelivered.get(),
            dead_lettered: counters.dead_lettered.get(),
            leases_lost: counters.lease_lost.get(),
            late_replies: health.late_replies(),
            handler_failures: counters.failed.get(),
            panics: counters.panicked.get(),
            undecodable: counters.undecodable.get(),
            expired_requests: counters.expired.get(),
            unpublished: counters.unpublished.get(),
        }
    }
}
