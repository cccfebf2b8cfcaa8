//! [`Slots`]: how many calls of a function may run at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the free slots, as a semaphore does. Only one task may wait for a slot. To give a slot
/// back takes no lock while no task waits.
pub(super) struct Slots {
    free: AtomicUsize,
    /// Whether [`take`](Self::take) waits, or was dropped while it waited.
    is_awaited: AtomicBool,
    freed: Notify,
}

impl Slots {
    pub(super) fn new(free: usize) -> Self {
        Self {
            free: AtomicUsize::new(free),
            is_awaited: AtomicBool::new(false),
            freed: Notify::new(),
        }
    }

    /// Takes a slot if one is free.
    pub(super) fn try_take(&self) -> bool {
        self.free
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| {
                free.checked_sub(1)
            })
            .is_ok()
    }

    /// Takes a slot, and waits for it if none is free. Only one task may wait.
    ///
    /// Cancel safe. A slot is taken only when it returns.
    pub(super) async fn take(&self) {
        while !self.try_take() {
            // Sequentially consistent, as `give` is: either this sees its slot, or it sees this.
            self.is_awaited.store(true, Ordering::SeqCst);
            if self.try_take() {
                break;
            }
            self.freed.notified().await;
        }
        self.is_awaited.store(false, Ordering::Relaxed);
    }

    /// Gives a slot back.
    pub(super) fn give(&self) {
        self.free.fetch_add(1, Ordering::SeqCst);
        if self.is_awaited.load(Ordering::SeqCst) {
            // Remembered if the task does not wait yet.
            self.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_slot_that_was_not_taken_in_time_is_free() {
        let slots = Slots::new(1);
        assert!(slots.try_take() && !slots.try_take());
        assert!(timeout(Duration::ZERO, slots.take()).await.is_err());

        slots.give();

        assert!(slots.try_take());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_task_that_waits_misses_no_slot() {
        const TIMES: usize = 100_000;
        let slots = Arc::new(Slots::new(1));
        let others = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move {
                for _ in 0..TIMES {
                    if slots.try_take() {
                        slots.give();
                    }
                    tokio::task::consume_budget().await;
                }
            }
        });

        for _ in 0..TIMES {
            slots.take().await;
            slots.give();
        }

        others.await.unwrap();
        assert_eq!(slots.free.load(Ordering::SeqCst), 1);
    }
}
