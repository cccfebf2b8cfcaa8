//! The callers that wait for messages of a queue, in their order, and the messages that came back
//! from callers that left. One lock covers all queues. Each queue in use has a task, its [`Taker`].
//!
//! A caller never takes by itself. It joins the waiters, and the taker hands it messages. So a
//! caller can leave at any point, and the taker still has the messages that were meant for it.

mod state;

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pymq_core::provider::{GetOptions, MAX_DURATION, Wait};
use pymq_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

pub(super) use self::state::{TakeRequest, UnderWay, Waiters};
use super::queue::Queue;
use super::taken::{Segment, Taken};
use super::taker::Taker;

/// How long the last attempt may last beyond the wait, once the call has used up its `op_timeout`.
const LAST_ATTEMPT_LIMIT: Duration = Duration::from_millis(50);

/// The waiters of all queues that have a taker.
#[derive(Debug, Default)]
pub(super) struct WaitersByQueue(Mutex<HashMap<Arc<str>, Waiters>>);

/// Notes that a message of this queue is due, or a lease ends, after a time.
pub(super) fn note_due(queue: &Queue, after: Duration) {
    let due = Instant::now() + after.min(MAX_DURATION);
    with_waiters(queue, |waiters| waiters.note_due(due));
}

/// Takes messages when it is this caller's turn. Waits as the options say while there are none, and
/// makes a last attempt before it returns nothing.
///
/// Cancel safe: the taker hands the messages of this caller to another one, or gives them back.
pub(super) async fn take(queue: &Queue, opts: &GetOptions) -> Result<Taken> {
    let entered = Instant::now();
    let deadline = match opts.wait {
        Wait::Forever => None,
        Wait::For(time) => Some(entered + time.min(MAX_DURATION)),
        _ => Some(entered),
    };
    let waits = deadline.is_none_or(|deadline| deadline > entered);
    let closed = || Error::new(ErrorKind::Closed, queue.context("get from"));
    let joined = with_waiters(queue, |waiters| {
        let left = CallerLeft(Some(Arc::clone(&waiters.wakeup)));
        (left, waiters.add(opts, !waits))
    });
    let (left, (id, mut answer)) = joined.ok_or_else(closed)?;
    let answered = |answer: Result<_, _>| answer.unwrap_or_else(|_| Err(closed()));
    if waits {
        let ended = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            result = &mut answer => {
                left.disarm();
                return answered(result);
            }
            () = ended => {}
        }
        if let Some(fault) = queue.why_down() {
            // Messages that arrived at the last moment count.
            answer.close();
            return answer
                .try_recv()
                .unwrap_or_else(|_| Err(queue.fault("get from", fault)));
        }
        with_waiters(queue, |waiters| waiters.start_last_attempt(id));
    }
    // The timeout ends the wait of the caller. The command goes on.
    let limit = entered + queue.shared().core.connector.op_timeout();
    let limit = limit.max(Instant::now() + LAST_ATTEMPT_LIMIT);
    if let Ok(result) = timeout_at(limit, answer).await {
        left.disarm();
        return answered(result);
    }
    if waits && with_waiters(queue, |waiters| waiters.was_recently_empty()).unwrap_or(false) {
        return Ok(Taken::nothing(queue));
    }
    Err(queue.why_down().map_or_else(
        || Error::new(ErrorKind::Timeout, queue.context("get from")),
        |fault| queue.fault("get from", fault),
    ))
}

/// Returns messages that a caller did not receive. Another caller gets them, or Redis does.
pub(super) fn give_back(queue: &Queue, segment: Segment) {
    let mut segment = Some(segment);
    let given = with_waiters(queue, |waiters| {
        waiters.returned.extend(segment.take());
        waiters.wakeup.notify_one();
    });
    if given.is_none() {
        tracing::error!(
            queue = queue.name(),
            "could not give messages back, they are lost unless leased: \
             the runtime of the provider has ended"
        );
    }
}

/// Waits until the messages are back that callers did not want, at most for the `op_timeout`. What
/// goes to the front then comes in front of them.
pub(super) async fn given_back(queue: &Queue) {
    let settled = async {
        loop {
            let settled = {
                let by_queue = queue.shared().waiters.lock();
                match by_queue.get(queue.name()) {
                    Some(waiters) if waiters.is_giving_back() => {
                        let mut settled = Box::pin(Arc::clone(&waiters.settled).notified_owned());
                        // Under the lock, so that no notification is missed.
                        settled.as_mut().enable();
                        settled
                    }
                    _ => return,
                }
            };
            settled.await;
        }
    };
    let limit = queue.shared().core.connector.op_timeout();
    // What is not back by then is on a broken connection, over which order is not promised.
    drop(timeout(limit, settled).await);
}

/// Runs a step on the waiters of a queue. Starts the taker if there is none. Returns `None` if no
/// task can run any more.
fn with_waiters<R>(queue: &Queue, step: impl FnOnce(&mut Waiters) -> R) -> Option<R> {
    let shared = queue.shared();
    let wakeup = {
        let mut by_queue = shared.waiters.lock();
        if let Some(waiters) = by_queue.get_mut(queue.name()) {
            waiters.touched = Instant::now();
            return Some(step(waiters));
        }
        let waiters = Waiters::new();
        let wakeup = Arc::clone(&waiters.wakeup);
        by_queue.insert(queue.name().into(), waiters);
        wakeup
    };
    // Not under the lock: a runtime that has ended drops the taker at once, and that needs the
    // lock.
    shared.spawn(Taker::new(queue.clone(), wakeup).run());
    shared.waiters.lock().get_mut(queue.name()).map(step)
}

impl WaitersByQueue {
    /// A std mutex, because the critical sections are short and contain no await.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Waiters>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the taker when a caller leaves: it may have to end the wait.
struct CallerLeft(Option<Arc<Notify>>);

impl CallerLeft {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CallerLeft {
    fn drop(&mut self) {
        if let Some(wakeup) = &self.0 {
            wakeup.notify_one();
        }
    }
}
