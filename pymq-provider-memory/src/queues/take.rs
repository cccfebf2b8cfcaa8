//! `take`: takes ready messages, and waits while there are none.

use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pymq_core::provider::{Delivery, GetOptions, Wait, lease_time};
use tokio::time::{Instant, Sleep, sleep_until};

use super::now::Now;
use super::state::State;
use super::{Queue, Queues, wake};

impl Queues {
    /// Takes the messages that are ready now.
    pub(crate) fn take(&self, name: &str, opts: &GetOptions) -> Vec<Delivery> {
        self.step(name, |state, now| state.take(opts.max, opts.lease, now))
            .unwrap_or_default()
    }

    /// Takes ready messages, and waits for as long as [`GetOptions::wait`] says while there are
    /// none.
    ///
    /// Returns `None` when `is_closed` is true. It is called under the lock of the queue, so that
    /// [`wake_all`](Self::wake_all) reaches each task that has not seen the close.
    ///
    /// Cancel safe: the messages are taken in the same poll that returns them.
    pub(crate) async fn wait(
        &self,
        name: &str,
        opts: &GetOptions,
        is_closed: impl Fn() -> bool,
    ) -> Option<Vec<Delivery>> {
        let deadline = match opts.wait {
            Wait::For(time) => Some(Now::default().plus(time)),
            Wait::Forever => None,
            _ => Some(Instant::now()),
        };
        let mut registration = None;
        // Boxed and made late, because most waits need no timer, and it is large.
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            loop {
                let looked = match &mut registration {
                    Some(registration) => Registration::take(registration, opts, cx, &is_closed),
                    None => self.take_or_register(name, opts, cx, &is_closed, &mut registration),
                };
                let next_event = match looked {
                    Looked::Taken(taken) => return Poll::Ready(Some(taken)),
                    Looked::Closed => return Poll::Ready(None),
                    Looked::Nothing(next_event) => next_event,
                };
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return Poll::Ready(Some(Vec::new()));
                }
                let Some(wake_at) = next_event.into_iter().chain(deadline).min() else {
                    return Poll::Pending;
                };
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(wake_at)));
                if timer.deadline() != wake_at {
                    timer.as_mut().reset(wake_at);
                }
                ready!(timer.as_mut().poll(cx));
            }
        })
        .await
    }

    /// Takes ready messages. Without any, registers the task as a waiter in the same step.
    fn take_or_register(
        &self,
        name: &str,
        opts: &GetOptions,
        cx: &Context<'_>,
        is_closed: impl Fn() -> bool,
        registration: &mut Option<Registration>,
    ) -> Looked {
        // The entry is held until the waiter is registered. From then on the queue is not idle.
        let entry = self.find_or_create(name);
        let now = Now::default();
        let mut inner = entry.lock();
        if is_closed() {
            return Looked::Closed;
        }
        inner.state.advance(&now);
        let taken = inner.state.take(opts.max, opts.lease, &now);
        if taken.is_empty() {
            let next_event = inner.state.next_event();
            let id = inner.waiters.register();
            let timer = inner.waiters.suspend(id, cx.waker(), next_event);
            *registration = Some(Registration {
                queue: Arc::clone(&entry),
                id: Some(id),
            });
            return Looked::Nothing(timer);
        }
        let waker = inner.next_to_wake();
        drop(inner);
        drop(entry);
        wake(waker);
        Looked::Taken(taken)
    }

    /// Wakes all waiting tasks, so that those of a closed handle end.
    pub(crate) fn wake_all(&self) {
        let mut wakers = Vec::new();
        for queue in &self.table {
            wakers.extend(queue.lock().waiters.wake_all());
        }
        // After the locks of the table are released.
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// What a waiting task finds.
enum Looked {
    Taken(Vec<Delivery>),
    /// Nothing. The task looks again at this time, also if it is not woken.
    Nothing(Option<Instant>),
    Closed,
}

impl State {
    pub(super) fn take(
        &mut self,
        max: NonZeroUsize,
        lease: Option<Duration>,
        now: &Now,
    ) -> Vec<Delivery> {
        let count = max.get().min(self.ready.len());
        if count == 0 {
            return Vec::new();
        }
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
    /// `None` after the entry was removed.
    id: Option<u64>,
}

impl Registration {
    /// Takes ready messages, and removes the entry in the same step. Without any messages, stores
    /// the waker.
    fn take(
        &mut self,
        opts: &GetOptions,
        cx: &Context<'_>,
        is_closed: impl Fn() -> bool,
    ) -> Looked {
        let now = Now::default();
        let mut inner = self.queue.lock();
        if is_closed() {
            return Looked::Closed;
        }
        inner.state.advance(&now);
        let taken = inner.state.take(opts.max, opts.lease, &now);
        if taken.is_empty() {
            let next_event = inner.state.next_event();
            let suspend = |id| inner.waiters.suspend(id, cx.waker(), next_event);
            return Looked::Nothing(self.id.and_then(suspend));
        }
        let waker = inner.remove_waiter(self.id.take());
        drop(inner);
        wake(waker);
        Looked::Taken(taken)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.id.is_some() {
            let waker = self.queue.lock().remove_waiter(self.id.take());
            wake(waker);
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
