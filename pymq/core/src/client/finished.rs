//! How many items of a queue this bus has finished, so that a join checks again at the right time.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The awaited count while nothing waits for one.
const NEVER: u64 = u64::MAX;

/// Counts the items that this bus has finished in one queue: taken without a lease, acked, buried
/// or removed.
///
/// Both counts are in one total order (`SeqCst`): either a waiter sees the new count, or the one
/// who counts sees what is awaited.
#[derive(Debug)]
pub(super) struct Finished {
    count: AtomicU64,
    /// The lowest count that is awaited. So only the item that reaches it wakes anything.
    awaited: AtomicU64,
}

impl Default for Finished {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            awaited: AtomicU64::new(NEVER),
        }
    }
}

impl Finished {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Counts finished items. Wakes the waiters if the count that one of them awaits is reached.
    pub(super) fn add(&self, items: u64, waiters: &Notify) {
        let count = self.count.fetch_add(items, Ordering::SeqCst) + items;
        if count >= self.awaited.load(Ordering::SeqCst) {
            // The waiters with a higher count set it again.
            self.awaited.store(NEVER, Ordering::SeqCst);
            waiters.notify_waiters();
        }
    }

    /// Resolves when the count is reached. `waiters` are those that [`add`](Self::add) wakes.
    pub(super) async fn reach(&self, count: u64, waiters: &Notify) {
        while self.count() < count {
            // Before the count is awaited, so that no wake-up is missed.
            let woken = waiters.notified();
            self.awaited.fetch_min(count, Ordering::SeqCst);
            if self.count() >= count {
                return;
            }
            woken.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use super::*;

    fn is_ready(future: Pin<&mut impl Future>) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        future.poll(&mut cx).is_ready()
    }

    #[tokio::test]
    async fn each_waiter_is_woken_when_its_count_is_reached() {
        let (finished, notify) = (Finished::default(), Notify::new());
        let mut five = pin!(finished.reach(5, &notify));
        let mut ten = pin!(finished.reach(10, &notify));
        assert!(!is_ready(five.as_mut()) && !is_ready(ten.as_mut()));

        finished.add(4, &notify);
        assert!(!is_ready(five.as_mut()) && !is_ready(ten.as_mut()));
        finished.add(3, &notify);
        assert!(is_ready(five.as_mut()) && !is_ready(ten.as_mut()));
        finished.add(3, &notify);
        assert!(is_ready(ten.as_mut()));
        assert_eq!(finished.awaited.load(Ordering::SeqCst), NEVER);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_up_is_lost_between_threads() {
        for _ in 0..2_000 {
            let shared = Arc::new((Finished::default(), Notify::new()));
            let adding = tokio::spawn({
                let shared = Arc::clone(&shared);
                async move { (0..3).for_each(|_| shared.0.add(1, &shared.1)) }
            });

            let (finished, notify) = &*shared;
            tokio::join!(finished.reach(2, notify), finished.reach(3, notify));

            adding.await.unwrap();
        }
    }
}
