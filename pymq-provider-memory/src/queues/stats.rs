//! `stats`: counts the messages in each part.

use pymq_core::provider::QueueStats;

use super::Queues;
use super::state::State;

impl Queues {
    pub(crate) fn stats(&self, name: &str) -> QueueStats {
        self.step(name, |state, _| state.stats())
            .unwrap_or_default()
    }
}

impl State {
    pub(super) fn stats(&self) -> QueueStats {
        QueueStats::new(
            self.ready.len(),
            self.delayed.len(),
            self.leased.len(),
            self.dead.len(),
        )
    }
}
