//! What a bus knows about its queues without its provider: which are closed, when it has taken
//! messages, so that its own waiting puts need not ask for space, and how many it has finished.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::connected::ConnectedQueue;
use super::finished::Finished;
use super::session::Session;
use crate::error::Result;
use crate::name;

/// The local state of every queue of a bus that has a handle or was closed.
#[derive(Debug, Default)]
pub(crate) struct LocalQueues {
    /// A std mutex: the critical sections are a lookup, never an await.
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Weak, so that the table does not grow without end if a program uses one queue for each
    /// client.
    known: HashMap<Arc<str>, Weak<LocalQueue>>,
    /// Strong, so that a closed queue stays closed for handles created later.
    closed: Vec<Arc<LocalQueue>>,
    /// The size of `known` at which the dead entries are removed next.
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

    /// Closes a queue for all handles of this bus, including those created later.
    pub(crate) fn close(&self, queue: &Arc<LocalQueue>) {
        if queue.is_closed() {
            return;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.closed.push(Arc::clone(queue));
        drop(table);
        queue.close();
    }
}

impl Table {
    /// Removes the queues without handles, each time the table has doubled. So the time for each
    /// name is constant.
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
    is_valid: bool,
    is_closed: AtomicBool,
    finished: Finished,
    /// Wakes what waits for the close of the queue or for a number of finished items.
    changed: Notify,
    taken: Notify,
    /// Weak, because a connected queue holds its local state.
    connected: Mutex<Weak<ConnectedQueue>>,
}

impl LocalQueue {
    fn new(name: Arc<str>) -> Self {
        Self {
            is_valid: name::check(&name).is_ok(),
            name,
            is_closed: AtomicBool::new(false),
            finished: Finished::default(),
            changed: Notify::new(),
            taken: Notify::new(),
            connected: Mutex::default(),
        }
    }

    /// Returns the one connected queue of this name on a session.
    pub(crate) fn connected(self: &Arc<Self>, session: &Session) -> Arc<ConnectedQueue> {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A connect that failed may have left one of another session.
        if let Some(queue) = connected.upgrade().filter(|queue| queue.is_on(session)) {
            return queue;
        }
        let queue = Arc::new(ConnectedQueue::new(session, self));
        *connected = Arc::downgrade(&queue);
        drop(connected);
        if self.is_closed() {
            queue.ended().cancel();
        }
        queue
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the name if it is valid.
    pub(crate) fn checked_name(&self) -> Result<&str> {
        if !self.is_valid {
            name::check(&self.name)?;
        }
        Ok(&self.name)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.changed.notify_waiters();
        let connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade();
        if let Some(connected) = connected {
            connected.ended().cancel();
        }
    }

    /// Resolves when the queue is closed.
    pub(crate) async fn closed(&self) {
        loop {
            // Before the check, so that no close is missed.
            let changed = self.changed.notified();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Returns how many items this bus has finished in this queue.
    pub(crate) fn finished(&self) -> u64 {
        self.finished.count()
    }

    /// Counts items that this bus has finished.
    pub(crate) fn finish(&self, items: usize) {
        self.finished.add(items as u64, &self.changed);
    }

    /// Resolves when this bus has finished so many items in this queue.
    pub(crate) async fn has_finished(&self, items: u64) {
        self.finished.reach(items, &self.changed).await;
    }

    /// Wakes one waiting put for each place that has become free.
    pub(crate) fn freed(&self, places: usize) {
        for _ in 0..places {
            self.taken.notify_one();
        }
    }

    /// Wakes all waiting puts, because there is space again.
    pub(crate) fn emptied(&self) {
        self.taken.notify_waiters();
    }

    /// Resolves when a place becomes free. If it is dropped then, the next waiting put is woken.
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
