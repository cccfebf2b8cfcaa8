//! The time of one step on a queue.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Duration;

use pymq_core::provider::MAX_DURATION;
use tokio::time::Instant;

/// The time of one step, read when it is first asked for.
///
/// Most steps need no time, and reading the clock costs as much as the rest of the step.
#[derive(Debug, Default)]
pub(super) struct Now(OnceCell<Instant>);

impl Now {
    pub(super) fn get(&self) -> Instant {
        *self.0.get_or_init(Instant::now)
    }

    /// Returns the time `duration` later. Longer durations than [`MAX_DURATION`] are cut.
    pub(super) fn plus(&self, duration: Duration) -> Instant {
        self.get() + duration.min(MAX_DURATION)
    }
}

/// Removes and returns the first value that is due.
pub(super) fn pop_due<T>(by_time: &mut BTreeMap<(Instant, u64), T>, now: &Now) -> Option<T> {
    let entry = by_time
        .first_entry()
        .filter(|entry| entry.key().0 <= now.get())?;
    Some(entry.remove())
}
