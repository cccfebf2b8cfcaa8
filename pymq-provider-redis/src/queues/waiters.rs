//! The callers that wait for messages of a queue, in their order, and the messages that came back
//! from callers that left. One lock covers all queues. Each queue in use has a task, its [`Taker`].
//!
//! A caller never takes by itself. It joins the waiters, and the taker hands it messages. So a
//! caller can leave at any point, and the taker still has the messages that were meant for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pymq_core::provider::{GetOptions, Wait, lease_time};
use pymq_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::queue::Queue;
use super::taken::{Segment, Taken};
use super::taker::Taker;
use pymq_core::provider::MAX_DURATION;

/// How long the last attempt may last beyond the wait, once the call has used up its `op_timeout`.
const LAST_ATTEMPT_LIMIT: Duration = Duration::from_millis(50);

/// If the last attempt gets no answer, the queue counts as empty if it was empty this recently.
const EMPTY_VALID_FOR: Duration = Duration::from_secs(2);

/// The waiters of all queues that have a taker.
#[derive(Debug, Default)]
pub(super) struct WaitersByQueue(Mutex<HashMap<Arc<str>, Waiters>>);

/// The waiters of one queue.
#[derive(Debug)]
pub(super) struct Waiters {
    waiting: VecDeque<Waiter>,
    next_id: u64,
    /// Messages for callers that left before they received them.
    pub(super) returned: Vec<Segment>,
    /// When the next message is due or the next lease ends, as far as this process knows.
    pub(super) due: Option<Instant>,
    /// When the queue was last found empty.
    empty: Option<Instant>,
    /// When this process last used the queue.
    pub(super) touched: Instant,
    /// Wakes the taker.
    pub(super) wakeup: Arc<Notify>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    max: usize,
    /// How long the messages are leased. `None` removes them.
    lease: Option<Duration>,
    /// The wait is over: the next take decides.
    is_last_attempt: bool,
    /// The queue was swept for the last attempt.
    is_swept: bool,
    state: WaiterState,
    answer: oneshot::Sender<Result<Taken>>,
}

/// What a waiter needs before the taker may wait for a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum WaiterState {
    /// A take that is sent from now on.
    NeedsTake,
    /// The answer of the take in flight.
    InTake,
    /// A sweep, and then a take.
    NeedsSweep,
    /// Nothing: the queue was empty.
    Idle,
}

/// One take for all waiters with the same lease time.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakeRequest {
    pub(super) max: usize,
    pub(super) lease: Option<Duration>,
}

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
    let (id, mut answer) =
        with_waiters(queue, |waiters| waiters.add(opts, !waits)).ok_or_else(closed)?;
    let answered = |answer: Result<_, _>| answer.unwrap_or_else(|_| Err(closed()));
    if waits {
        let Some(deadline) = deadline else {
            return answered(answer.await);
        };
        tokio::select! {
            biased;
            result = &mut answer => return answered(result),
            () = sleep_until(deadline) => {}
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

impl Waiters {
    fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            next_id: 0,
            returned: Vec::new(),
            due: None,
            empty: None,
            touched: Instant::now(),
            wakeup: Arc::default(),
        }
    }

    fn add(
        &mut self,
        opts: &GetOptions,
        is_last_attempt: bool,
    ) -> (u64, oneshot::Receiver<Result<Taken>>) {
        let (answer, answered) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back(Waiter {
            id,
            max: opts.max.get(),
            lease: opts.lease.map(lease_time),
            is_last_attempt,
            is_swept: false,
            state: WaiterState::NeedsTake,
            answer,
        });
        self.wakeup.notify_one();
        (id, answered)
    }

    /// Notes that the wait of a caller is over: the answer of the next take is its answer.
    fn start_last_attempt(&mut self, id: u64) {
        if let Some(waiter) = self.waiting.iter_mut().find(|waiter| waiter.id == id) {
            waiter.is_last_attempt = true;
            // The taker sweeps the queue while a caller waits.
            waiter.is_swept = true;
            if waiter.state == WaiterState::Idle {
                waiter.state = WaiterState::NeedsTake;
            }
            self.wakeup.notify_one();
        }
    }

    pub(super) fn note_due(&mut self, due: Instant) {
        // Most leases end later than the first one, and need no wake-up.
        if self.due.is_none_or(|known| due < known) {
            self.due = Some(due);
            self.wakeup.notify_one();
        }
    }

    /// Notes that the queue was found empty.
    pub(super) fn note_empty(&mut self) {
        self.empty = Some(Instant::now());
    }

    fn was_recently_empty(&self) -> bool {
        self.empty.is_some_and(|at| at.elapsed() <= EMPTY_VALID_FOR)
    }

    pub(super) fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells whether a sweep must come before the next take.
    pub(super) fn needs_sweep(&self) -> bool {
        self.waiting
            .iter()
            .any(|waiter| waiter.state == WaiterState::NeedsSweep)
    }

    /// Removes the waiters whose caller has left.
    pub(super) fn remove_cancelled(&mut self) {
        self.waiting.retain(|waiter| !waiter.answer.is_closed());
    }

    /// Returns one take for the first waiter that needs one and all others with its lease time.
    pub(super) fn next_take(&mut self) -> Option<TakeRequest> {
        let first = self
            .waiting
            .iter()
            .find(|waiter| waiter.state == WaiterState::NeedsTake);
        let lease = first?.lease;
        let mut max = 0_usize;
        for waiter in self.with_lease(lease) {
            max = max.saturating_add(waiter.max);
            waiter.state = WaiterState::InTake;
        }
        Some(TakeRequest { max, lease })
    }

    /// Hands a segment to the waiters with its lease time, in their order, and returns the rest.
    pub(super) fn distribute(&mut self, queue: &Queue, mut segment: Segment) -> Option<Segment> {
        while !segment.is_empty() {
            let has_lease = |waiter: &Waiter| waiter.lease == segment.lease();
            let Some(waiter) = self
                .waiting
                .iter()
                .position(has_lease)
                .and_then(|at| self.waiting.remove(at))
            else {
                return Some(segment);
            };
            let taken = Taken::new(queue, segment.split(waiter.max));
            if let Err(Ok(taken)) = waiter.answer.send(Ok(taken)) {
                segment.rejoin(taken.into_segment());
            }
        }
        None
    }

    /// Notes that a take brought messages. Its waiters that got none need another take.
    pub(super) fn retry_after_take(&mut self, lease: Option<Duration>) {
        for waiter in self.with_lease(lease) {
            if waiter.state == WaiterState::InTake {
                waiter.state = WaiterState::NeedsTake;
            }
        }
    }

    /// Notes that a take brought nothing. It ends a last attempt if the queue is swept.
    pub(super) fn take_was_empty(&mut self, queue: &Queue, lease: Option<Duration>) {
        self.note_empty();
        for waiter in self.with_lease(lease) {
            if waiter.state == WaiterState::InTake {
                waiter.state = if waiter.is_last_attempt && !waiter.is_swept {
                    WaiterState::NeedsSweep
                } else {
                    WaiterState::Idle
                };
            }
        }
        let nothing = || Ok(Taken::nothing(queue));
        self.finish(
            |waiter| waiter.lease == lease && waiter.is_finished(),
            nothing,
        );
    }

    /// Notes that a take failed. Waiters wait on if the error is transient.
    pub(super) fn take_failed(&mut self, lease: Option<Duration>, error: &Error, passes: bool) {
        self.finish(
            |waiter| {
                let was_asked = waiter.lease == lease && waiter.state == WaiterState::InTake;
                was_asked && (waiter.is_last_attempt || !passes)
            },
            || Err(error.clone()),
        );
        for waiter in self.with_lease(lease) {
            if waiter.state == WaiterState::InTake {
                waiter.state = WaiterState::Idle;
            }
        }
    }

    /// Notes that the queue was swept, and whether a message became ready.
    pub(super) fn swept(&mut self, made_ready: bool) {
        for waiter in &mut self.waiting {
            if waiter.state == WaiterState::NeedsSweep {
                waiter.state = WaiterState::NeedsTake;
                waiter.is_swept = true;
            }
        }
        if made_ready {
            self.retry_all();
        }
    }

    /// Notes that a sweep failed with a transient error, which ends last attempts.
    pub(super) fn sweep_failed(&mut self, error: &Error) {
        self.finish(
            |waiter| waiter.state == WaiterState::NeedsSweep,
            || Err(error.clone()),
        );
    }

    /// Notes that there may be messages to take.
    pub(super) fn retry_all(&mut self) {
        for waiter in &mut self.waiting {
            if waiter.state == WaiterState::Idle {
                waiter.state = WaiterState::NeedsTake;
            }
        }
    }

    /// Ends all waiters with an error.
    pub(super) fn fail_all(&mut self, error: &Error) {
        self.finish(|_| true, || Err(error.clone()));
    }

    /// Ends some waiters with an answer.
    fn finish(&mut self, which: impl Fn(&Waiter) -> bool, answer: impl Fn() -> Result<Taken>) {
        for at in (0..self.waiting.len()).rev() {
            if which(&self.waiting[at])
                && let Some(waiter) = self.waiting.remove(at)
            {
                // Its caller may have left meanwhile.
                drop(waiter.answer.send(answer()));
            }
        }
    }

    fn with_lease(&mut self, lease: Option<Duration>) -> impl Iterator<Item = &mut Waiter> {
        self.waiting
            .iter_mut()
            .filter(move |waiter| waiter.lease == lease)
    }
}

impl Waiter {
    /// Tells whether its last attempt found nothing.
    fn is_finished(&self) -> bool {
        self.is_last_attempt && self.state == WaiterState::Idle
    }
}
