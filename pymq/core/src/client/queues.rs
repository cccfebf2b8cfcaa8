//! What one bus knows of its queues by itself: which it has closed, and when it takes something, so
//! that its own waiting puts need not find out by asking.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::name;

/// The local state of every queue of a bus that has a handle, or was closed.
#[derive(Debug, Default)]
pub(crate) struct LocalQueues {
    /// A std mutex: the critical sections are a lookup, never an await.
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Weak, so that a program which names a queue per client does not grow for ever.
    known: HashMap<Arc<str>, Weak<LocalQueue>>,
    /// Strong, so that a closed queue stays closed for handles made later.
    closed: Vec<Arc<LocalQueue>>,
    /// The size at which the dead entries of `known` are swept out.
    sweep_at: usize,
}

impl LocalQueues {
    /// Returns the one state of the queue `name`.
    pub(crate) fn queue(&self, name: &str) -> Arc<LocalQueue> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = table.known.get(name).and_then(Weak::upgrade) {
            return queue;
        }
        table.sweep();
        let queue = Arc::new(LocalQueue::new(name.into()));
        table
            .known
            .insert(Arc::clone(&queue.name), Arc::downgrade(&queue));
        queue
    }

    /// Closes a queue for all handles of this bus, those made later included.
    pub(crate) fn close(&self, queue: &Arc<LocalQueue>) {
        if queue.is_closed() {
            return;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.closed.push(Arc::clone(queue));
        drop(table);
        queue.closed.cancel();
    }
}

impl Table {
    /// Forgets the queues without handles, each time the table has doubled: constant time per name.
    fn sweep(&mut self) {
        if self.known.len() < self.sweep_at {
            return;
        }
        self.known.retain(|_, queue| queue.strong_count() > 0);
        self.sweep_at = (2 * self.known.len()).max(64);
    }
}

/// The local state of one queue.
#[derive(Debug)]
pub(crate) struct LocalQueue {
    name: Arc<str>,
    closed: CancellationToken,
    taken: Notify,
}

impl LocalQueue {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            closed: CancellationToken::new(),
            taken: Notify::new(),
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the name, which may be used only if it is valid.
    pub(crate) fn checked_name(&self) -> Result<&str> {
        name::check(&self.name).map(|()| &*self.name)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Resolves once the queue is closed.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Tells waiting puts that so many places became free, one put for each.
    pub(crate) fn freed(&self, places: usize) {
        for _ in 0..places {
            self.taken.notify_one();
        }
    }

    /// Tells all waiting puts that there is space again.
    pub(crate) fn emptied(&self) {
        self.taken.notify_waiters();
    }

    /// Resolves when a place becomes free; dropped unused, the news goes to the next waiting put.
    pub(crate) fn space(&self) -> Notified<'_> {
        self.taken.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_one_name_share_their_state() {
        let queues = LocalQueues::default();
        let (jobs, again, mail) = (
            queues.queue("jobs"),
            queues.queue("jobs"),
            queues.queue("mail"),
        );

        queues.close(&jobs);

        assert!(again.is_closed());
        assert!(!mail.is_closed());
    }

    #[test]
    fn a_closed_queue_stays_closed_without_handles() {
        let queues = LocalQueues::default();
        let jobs = queues.queue("jobs");
        queues.close(&jobs);
        queues.close(&jobs);

        drop(jobs);

        assert!(queues.queue("jobs").is_closed());
    }

    #[test]
    fn names_without_handles_are_forgotten() {
        let queues = LocalQueues::default();
        let kept = queues.queue("kept");

        for n in 0..10_000 {
            drop(queues.queue(&n.to_string()));
        }

        assert!(queues.table.lock().unwrap().known.len() <= 64);
        assert!(Arc::ptr_eq(&kept, &queues.queue("kept")));
    }
}
