//! The ids of messages that were put with `once`.

use std::collections::{BTreeMap, HashSet};

use pymq_core::MessageId;
use tokio::time::Instant;

use super::now::{Now, pop_due};
use crate::broker::unique;

/// The ids that a queue knows, each until its window ends.
#[derive(Debug, Default)]
pub(super) struct OnceIds {
    known: HashSet<MessageId>,
    /// By the end of the window, then in the order of the puts.
    by_end: BTreeMap<(Instant, u64), MessageId>,
}

impl OnceIds {
    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.known.contains(id)
    }

    pub(super) fn insert(&mut self, id: MessageId, end: Instant) {
        self.by_end.insert((end, unique()), id.clone());
        self.known.insert(id);
    }

    /// Removes the ids with a window that has ended.
    pub(super) fn remove_expired(&mut self, now: &Now) {
        while let Some(id) = pop_due(&mut self.by_end, now) {
            self.known.remove(&id);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
