//! The callers that wait for a take from a queue, in their order, and what came back from callers
//! that left. The lines of all queues are behind one lock; each line has a task, its [`Taker`].
//!
//! A caller never takes by itself. It enters the line, and the taker hands it what it takes. So a
//! caller can leave at any point, and what it should have had is still in the hands of the taker.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pymq_core::provider::{GetOptions, Wait, lease_time};
use pymq_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::args::CENTURY;
use super::queue::Store;
use super::taken::{Part, Taken};
use super::taker::Taker;

/// The last look of a wait may take so long beyond the wait, if the whole has had its `op_timeout`.
const LAST_LOOK: Duration = Duration::from_millis(50);

/// A queue that was found empty within this time counts as empty where the last look gets no answer.
const SEEN_EMPTY: Duration = Duration::from_secs(2);

/// The lines of all queues that have a taker.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<Arc<str>, Waiters>>);

/// The line of one queue.
#[derive(Debug)]
pub(super) struct Waiters {
    waiting: VecDeque<Waiter>,
    next_id: u64,
    /// What was handed to callers that left before they read it.
    pub(super) returned: Vec<Part>,
    /// When something is due or a lease ends, as far as this process knows.
    pub(super) due: Option<Instant>,
    /// When the queue was last found empty.
    empty: Option<Instant>,
    /// When this process last used the queue.
    pub(super) touched: Instant,
    /// Rung when the taker is to look at the line.
    pub(super) bell: Arc<Notify>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    max: usize,
    /// How long it leases what it gets; none removes it. Waiters with the same answer are alike.
    lease: Option<Duration>,
    /// It does not wait any longer: the next look decides.
    is_last_look: bool,
    /// The queue was swept for its last look.
    is_swept: bool,
    look: Look,
    answer: oneshot::Sender<Result<Taken>>,
}

/// What a waiter still needs before the taker may wait for a message to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Look {
    /// A take that is sent after this moment.
    Take,
    /// The answer of the take that is under way.
    Answer,
    /// A sweep, and then a take.
    Sweep,
    /// Nothing: the queue was empty.
    Nothing,
}

/// What to take for all waiters that are alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) max: usize,
    pub(super) lease: Option<Duration>,
}

/// Notes that something of this queue is due, or a lease ends, after a while.
pub(super) fn note_due(store: &Store, after: Duration) {
    let due = Instant::now() + after.min(CENTURY);
    with_line(store, |line| line.note_due(due));
}

/// Takes what the queue has when the turn of this caller comes. Waits as told while it has nothing,
/// and has looked once more before it comes back empty.
///
/// Cancel safe: the taker gives what this caller should have had to another, or puts it back.
pub(super) async fn take(store: &Store, opts: &GetOptions) -> Result<Taken> {
    let entered = Instant::now();
    let deadline = match opts.wait {
        Wait::Forever => None,
        Wait::For(time) => Some(entered + time.min(CENTURY)),
        _ => Some(entered),
    };
    let waits = deadline.is_none_or(|deadline| deadline > entered);
    let closed = || Error::new(ErrorKind::Closed, store.context("get from"));
    let (id, mut answer) = with_line(store, |line| line.enter(opts, !waits)).ok_or_else(closed)?;
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
        if let Some(fault) = store.why_down() {
            // What was handed over at the last moment counts.
            answer.close();
            return answer
                .try_recv()
                .unwrap_or_else(|_| Err(store.fault("get from", fault)));
        }
        with_line(store, |line| line.look_once_more(id));
    }
    // The caller stops to wait, the command goes on.
    let limit = entered + store.shared().core.connector.op_timeout();
    let limit = limit.max(Instant::now() + LAST_LOOK);
    if let Ok(result) = timeout_at(limit, answer).await {
        return answered(result);
    }
    if waits && with_line(store, |line| line.was_empty()).unwrap_or(false) {
        return Ok(Taken::nothing(store));
    }
    Err(store.why_down().map_or_else(
        || Error::new(ErrorKind::Timeout, store.context("get from")),
        |fault| store.fault("get from", fault),
    ))
}

/// Takes back what a caller did not read. It is the next to be handed out, or goes back to Redis.
pub(super) fn give_back(store: &Store, part: Part) {
    let mut part = Some(part);
    let given = with_line(store, |line| {
        line.returned.extend(part.take());
        line.bell.notify_one();
    });
    if given.is_none() {
        tracing::error!(
            queue = store.name(),
            "could not give messages back: the runtime of the provider has ended"
        );
    }
}

/// Runs a step at the line of a queue, which has a taker from then on; none if no task can run any
/// more.
fn with_line<R>(store: &Store, step: impl FnOnce(&mut Waiters) -> R) -> Option<R> {
    let shared = store.shared();
    let bell = {
        let mut lines = shared.lines.lock();
        if let Some(line) = lines.get_mut(store.name()) {
            line.touched = Instant::now();
            return Some(step(line));
        }
        let line = Waiters::new();
        let bell = Arc::clone(&line.bell);
        lines.insert(store.name().into(), line);
        bell
    };
    // Without the lock: a runtime that has ended drops the taker at once, and that takes the lock.
    shared.spawn(Taker::new(store.clone(), bell).run());
    shared.lines.lock().get_mut(store.name()).map(step)
}

impl Lines {
    /// A std mutex: the critical sections are a few moves, and never an await.
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
            bell: Arc::default(),
        }
    }

    fn enter(
        &mut self,
        opts: &GetOptions,
        is_last_look: bool,
    ) -> (u64, oneshot::Receiver<Result<Taken>>) {
        let (answer, answered) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back(Waiter {
            id,
            max: opts.max.get(),
            lease: opts.lease.map(lease_time),
            is_last_look,
            is_swept: false,
            look: Look::Take,
            answer,
        });
        self.bell.notify_one();
        (id, answered)
    }

    /// Notes that the time of a waiter is over: the answer of the next look is its answer.
    fn look_once_more(&mut self, id: u64) {
        if let Some(waiter) = self.waiting.iter_mut().find(|waiter| waiter.id == id) {
            waiter.is_last_look = true;
            // Whoever waits keeps the queue swept.
            waiter.is_swept = true;
            if waiter.look == Look::Nothing {
                waiter.look = Look::Take;
            }
            self.bell.notify_one();
        }
    }

    pub(super) fn note_due(&mut self, due: Instant) {
        // Most leases end later than the first one: the taker need not hear of them.
        if self.due.is_none_or(|known| due < known) {
            self.due = Some(due);
            self.bell.notify_one();
        }
    }

    /// Notes that the queue was found empty.
    pub(super) fn note_empty(&mut self) {
        self.empty = Some(Instant::now());
    }

    fn was_empty(&self) -> bool {
        self.empty.is_some_and(|at| at.elapsed() <= SEEN_EMPTY)
    }

    pub(super) fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells whether a take has to be preceded by a sweep.
    pub(super) fn needs_sweep(&self) -> bool {
        self.waiting.iter().any(|waiter| waiter.look == Look::Sweep)
    }

    /// Forgets the waiters that have gone.
    pub(super) fn forget_the_gone(&mut self) {
        self.waiting.retain(|waiter| !waiter.answer.is_closed());
    }

    /// Returns what to take for all waiters that are alike the first one that needs a take.
    pub(super) fn order(&mut self) -> Option<Order> {
        let first = self.waiting.iter().find(|waiter| waiter.look == Look::Take);
        let lease = first?.lease;
        let mut max = 0_usize;
        for waiter in self.alike(lease) {
            max = max.saturating_add(waiter.max);
            waiter.look = Look::Answer;
        }
        Some(Order { max, lease })
    }

    /// Hands a part to the waiters that are alike, first come, first served, and returns what is
    /// left.
    pub(super) fn deal(&mut self, store: &Store, mut part: Part) -> Option<Part> {
        while !part.is_empty() {
            let is_alike = |waiter: &Waiter| waiter.lease == part.lease();
            let Some(waiter) = self
                .waiting
                .iter()
                .position(is_alike)
                .and_then(|at| self.waiting.remove(at))
            else {
                return Some(part);
            };
            let taken = Taken::new(store, part.split(waiter.max));
            if let Err(Ok(taken)) = waiter.answer.send(Ok(taken)) {
                part.rejoin(taken.into_part());
            }
        }
        None
    }

    /// Notes that a take brought something: those it was sent for and that got nothing look again.
    pub(super) fn look_again(&mut self, lease: Option<Duration>) {
        for waiter in self.alike(lease) {
            if waiter.look == Look::Answer {
                waiter.look = Look::Take;
            }
        }
    }

    /// Notes that a take found nothing: the last look of a waiter ends with that, once the queue is
    /// swept.
    pub(super) fn found_nothing(&mut self, store: &Store, lease: Option<Duration>) {
        self.note_empty();
        for waiter in self.alike(lease) {
            if waiter.look == Look::Answer {
                waiter.look = if waiter.is_last_look && !waiter.is_swept {
                    Look::Sweep
                } else {
                    Look::Nothing
                };
            }
        }
        let nothing = || Ok(Taken::nothing(store));
        self.end(|waiter| waiter.lease == lease && waiter.is_over(), nothing);
    }

    /// Notes that a take failed. With an error that may pass, waiters wait on.
    pub(super) fn take_failed(&mut self, lease: Option<Duration>, error: &Error, passes: bool) {
        self.end(
            |waiter| {
                let was_asked = waiter.lease == lease && waiter.look == Look::Answer;
                was_asked && (waiter.is_last_look || !passes)
            },
            || Err(error.clone()),
        );
        for waiter in self.alike(lease) {
            if waiter.look == Look::Answer {
                waiter.look = Look::Nothing;
            }
        }
    }

    /// Notes that the queue was swept, and whether that made a message ready.
    pub(super) fn swept(&mut self, made_ready: bool) {
        for waiter in &mut self.waiting {
            if waiter.look == Look::Sweep {
                waiter.look = Look::Take;
                waiter.is_swept = true;
            }
        }
        if made_ready {
            self.look_all();
        }
    }

    /// Notes that a sweep failed with an error that may pass: a last look ends with it.
    pub(super) fn sweep_failed(&mut self, error: &Error) {
        self.end(|waiter| waiter.look == Look::Sweep, || Err(error.clone()));
    }

    /// Notes that there may be something to take.
    pub(super) fn look_all(&mut self) {
        for waiter in &mut self.waiting {
            if waiter.look == Look::Nothing {
                waiter.look = Look::Take;
            }
        }
    }

    /// Tells all waiters that it will not work.
    pub(super) fn refuse(&mut self, error: &Error) {
        self.end(|_| true, || Err(error.clone()));
    }

    /// Ends the waiting of some.
    fn end(&mut self, which: impl Fn(&Waiter) -> bool, answer: impl Fn() -> Result<Taken>) {
        for at in (0..self.waiting.len()).rev() {
            if which(&self.waiting[at])
                && let Some(waiter) = self.waiting.remove(at)
            {
                // It may have gone meanwhile.
                drop(waiter.answer.send(answer()));
            }
        }
    }

    fn alike(&mut self, lease: Option<Duration>) -> impl Iterator<Item = &mut Waiter> {
        self.waiting
            .iter_mut()
            .filter(move |waiter| waiter.lease == lease)
    }
}

impl Waiter {
    /// Tells whether its last look found nothing.
    fn is_over(&self) -> bool {
        self.is_last_look && self.look == Look::Nothing
    }
}
