//! The queues of a namespace.
//!
//! | file | contents |
//! |---|---|
//! | `put`, `take`, `settle`, `peek`, `redrive`, `clear`, `stats` | one operation each |
//! | `state` | the messages of one queue, a pure state machine |
//! | `leases`, `dead_letter`, `once` | parts of the state |
//! | `waiters` | the tasks that wait for a message |
//! | `now` | the time of one step |
//!
//! The file of an operation adds it to [`Queues`], which finds the queue, and to [`State`], which
//! does the work.
//!
//! A step on a queue holds the entry of the queue in the table, or belongs to a registered waiter.
//! Only an idle queue leaves the table, and a queue with a waiter is not idle. So no step ever runs
//! on a queue that has left the table.
//!
//! Lock order: the table, then the queue.

mod clear;
mod dead_letter;
#[cfg(test)]
mod fixture;
mod leases;
mod now;
mod once;
mod peek;
mod put;
mod redrive;
mod settle;
mod state;
mod stats;
mod take;
mod waiters;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use dashmap::mapref::one::Ref;
use pymq_core::{Error, ErrorKind};

use self::now::Now;
use self::state::State;
use self::waiters::Waiters;
use crate::table::Table;

/// The queues of a namespace, by name.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    table: Table<Queue>,
    /// How many more queues may be created before idle ones are removed.
    until_sweep: AtomicUsize,
}

/// One queue. A std mutex, because the critical sections are short and never cross an await.
#[derive(Debug, Default)]
struct Queue(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: State,
    waiters: Waiters,
}

impl Queues {
    pub(crate) fn contents(&self) -> Vec<String> {
        self.sweep();
        self.table
            .iter()
            .map(|entry| format!("queue `{}`", entry.key()))
            .collect()
    }

    /// Runs a step on a queue; `None` if there is no such queue, which means that it is empty.
    fn step<R>(&self, name: &str, step: impl FnOnce(&mut State, &Now) -> R) -> Option<R> {
        self.table.get(name).map(|queue| step_on(queue, step))
    }

    fn find_or_create(&self, name: &str) -> Ref<'_, Arc<str>, Arc<Queue>> {
        if let Some(queue) = self.table.get(name) {
            return queue;
        }
        self.sweep_if_many_are_new();
        self.table.entry(name.into()).or_default().downgrade()
    }

    /// Removes idle queues after as many creations as the table had queues at the last sweep.
    ///
    /// So a sweep costs a constant time for each created queue. A queue is not removed at once when
    /// it becomes empty: most queues are used again soon, and a creation costs as much as several
    /// steps.
    fn sweep_if_many_are_new(&self) {
        const MIN_CREATIONS: usize = 64;
        let take_one = |left: usize| left.checked_sub(1);
        if self
            .until_sweep
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one)
            .is_err()
        {
            self.sweep();
            self.until_sweep
                .store(self.table.len().max(MIN_CREATIONS), Ordering::Relaxed);
        }
    }

    fn sweep(&self) {
        self.table.retain(|_, queue| !queue.is_idle());
    }
}

impl Queue {
    /// Advances the state, runs the step, and returns the task to wake.
    fn step<R>(&self, step: impl FnOnce(&mut State, &Now) -> R) -> (R, Option<Waker>) {
        let now = Now::default();
        let mut inner = self.lock();
        inner.state.advance(&now);
        let result = step(&mut inner.state, &now);
        (result, inner.next_to_wake())
    }

    fn is_idle(&self) -> bool {
        let mut inner = self.lock();
        inner.state.advance(&Now::default());
        inner.state.is_empty() && inner.waiters.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn next_to_wake(&mut self) -> Option<Waker> {
        self.waiters
            .next_to_wake(self.state.ready.len(), self.state.next_event())
    }

    /// Removes a waiter, and returns the task to wake.
    fn remove_waiter(&mut self, id: Option<u64>) -> Option<Waker> {
        self.waiters.remove(id?);
        self.next_to_wake()
    }
}

/// Runs a step on a queue of the table, then wakes a task after both locks are released.
fn step_on<R>(queue: Ref<'_, Arc<str>, Arc<Queue>>, step: impl FnOnce(&mut State, &Now) -> R) -> R {
    let (result, waker) = queue.step(step);
    drop(queue);
    wake(waker);
    result
}

/// Wakes a task. To be called without a lock, because a waker is code of the executor.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn error(kind: ErrorKind, operation: &str, name: &str) -> Error {
    Error::new(kind, format!("memory: {operation} `{name}`"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pymq_core::Message;
    use pymq_core::provider::{GetOptions, PutOptions};
    use tokio::time::sleep;

    use super::fixture::{forever, put_one, start_taker};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_idle_queue_leaves_nothing_and_a_waiting_taker_keeps_it() {
        let queues = Arc::<Queues>::default();
        let taker = start_taker(&queues, forever()).await;
        assert_eq!(queues.contents(), ["queue `q`"]);

        put_one(&queues, Duration::ZERO);
        taker.await.unwrap();

        assert!(queues.contents().is_empty());
        for n in 0..10_000 {
            queues
                .put(
                    &format!("q{n}"),
                    vec![Message::json("1")],
                    PutOptions::default(),
                )
                .unwrap();
            queues.take(&format!("q{n}"), &GetOptions::default());
        }
        assert!(queues.table.len() <= 129);
    }

    #[tokio::test(start_paused = true)]
    async fn the_ids_of_an_unused_queue_are_removed_after_their_window() {
        let queues = Queues::default();
        queues
            .put(
                "q",
                vec![Message::json("1")],
                PutOptions::default().once("id".into()),
            )
            .unwrap();
        queues.take("q", &GetOptions::default());
        assert_eq!(queues.contents(), ["queue `q`"]);

        sleep(Duration::from_secs(120)).await;

        assert!(queues.contents().is_empty());
    }
}
