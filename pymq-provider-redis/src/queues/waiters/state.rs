//! [`Waiters`]: the callers that wait at one queue, and what each of them needs next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pymq_core::provider::{GetOptions, lease_time};
use pymq_core::{Error, Result};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::queues::handoff::HOLD_WITHOUT_LEASE;
use crate::queues::queue::Queue;
use crate::queues::taken::{Segment, Taken};

/// If the last attempt gets no answer, the queue counts as empty if it was empty this recently.
const EMPTY_VALID_FOR: Duration = Duration::from_secs(2);

/// The waiters of one queue.
#[derive(Debug)]
pub(in crate::queues) struct Waiters {
    waiting: VecDeque<Waiter>,
    next_id: u64,
    /// Messages for callers that left before they received them.
    pub(in crate::queues) returned: Vec<Segment>,
    /// What the taker does that may bring messages back to the queue.
    pub(in crate::queues) under_way: UnderWay,
    /// Tells that nothing comes back any more.
    pub(in crate::queues) settled: Arc<Notify>,
    /// When the next message is due or the next lease ends, as far as this process knows.
    pub(in crate::queues) due: Option<Instant>,
    /// When the queue was last found empty.
    empty: Option<Instant>,
    /// The queue has no messages, as far as this process knows. Then callers wait at once.
    expects_nothing: bool,
    /// When this process last used the queue.
    pub(in crate::queues) touched: Instant,
    /// Wakes the taker.
    pub(in crate::queues) wakeup: Arc<Notify>,
}

/// What a taker does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::queues) enum UnderWay {
    #[default]
    Nothing,
    /// A take, or a wait: its messages come back if no caller waits for them.
    Take,
    /// Messages go back.
    PutBack,
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
    /// Nothing: the queue is taken to be empty.
    Idle,
}

/// One take for all waiters with the same lease time.
#[derive(Clone, Copy, Debug)]
pub(in crate::queues) struct TakeRequest {
    pub(in crate::queues) max: usize,
    pub(in crate::queues) lease: Option<Duration>,
}

impl Waiters {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            next_id: 0,
            returned: Vec::new(),
            under_way: UnderWay::Nothing,
            settled: Arc::default(),
            due: None,
            empty: None,
            expects_nothing: false,
            touched: Instant::now(),
            wakeup: Arc::default(),
        }
    }

    pub(super) fn add(
        &mut self,
        opts: &GetOptions,
        is_last_attempt: bool,
    ) -> (u64, oneshot::Receiver<Result<Taken>>) {
        let (answer, answered) = oneshot::channel();
        // A worker takes the rest with its next call.
        let takes_one = opts.max.get() == 1 || opts.lease.is_some();
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back(Waiter {
            id,
            max: opts.max.get(),
            lease: opts.lease.map(lease_time),
            is_last_attempt,
            is_swept: false,
            // A caller that wants many gets what there is, not only the message of a wait.
            state: if self.expects_nothing && !is_last_attempt && takes_one {
                WaiterState::Idle
            } else {
                WaiterState::NeedsTake
            },
            answer,
        });
        self.wakeup.notify_one();
        (id, answered)
    }

    /// Notes that the wait of a caller is over: the answer of the next take is its answer.
    pub(super) fn start_last_attempt(&mut self, id: u64) {
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

    pub(in crate::queues) fn note_due(&mut self, due: Instant) {
        // Most leases end later than the first one, and need no wake-up.
        if self.due.is_none_or(|known| due < known) {
            self.due = Some(due);
            self.wakeup.notify_one();
        }
    }

    /// Notes that the queue was found empty.
    pub(in crate::queues) fn note_empty(&mut self) {
        self.empty = Some(Instant::now());
        self.expects_nothing = true;
    }

    /// Notes whether there are more messages to take, as far as this process knows.
    pub(in crate::queues) fn expect_more(&mut self, has_more: bool) {
        self.expects_nothing = !has_more;
    }

    pub(super) fn was_recently_empty(&self) -> bool {
        self.empty.is_some_and(|at| at.elapsed() <= EMPTY_VALID_FOR)
    }

    pub(in crate::queues) fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells whether the time of at least one waiting caller is not over.
    pub(in crate::queues) fn has_time(&self) -> bool {
        self.waiting.iter().any(|waiter| !waiter.is_last_attempt)
    }

    /// Tells whether messages come back to the queue that a caller did not want.
    pub(in crate::queues) fn is_giving_back(&self) -> bool {
        let has_callers = || self.waiting.iter().any(|waiter| !waiter.answer.is_closed());
        !self.returned.is_empty()
            || match self.under_way {
                UnderWay::Nothing => false,
                UnderWay::Take => !has_callers(),
                UnderWay::PutBack => true,
            }
    }

    /// Returns how long a message must be held for the caller that needs it the longest.
    pub(in crate::queues) fn longest_hold(&self) -> Duration {
        let holds = self.waiting.iter();
        let holds = holds.map(|waiter| waiter.lease.unwrap_or(HOLD_WITHOUT_LEASE));
        holds.max().unwrap_or_default()
    }

    /// Returns what the first waiter asks for, if a caller waits.
    pub(in crate::queues) fn first(&mut self) -> Option<TakeRequest> {
        self.remove_cancelled();
        let first = self.waiting.front()?;
        Some(TakeRequest {
            max: first.max,
            lease: first.lease,
        })
    }

    /// Tells whether a sweep must come before the next take.
    pub(in crate::queues) fn needs_sweep(&self) -> bool {
        self.waiting
            .iter()
            .any(|waiter| waiter.state == WaiterState::NeedsSweep)
    }

    /// Removes a waiter when its caller has left.
    pub(in crate::queues) fn remove_cancelled(&mut self) {
        self.waiting.retain(|waiter| !waiter.answer.is_closed());
    }

    /// Tells whether a take is next.
    pub(in crate::queues) fn needs_take(&self) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|waiter| waiter.state == WaiterState::NeedsTake)
    }

    /// Returns one take for the first waiter that needs one and all others with its lease time.
    pub(in crate::queues) fn next_take(&mut self) -> Option<TakeRequest> {
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
    pub(in crate::queues) fn distribute(
        &mut self,
        queue: &Queue,
        mut segment: Segment,
    ) -> Option<Segment> {
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

    /// Notes that a take brought messages. Its waiters that got none need another take if there may
    /// be more, or if their time is over.
    pub(in crate::queues) fn retry_after_take(&mut self, lease: Option<Duration>) {
        let expects_nothing = self.expects_nothing;
        for waiter in self.with_lease(lease) {
            if waiter.state == WaiterState::InTake {
                waiter.state = if expects_nothing && !waiter.is_last_attempt {
                    WaiterState::Idle
                } else {
                    WaiterState::NeedsTake
                };
            }
        }
    }

    /// Notes that there was no message when a wait was closed.
    pub(in crate::queues) fn wait_was_empty(&mut self, queue: &Queue) {
        self.note_empty();
        for waiter in &mut self.waiting {
            waiter.state = WaiterState::InTake;
        }
        while let Some(lease) = self.waiting.iter().find_map(|waiter| {
            let is_open = waiter.state == WaiterState::InTake;
            is_open.then_some(waiter.lease)
        }) {
            self.take_was_empty(queue, lease);
        }
    }

    /// Notes that a take brought nothing. It ends a last attempt if the queue is swept.
    pub(in crate::queues) fn take_was_empty(&mut self, queue: &Queue, lease: Option<Duration>) {
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
    pub(in crate::queues) fn take_failed(
        &mut self,
        lease: Option<Duration>,
        error: &Error,
        passes: bool,
    ) {
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

    /// Notes that the queue was swept, and whether there are messages to take now.
    pub(in crate::queues) fn swept(&mut self, must_take: bool) {
        for waiter in &mut self.waiting {
            if waiter.state == WaiterState::NeedsSweep {
                waiter.state = WaiterState::NeedsTake;
                waiter.is_swept = true;
            }
        }
        if must_take {
            self.retry_all();
        }
    }

    /// Notes that a sweep failed with a transient error, which ends last attempts.
    pub(in crate::queues) fn sweep_failed(&mut self, error: &Error) {
        self.finish(
            |waiter| waiter.state == WaiterState::NeedsSweep,
            || Err(error.clone()),
        );
    }

    /// Notes that there may be messages to take.
    pub(in crate::queues) fn retry_all(&mut self) {
        self.expects_nothing = false;
        for waiter in &mut self.waiting {
            if waiter.state == WaiterState::Idle {
                waiter.state = WaiterState::NeedsTake;
            }
        }
    }

    /// Ends all waiters with an error.
    pub(in crate::queues) fn fail_all(&mut self, error: &Error) {
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
