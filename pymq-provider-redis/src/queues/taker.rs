//! The taker of a queue: the one task of this process that takes from it. It also watches the queue
//! for waiting callers, and sweeps it while this process uses it.
//!
//! **One take at a time.** The task owns the command in flight. It hands the messages to the
//! waiting callers in their order, and gives back the messages that no caller wants *before* it
//! sends the next take. So messages stay in order when callers come and go. A timeout ends the wait
//! of a caller, never a command. One case breaks the order: a take on a broken connection is left
//! to a task of its own, because its answer may come late or never.
//!
//! **A wait hands one message over.** While callers wait at an empty queue, the task waits too. The
//! wait ends when the server moves the next message to a [`Handoff`] of this process. When no
//! caller waits any more, the task closes the wait before it does anything else. So no message goes
//! to a process without a waiting caller. It also closes the wait before each take. The message of
//! the wait is older than those of the take, so it is handed out first.
//!
//! **No wake-up is lost.** The blocking command returns at once if there is a message. At a quiet
//! queue, the watch begins before the task looks for a message.

mod waiting;

use std::sync::Arc;
use std::time::Duration;

use pymq_core::provider::MAX_DURATION;
use pymq_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::give_back::put_back;
use super::handoff::Handoff;
use super::queue::{self, Queue};
use super::taken::{RunToCompletion, Segment, Taken};
use super::waiters::{TakeRequest, UnderWay, Waiters};
use crate::connection;

/// The longest time between two sweeps while the queue has a taker. It is shortened at random.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The same while callers wait and nothing has changed. It guards against a server that does not
/// tell a change.
const UNCHANGED_SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// The shortest time between two sweeps of due messages.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_millis(20);

/// How long takes may delay a sweep that is due.
const SWEEP_DEFER_LIMIT: Duration = Duration::from_millis(100);

/// How long the taker and its connection stay after their last use.
const IDLE_LIMIT: Duration = Duration::from_secs(3);

/// How often waiting callers take from a queue at which this process cannot wait.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What the task does next.
enum Step {
    /// The queue needs no taker.
    End,
    /// Give back what no caller wants.
    PutBack(Vec<Segment>),
    Sweep,
    /// Close the wait: no caller waits any more, or a take is next.
    CloseWait,
    Take(TakeRequest),
    /// Wait for a wake-up, a message or the given time.
    Wait {
        /// How long the message must be held, if a caller waits.
        hold: Option<Duration>,
        until: Instant,
    },
}

/// The task that takes from a queue.
pub(super) struct Taker {
    queue: Queue,
    wakeup: Arc<Notify>,
    handoff: Handoff,
    /// When the queue was last swept.
    last_sweep: Option<Instant>,
    /// The watch in which the last sweep began.
    swept_in: Option<u64>,
    next_sweep: Instant,
    /// When a caller was last seen waiting.
    last_waiting: Instant,
    /// When to take without a sign of a message, if this process cannot wait.
    poll_at: Option<Instant>,
    /// How many takes were sent.
    take_count: u64,
}

impl Taker {
    pub(super) fn new(queue: Queue, wakeup: Arc<Notify>) -> Self {
        let now = Instant::now();
        let handoff = Handoff::new(queue.clone());
        Self {
            queue,
            wakeup,
            handoff,
            last_sweep: None,
            swept_in: None,
            next_sweep: now,
            last_waiting: now,
            poll_at: None,
            take_count: 0,
        }
    }

    /// Takes from the queue until it needs no taker.
    pub(super) async fn run(mut self) {
        loop {
            match self.next_step() {
                Step::End => return,
                Step::PutBack(segments) => {
                    put_back(&self.queue, segments).await;
                    self.update(|waiters| waiters.expect_more(true));
                }
                Step::CloseWait => self.close_wait().await,
                Step::Sweep => self.sweep().await,
                Step::Take(request) => self.take(request).await,
                Step::Wait { hold, until } => self.wait(hold, until).await,
            }
        }
    }

    fn next_step(&mut self) -> Step {
        let now = Instant::now();
        let shared = Arc::clone(self.shared());
        let mut by_queue = shared.waiters.lock();
        let Some(waiters) = by_queue.get_mut(self.queue.name()) else {
            return Step::End;
        };
        waiters.remove_cancelled();
        if self.handoff.is_known_empty() {
            waiters.note_empty();
        }
        let segments = self.redistribute(waiters, now);
        if !segments.is_empty() {
            waiters.under_way = UnderWay::PutBack;
            return Step::PutBack(segments);
        }
        waiters.under_way = if self.handoff.is_open() {
            UnderWay::Take
        } else {
            UnderWay::Nothing
        };
        if !waiters.is_giving_back() {
            waiters.settled.notify_waiters();
        }
        let is_closed = shared.core.close.is_cancelled();
        if self.handoff.is_open() && (is_closed || !waiters.has_time() || waiters.needs_take()) {
            return Step::CloseWait;
        }
        if is_closed {
            // The waiting callers see that their channel is closed.
            by_queue.remove(self.queue.name());
            return Step::End;
        }
        let is_awaited = waiters.is_awaited();
        let unchanged = self.handoff.unchanged_watch().filter(|_| is_awaited);
        let next_sweep = match self.last_sweep {
            Some(swept) if unchanged.is_some() && unchanged == self.swept_in => {
                swept + UNCHANGED_SWEEP_INTERVAL
            }
            _ => self.next_sweep,
        };
        let sweep_at = waiters.due.map_or(next_sweep, |due| {
            let due = self
                .last_sweep
                .map_or(due, |swept| due.max(swept + MIN_SWEEP_INTERVAL));
            due.min(next_sweep)
        });
        if waiters.needs_sweep() || now >= sweep_at + SWEEP_DEFER_LIMIT {
            return Step::Sweep;
        }
        if let Some(request) = waiters.next_take() {
            waiters.under_way = UnderWay::Take;
            return Step::Take(request);
        }
        if now >= sweep_at {
            return Step::Sweep;
        }
        if is_awaited {
            self.last_waiting = now;
        }
        if !is_awaited && now >= self.last_waiting + IDLE_LIMIT {
            self.handoff.disconnect();
            if waiters.due.is_none()
                && self.last_sweep.is_some()
                && now >= waiters.touched + IDLE_LIMIT
            {
                by_queue.remove(self.queue.name());
                return Step::End;
            }
        }
        let poll_at = self.poll_at.filter(|_| is_awaited);
        Step::Wait {
            hold: is_awaited.then(|| waiters.longest_hold()),
            until: poll_at.map_or(sweep_at, |poll_at| poll_at.min(sweep_at)),
        }
    }

    /// Hands returned messages to other callers, and returns the rest in the order of the queue.
    fn redistribute(&self, waiters: &mut Waiters, now: Instant) -> Vec<Segment> {
        if waiters.returned.is_empty() {
            return Vec::new();
        }
        let mut segments = std::mem::take(&mut waiters.returned);
        segments.sort_unstable_by_key(Segment::place);
        let is_closed = self.shared().core.close.is_cancelled();
        let mut rest: Vec<Segment> = Vec::new();
        for segment in segments {
            if is_closed || !rest.is_empty() || segment.is_lease_half_over(now) {
                rest.push(segment);
            } else {
                rest.extend(waiters.distribute(&self.queue, segment));
            }
        }
        rest
    }

    async fn wait(&mut self, hold: Option<Duration>, until: Instant) {
        let close = self.shared().core.close.clone();
        let wakeup = Arc::clone(&self.wakeup);
        let must_wait = hold.is_some() || self.handoff.is_waiting();
        tokio::select! {
            biased;
            () = close.cancelled() => {}
            () = wakeup.notified() => {}
            () = sleep_until(until) => {
                if self.poll_at.is_some_and(|at| at <= Instant::now()) {
                    self.poll_at = Some(Instant::now() + POLL_INTERVAL);
                    self.update(Waiters::retry_all);
                }
            }
            outcome = self.handoff.next(hold), if must_wait => self.waited(outcome).await,
        }
    }

    async fn sweep(&mut self) {
        // Reset first, so that a due time that is noted during the sweep is kept.
        let known = self.with_waiters(|waiters| waiters.due.take()).flatten();
        let watch = self.handoff.unchanged_watch();
        let outcome = self.queue.sweep().await;
        let now = Instant::now();
        self.last_sweep = Some(now);
        self.swept_in = watch.filter(|_| outcome.is_ok());
        self.next_sweep = now + SWEEP_INTERVAL.mul_f64(1.0 - connection::random_fraction() / 4.0);
        let due = match &outcome {
            Ok(swept) => swept.next.map(|next| now + next),
            Err(_) => known,
        };
        self.update(|waiters| waiters.due = waiters.due.into_iter().chain(due).min());
        match outcome {
            Ok(swept) => {
                // A wait that is open brings what became ready.
                let must_take = swept.moved > 0 && !self.handoff.is_waiting();
                self.update(|waiters| waiters.swept(must_take));
            }
            Err(error) if queue::is_transient(&error) => {
                tracing::debug!(queue = self.queue.name(), %error, "cannot sweep");
                self.update(|waiters| waiters.sweep_failed(&error));
            }
            Err(error) => self.fail_all(&error),
        }
    }

    /// Takes once, for all waiters with the same lease time.
    async fn take(&mut self, request: TakeRequest) {
        self.take_count += 1;
        let (sent, max) = (Instant::now(), request.max);
        let outcome = send(&self.queue, self.take_count, request).await;
        let outcome = outcome.map(Taken::into_segment);
        if outcome.as_ref().is_ok_and(|segment| !segment.is_empty()) {
            self.handoff.note_activity();
        }
        let ends = request.lease.map(|lease| sent + lease.min(MAX_DURATION));
        let queue = self.queue.clone();
        self.update(|waiters| match outcome {
            Ok(segment) if segment.is_empty() => waiters.take_was_empty(&queue, request.lease),
            Ok(segment) => {
                let is_full = segment.len() >= max;
                if let Some(ends) = ends {
                    waiters.note_due(ends);
                }
                if segment.is_lease_over(Instant::now()) {
                    // The lease ended before the answer came: a sweep returns the messages.
                    tracing::warn!(
                        queue = queue.name(),
                        "a take was answered after its lease ended, its messages are returned"
                    );
                } else {
                    let rest = waiters.distribute(&queue, segment);
                    waiters.returned.extend(rest);
                }
                waiters.expect_more(is_full);
                waiters.retry_after_take(request.lease);
            }
            Err(error) => waiters.take_failed(request.lease, &error, queue::is_transient(&error)),
        });
    }

    fn fail_all(&self, error: &Error) {
        tracing::debug!(queue = self.queue.name(), %error, "cannot take from the queue");
        self.update(|waiters| waiters.fail_all(error));
    }

    fn update(&self, step: impl FnOnce(&mut Waiters)) {
        // The entry exists as long as the taker does.
        let _: Option<()> = self.with_waiters(step);
    }

    fn with_waiters<R>(&self, step: impl FnOnce(&mut Waiters) -> R) -> Option<R> {
        let mut by_queue = self.shared().waiters.lock();
        by_queue.get_mut(self.queue.name()).map(step)
    }

    fn shared(&self) -> &Arc<Shared> {
        self.queue.shared()
    }
}

/// Sends a take and waits for its answer as long as its connection lasts.
async fn send(queue: &Queue, number: u64, request: TakeRequest) -> Result<Taken> {
    let core = &queue.shared().core;
    let lost = queue.commands().loss();
    let take = queue.clone().take(number, request);
    let mut take = RunToCompletion::new(Arc::clone(queue.shared()), take);
    if let Ok(outcome) = timeout(core.connector.op_timeout(), &mut take).await {
        return outcome;
    }
    // A second command without an answer reveals a half-open connection.
    let given_up = async {
        drop(queue.probe().await);
        lost.await;
    };
    tokio::select! {
        biased;
        outcome = &mut take => outcome,
        () = given_up => Err(Error::new(ErrorKind::Timeout, queue.context("get from"))),
    }
}

impl Drop for Taker {
    /// Ends the channels of all waiters when the task ends, for any reason: no answer will come.
    fn drop(&mut self) {
        let waiters = {
            let mut by_queue = self.shared().waiters.lock();
            let is_own = |waiters: &&mut Waiters| Arc::ptr_eq(&waiters.wakeup, &self.wakeup);
            match by_queue.get_mut(self.queue.name()).filter(is_own) {
                Some(_) => by_queue.remove(self.queue.name()),
                None => None,
            }
        };
        if let Some(waiters) = &waiters {
            waiters.settled.notify_waiters();
        }
        if let Some(waiters) = waiters
            && !waiters.returned.is_empty()
        {
            tracing::error!(
                queue = self.queue.name(),
                "could not give messages back, they are lost unless leased: the taker has ended"
            );
        }
    }
}
