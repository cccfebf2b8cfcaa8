//! Queues: each a pure state machine behind one short lock, and the takers that wait for it.
//!
//! Every step on a queue runs under its entry in the table or on behalf of a seated taker; an entry is removed only
//! while the queue is idle, and one with a taker is not. So no step ever lands on a queue that is not in the table.
//! Lock order: the table, then the queue.

mod state;
mod waiters;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker, ready};

use dashmap::DashMap;
use dashmap::mapref::one::Ref;
use pymq_core::provider::{
    Delivery, GetOptions, Part, Put, PutOptions, QueueStats, Receipt, Redrive, Settle, Stored, Wait,
};
use pymq_core::{Error, ErrorKind, Message, Result};
use tokio::time::{Instant, sleep_until};

use self::state::{Now, State};
use self::waiters::Waiters;

/// The queues of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    table: DashMap<Arc<str>, Arc<Queue>>,
    /// How many more queues may be created before the idle ones are looked for.
    until_sweep: AtomicUsize,
}

/// A std mutex: the critical sections are a few moves, and never an await.
#[derive(Debug, Default)]
struct Queue(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: State,
    waiters: Waiters,
}

impl Queues {
    pub(crate) fn put(&self, name: &str, messages: Vec<Message>, opts: PutOptions) -> Result<Put> {
        if messages.is_empty() {
            return Ok(Put::New);
        }
        let put = |state: &mut State, now: &Now| state.put(messages, opts, now);
        step_on(self.find_or_create(name), put).map_err(|kind| error(kind, "put to", name))
    }

    /// Takes what is there now.
    pub(crate) fn take(&self, name: &str, opts: &GetOptions) -> Vec<Delivery> {
        self.step(name, |state, now| state.take(opts.max, opts.lease, now))
            .unwrap_or_default()
    }

    /// Waits as told for something to take.
    ///
    /// Cancel safe: a taker takes in the poll that returns what it took.
    pub(crate) async fn wait(&self, name: &str, opts: &GetOptions) -> Vec<Delivery> {
        let start = Now::default();
        let deadline = match opts.wait {
            Wait::For(time) => Some(start.plus(time)),
            Wait::Forever => None,
            _ => Some(start.get()),
        };
        let seat = self.sit(name);
        let mut alarm = pin!(sleep_until(start.get()));
        poll_fn(|cx| {
            loop {
                let next_event = match seat.take(opts, cx.waker()) {
                    Ok(taken) => return Poll::Ready(taken),
                    Err(next_event) => next_event,
                };
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return Poll::Ready(Vec::new());
                }
                let Some(wake_at) = next_event.into_iter().chain(deadline).min() else {
                    return Poll::Pending;
                };
                alarm.as_mut().reset(wake_at);
                ready!(alarm.as_mut().poll(cx));
            }
        })
        .await
    }

    pub(crate) fn settle(
        &self,
        name: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Vec<Result<()>> {
        let count = settlements.len();
        let settled = self.step(name, |state, now| state.settle(settlements, now));
        let settled = settled.unwrap_or_else(|| vec![Err(ErrorKind::LeaseLost); count]);
        settled
            .into_iter()
            .map(|result| result.map_err(|kind| error(kind, "settle on", name)))
            .collect()
    }

    pub(crate) fn peek(&self, name: &str, part: Part, max: usize) -> Vec<Stored> {
        self.step(name, |state, _| state.peek(part, max))
            .unwrap_or_default()
    }

    pub(crate) fn redrive(&self, name: &str, which: Redrive) -> usize {
        self.step(name, |state, _| state.redrive(which))
            .unwrap_or_default()
    }

    pub(crate) fn clear(&self, name: &str, part: Part) -> usize {
        self.step(name, |state, _| state.clear(part))
            .unwrap_or_default()
    }

    pub(crate) fn stats(&self, name: &str) -> QueueStats {
        self.step(name, |state, _| state.stats())
            .unwrap_or_default()
    }

    pub(crate) fn contents(&self) -> Vec<String> {
        self.sweep();
        self.table
            .iter()
            .map(|entry| format!("queue `{}`", entry.key()))
            .collect()
    }

    /// Runs a step on a queue; one that does not exist is as good as empty.
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

    /// Removes idle queues once as many have been created as there were, which makes it free.
    ///
    /// Not done whenever a queue becomes empty: most are used again at once, and creating one costs as much as several
    /// steps.
    fn sweep_if_many_are_new(&self) {
        const AT_LEAST: usize = 64;
        let take_one = |left: usize| left.checked_sub(1);
        if self
            .until_sweep
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one)
            .is_err()
        {
            self.sweep();
            self.until_sweep
                .store(self.table.len().max(AT_LEAST), Ordering::Relaxed);
        }
    }

    fn sweep(&self) {
        self.table.retain(|_, queue| !queue.is_idle());
    }

    /// Gives a taker its place in line.
    fn sit(&self, name: &str) -> Seat {
        let entry = self.find_or_create(name);
        // Under the entry: from here on the queue is not idle.
        let number = entry.lock().waiters.sit();
        Seat {
            queue: Arc::clone(&entry),
            number,
        }
    }
}

impl Queue {
    /// Brings the state up to now, runs the step, and finds out who is to be woken.
    fn step<R>(&self, step: impl FnOnce(&mut State, &Now) -> R) -> (R, Option<Waker>) {
        let now = Now::default();
        let mut inner = self.lock();
        inner.state.advance(&now);
        let result = step(&mut inner.state, &now);
        (result, inner.rouse())
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
    fn rouse(&mut self) -> Option<Waker> {
        self.waiters
            .rouse(self.state.ready(), self.state.next_event())
    }
}

/// Runs a step on a queue of the table, and wakes whom it concerns when nothing is locked any more.
fn step_on<R>(queue: Ref<'_, Arc<str>, Arc<Queue>>, step: impl FnOnce(&mut State, &Now) -> R) -> R {
    let (result, roused) = queue.step(step);
    drop(queue);
    if let Some(waker) = roused {
        waker.wake();
    }
    result
}

/// The place in line of a taker that waits. Left on drop, and whatever the taker was woken for goes to the next.
struct Seat {
    queue: Arc<Queue>,
    number: u64,
}

impl Seat {
    /// Takes what is there, or rests with this waker and answers when to look again without being woken.
    fn take(&self, opts: &GetOptions, waker: &Waker) -> Result<Vec<Delivery>, Option<Instant>> {
        let now = Now::default();
        let mut inner = self.queue.lock();
        inner.state.advance(&now);
        let taken = inner.state.take(opts.max, opts.lease, &now);
        if !taken.is_empty() {
            // What this changes for others they hear when the seat is left.
            return Ok(taken);
        }
        let next_event = inner.state.next_event();
        Err(inner.waiters.rest(self.number, waker, next_event))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        inner.waiters.leave(self.number);
        let roused = inner.rouse();
        drop(inner);
        if let Some(waker) = roused {
            waker.wake();
        }
    }
}

fn error(kind: ErrorKind, operation: &str, name: &str) -> Error {
    Error::new(kind, format!("memory: {operation} `{name}`"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    use super::*;

    fn put(queues: &Queues, delay: Duration) {
        let opts = PutOptions::default().delay(delay);
        queues.put("q", vec![Message::json("1")], opts).unwrap();
    }

    /// Starts a taker and lets it take its seat.
    async fn waiting(queues: &Arc<Queues>, opts: GetOptions) -> JoinHandle<usize> {
        let queues = Arc::clone(queues);
        let taker = tokio::spawn(async move { queues.wait("q", &opts).await.len() });
        tokio::task::yield_now().await;
        taker
    }

    fn forever() -> GetOptions {
        GetOptions::default().wait(Wait::Forever)
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_serves_all_who_wait_for_it() {
        let queues = Arc::<Queues>::default();
        let takers = [
            waiting(&queues, forever()).await,
            waiting(&queues, forever()).await,
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
    async fn who_is_woken_and_dropped_hands_the_message_on() {
        let queues = Arc::<Queues>::default();
        let first = waiting(&queues, forever()).await;
        let second = waiting(&queues, forever()).await;

        // Wakes the first, which never runs again.
        put(&queues, Duration::ZERO);
        first.abort();

        assert_eq!(second.await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn takers_wake_at_the_moment_each_message_is_due() {
        let queues = Arc::<Queues>::default();
        let start = Instant::now();
        let takers = [
            waiting(&queues, forever()).await,
            waiting(&queues, forever()).await,
        ];

        // The later one first: the alarm has to be set anew.
        put(&queues, Duration::from_secs(7_200));
        tokio::task::yield_now().await;
        put(&queues, Duration::from_secs(3_600));

        let [first, second] = takers;
        first.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(3_600));
        second.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(7_200));
    }

    #[tokio::test(start_paused = true)]
    async fn the_alarm_passes_on_when_the_first_in_line_gives_up() {
        let queues = Arc::<Queues>::default();
        let start = Instant::now();
        let brief = waiting(
            &queues,
            GetOptions::default().wait(Wait::For(Duration::from_secs(1))),
        )
        .await;
        let patient = waiting(&queues, forever().lease(Duration::from_secs(5))).await;
        let other = waiting(&queues, forever()).await;

        put(&queues, Duration::from_secs(2));

        assert_eq!(brief.await.unwrap(), 0);
        assert_eq!(patient.await.unwrap(), 1);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        assert_eq!(other.await.unwrap(), 1);
        assert_eq!(start.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_queue_leaves_nothing_and_a_waiting_taker_keeps_it() {
        let queues = Arc::<Queues>::default();
        let taker = waiting(&queues, forever()).await;
        assert_eq!(queues.contents(), ["queue `q`"]);

        put(&queues, Duration::ZERO);
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
    async fn the_ids_of_a_queue_nobody_uses_go_in_time() {
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
