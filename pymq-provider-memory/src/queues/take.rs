//! `take`: takes ready messages, and waits while there are none.

use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker, ready};
use std::time::Duration;

use pymq_core::provider::{Delivery, GetOptions, Wait, lease_time};
use tokio::time::{Instant, sleep_until};

use super::now::Now;
use super::state::State;
use super::{Queue, Queues};

impl Queues {
    /// Takes the messages that are ready now.
    pub(crate) fn take(&self, name: &str, opts: &GetOptions) -> Vec<Delivery> {
        self.step(name, |state, now| state.take(opts.max, opts.lease, now))
            .unwrap_or_default()
    }

    /// Takes ready messages, and waits for as long as [`GetOptions::wait`] says while there are
    /// none.
    ///
    /// Cancel safe: the messages are taken in the same poll that returns them.
    pub(crate) async fn wait(&self, name: &str, opts: &GetOptions) -> Vec<Delivery> {
        let start = Now::default();
        let deadline = match opts.wait {
            Wait::For(time) => Some(start.plus(time)),
            Wait::Forever => None,
            _ => Some(start.get()),
        };
        let registration = self.register_waiter(name);
        let mut timer = pin!(sleep_until(start.get()));
        poll_fn(|cx| {
            loop {
                let next_event = match registration.take(opts, cx.waker()) {
                    Ok(taken) => return Poll::Ready(taken),
                    Err(next_event) => next_event,
                };
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return Poll::Ready(Vec::new());
                }
                let Some(wake_at) = next_event.into_iter().chain(deadline).min() else {
                    return Poll::Pending;
                };
                timer.as_mut().reset(wake_at);
                ready!(timer.as_mut().poll(cx));
            }
        })
        .await
    }

    fn register_waiter(&self, name: &str) -> Registration {
        let entry = self.find_or_create(name);
        // The entry is held until the waiter is registered. From then on the queue is not idle.
        let id = entry.lock().waiters.register();
        Registration {
            queue: Arc::clone(&entry),
            id,
        }
    }
}

impl State {
    pub(super) fn take(
        &mut self,
        max: NonZeroUsize,
        lease: Option<Duration>,
        now: &Now,
    ) -> Vec<Delivery> {
        let count = max.get().min(self.ready.len());
        let taken = self.ready.drain(..count).map(|mut item| {
            item.attempt = item.attempt.saturating_add(1);
            let Some(lease) = lease else {
                return Delivery::new(item.message, item.attempt, None);
            };
            let (message, attempt) = (item.message.clone(), item.attempt);
            let receipt = self.leased.start(item, now.plus(lease_time(lease)));
            Delivery::new(message, attempt, Some(receipt))
        });
        taken.collect()
    }
}

/// A task's entry among the waiters of a queue.
///
/// Dropping it removes the entry. If the task was woken for a message, the next waiter is woken.
struct Registration {
    queue: Arc<Queue>,
    id: u64,
}

impl Registration {
    /// Takes ready messages. Without any, stores the waker and returns when the task has to look
    /// again without being woken.
    fn take(&self, opts: &GetOptions, waker: &Waker) -> Result<Vec<Delivery>, Option<Instant>> {
        let now = Now::default();
        let mut inner = self.queue.lock();
        inner.state.advance(&now);
        let taken = inner.state.take(opts.max, opts.lease, &now);
        if !taken.is_empty() {
            // The other waiters are woken when this registration is dropped.
            return Ok(taken);
        }
        let next_event = inner.state.next_event();
        Err(inner.waiters.suspend(self.id, waker, next_event))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        inner.waiters.remove(self.id);
        let waker = inner.next_to_wake();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use pymq_core::Message;
    use pymq_core::provider::PutOptions;

    use super::super::fixture::{forever, put_one, start_taker};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_batch_serves_every_waiting_taker() {
        let queues = Arc::<Queues>::default();
        let takers = [
            start_taker(&queues, forever()).await,
            start_taker(&queues, forever()).await,
        ];

        queues
            .put(
                "q",
                vec![Message::json("1"), Message::json("2")],
                PutOptions::default(),
            )
            .unwrap();

        for taker in takers {
            assert_eq!(taker.await.unwrap(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_taker_that_is_dropped_after_its_wake_up_leaves_the_message_to_the_next() {
        let queues = Arc::<Queues>::default();
        let first = start_taker(&queues, forever()).await;
        let second = start_taker(&queues, forever()).await;

        // Wakes the first taker, which never runs again.
        put_one(&queues, Duration::ZERO);
        first.abort();

        assert_eq!(second.await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn takers_wake_at_the_moment_each_message_is_due() {
        let queues = Arc::<Queues>::default();
        let start = Instant::now();
        let takers = [
            start_taker(&queues, forever()).await,
            start_taker(&queues, forever()).await,
        ];

        // The later message first, so that the timer has to be set again.
        put_one(&queues, Duration::from_secs(7_200));
        tokio::task::yield_now().await;
        put_one(&queues, Duration::from_secs(3_600));

        let [first, second] = takers;
        first.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(3_600));
        second.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(7_200));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_taker_sets_its_timer_when_the_first_gives_up() {
        let queues = Arc::<Queues>::default();
        let start = Instant::now();
        let brief = start_taker(
            &queues,
            GetOptions::default().wait(Wait::For(Duration::from_secs(1))),
        )
        .await;
        let patient = start_taker(&queues, forever().lease(Duration::from_secs(5))).await;
        let other = start_taker(&queues, forever()).await;

        put_one(&queues, Duration::from_secs(2));

        assert_eq!(brief.await.unwrap(), 0);
        assert_eq!(patient.await.unwrap(), 1);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        assert_eq!(other.await.unwrap(), 1);
        assert_eq!(start.elapsed(), Duration::from_secs(7));
    }
}
