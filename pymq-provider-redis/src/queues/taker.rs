//! The taker of a queue: the one task in this process that takes from it. It also watches the queue
//! for those that wait, and sweeps it while this process uses it.
//!
//! **One take at a time.** The task owns the command under way, hands what comes to the waiting
//! callers in their order, and puts back what no caller wants *before* it sends the next take. So
//! messages stay in order however callers come and go. Time ends the waiting of a caller and never
//! a command. One thing can overtake: a take on a connection that broke is left to a task of its
//! own, since its answer may come late or never.
//!
//! **Waiting never owns a message.** The task watches with a command that moves the next message
//! from the front to the front: it blocks until there is one, and changes nothing.
//!
//! No wake-up is lost: a waiter has had a look of its own before the task watches, and a watch
//! answers at once if there is a message.

use std::sync::Arc;
use std::time::Duration;

use pymq_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::args::CENTURY;
use super::give_back::put_back;
use super::queue::{self, Store};
use super::taken::{Finish, Part, Taken};
use super::waiters::{Order, Waiters};
use super::watch::{Seen, Watch};
use crate::connection;

/// A queue is swept at least this often while it has a taker, a little earlier at random.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// It is swept when something is due, but not more often than this.
const SWEEP_GAP: Duration = Duration::from_millis(20);

/// A sweep that is due lets takes go first, for no longer than this.
const SWEEP_PATIENCE: Duration = Duration::from_millis(100);

/// The taker and its connection stay so long after they were last needed.
const IDLE_LIMIT: Duration = Duration::from_secs(3);

/// How often those that wait take where the queue cannot be watched.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// What the task does next.
enum Step {
    /// The queue needs no taker.
    End,
    /// Put back what no caller wants.
    PutBack(Vec<Part>),
    Sweep,
    Take(Order),
    /// Nothing until the bell rings, the watch sees something, or it is time.
    Wait {
        is_awaited: bool,
        until: Instant,
    },
}

/// The one that takes from a queue.
pub(super) struct Taker {
    store: Store,
    bell: Arc<Notify>,
    watch: Watch,
    /// When the queue was last swept.
    swept: Option<Instant>,
    sweep_again: Instant,
    /// When a caller was last seen waiting.
    waited: Instant,
    /// When to take without having seen anything, if the queue cannot be watched.
    poll_at: Option<Instant>,
    /// How many takes there were.
    takes: u64,
}

impl Taker {
    pub(super) fn new(store: Store, bell: Arc<Notify>) -> Self {
        let now = Instant::now();
        let watch = Watch::new(store.clone());
        Self {
            store,
            bell,
            watch,
            swept: None,
            sweep_again: now,
            waited: now,
            poll_at: None,
            takes: 0,
        }
    }

    /// Takes from the queue until it needs no taker.
    pub(super) async fn run(mut self) {
        loop {
            match self.next_step() {
                Step::End => return,
                Step::PutBack(parts) => put_back(&self.store, parts).await,
                Step::Sweep => self.sweep().await,
                Step::Take(order) => self.take(order).await,
                Step::Wait { is_awaited, until } => self.wait(is_awaited, until).await,
            }
        }
    }

    fn next_step(&mut self) -> Step {
        let now = Instant::now();
        let shared = Arc::clone(self.shared());
        let mut lines = shared.lines.lock();
        let Some(line) = lines.get_mut(self.store.name()) else {
            return Step::End;
        };
        line.forget_the_gone();
        let parts = self.deal_again(line, now);
        if !parts.is_empty() {
            return Step::PutBack(parts);
        }
        if shared.core.close.is_cancelled() {
            // Those that wait hear it from their end of the channel.
            lines.remove(self.store.name());
            return Step::End;
        }
        let is_awaited = line.is_awaited();
        let sweep_at = line.due.map_or(self.sweep_again, |due| {
            let due = self.swept.map_or(due, |swept| due.max(swept + SWEEP_GAP));
            due.min(self.sweep_again)
        });
        if line.needs_sweep() || now >= sweep_at + SWEEP_PATIENCE {
            return Step::Sweep;
        }
        if let Some(order) = line.order() {
            return Step::Take(order);
        }
        if now >= sweep_at {
            return Step::Sweep;
        }
        if is_awaited {
            self.waited = now;
        }
        if !is_awaited && now >= self.waited + IDLE_LIMIT {
            self.watch.hang_up();
            if line.due.is_none() && self.swept.is_some() && now >= line.touched + IDLE_LIMIT {
                lines.remove(self.store.name());
                return Step::End;
            }
        }
        let poll_at = self.poll_at.filter(|_| is_awaited);
        Step::Wait {
            is_awaited,
            until: poll_at.map_or(sweep_at, |poll_at| poll_at.min(sweep_at)),
        }
    }

    /// Hands what came back to others that want it, and returns the rest in its order.
    fn deal_again(&self, line: &mut Waiters, now: Instant) -> Vec<Part> {
        if line.returned.is_empty() {
            return Vec::new();
        }
        let mut parts = std::mem::take(&mut line.returned);
        parts.sort_unstable_by_key(Part::place);
        let is_closed = self.shared().core.close.is_cancelled();
        let mut rest: Vec<Part> = Vec::new();
        for part in parts {
            if is_closed || !rest.is_empty() || part.is_half_over(now) {
                rest.push(part);
            } else {
                rest.extend(line.deal(&self.store, part));
            }
        }
        rest
    }

    async fn wait(&mut self, is_awaited: bool, until: Instant) {
        let close = self.shared().core.close.clone();
        let bell = Arc::clone(&self.bell);
        tokio::select! {
            biased;
            () = close.cancelled() => {}
            () = bell.notified() => {}
            () = sleep_until(until) => {
                if self.poll_at.is_some_and(|at| at <= Instant::now()) {
                    self.poll_at = Some(Instant::now() + POLL_EVERY);
                    self.at_line(Waiters::look_all);
                }
            }
            seen = self.watch.next(), if is_awaited => {
                self.poll_at = None;
                match seen {
                    Seen::Something => self.at_line(Waiters::look_all),
                    Seen::Nothing => self.at_line(Waiters::note_empty),
                    Seen::Blind => {
                        self.poll_at = Some(Instant::now() + POLL_EVERY);
                        self.at_line(Waiters::look_all);
                    }
                    Seen::Fault(error) => self.refuse(&error),
                }
            },
        }
    }

    async fn sweep(&mut self) {
        // Taken out, so that what is noted during the sweep is not lost under its answer.
        let known = self.line(|line| line.due.take()).flatten();
        let outcome = self.store.sweep().await;
        let now = Instant::now();
        self.swept = Some(now);
        self.sweep_again = now + SWEEP_EVERY.mul_f64(1.0 - connection::random_fraction() / 4.0);
        let due = match &outcome {
            Ok(swept) => swept.next.map(|next| now + next),
            Err(_) => known,
        };
        self.at_line(|line| line.due = line.due.into_iter().chain(due).min());
        match outcome {
            Ok(swept) => self.at_line(|line| line.swept(swept.moved > 0)),
            Err(error) if queue::is_passing(&error) => {
                tracing::debug!(queue = self.store.name(), %error, "cannot sweep");
                self.at_line(|line| line.sweep_failed(&error));
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// Takes once, for all waiters that are alike.
    async fn take(&mut self, order: Order) {
        self.takes += 1;
        let sent = Instant::now();
        let outcome = send(&self.store, self.takes, order).await;
        let outcome = outcome.map(Taken::into_part);
        let ends = order.lease.map(|lease| sent + lease.min(CENTURY));
        let store = self.store.clone();
        self.at_line(|line| match outcome {
            Ok(part) if part.is_empty() => line.found_nothing(&store, order.lease),
            Ok(part) => {
                if let Some(ends) = ends {
                    line.note_due(ends);
                }
                if part.is_over(Instant::now()) {
                    // A sweep returns it, or has done so: its lease ended before it came.
                    tracing::warn!(
                        queue = store.name(),
                        "a take came after its lease had ended"
                    );
                } else {
                    let rest = line.deal(&store, part);
                    line.returned.extend(rest);
                }
                line.look_again(order.lease);
            }
            Err(error) => line.take_failed(order.lease, &error, queue::is_passing(&error)),
        });
    }

    fn refuse(&self, error: &Error) {
        tracing::debug!(queue = self.store.name(), %error, "cannot take from the queue");
        self.at_line(|line| line.refuse(error));
    }

    fn at_line(&self, step: impl FnOnce(&mut Waiters)) {
        // It is there as long as the taker is.
        let _: Option<()> = self.line(step);
    }

    fn line<R>(&self, step: impl FnOnce(&mut Waiters) -> R) -> Option<R> {
        let mut lines = self.shared().lines.lock();
        lines.get_mut(self.store.name()).map(step)
    }

    fn shared(&self) -> &Arc<Shared> {
        self.store.shared()
    }
}

/// Sends a take and waits for its answer, however late, as long as its connection lasts.
async fn send(store: &Store, number: u64, order: Order) -> Result<Taken> {
    let core = &store.shared().core;
    let lost = core.commands.loss();
    let take = store.clone().take(number, order);
    let mut take = Finish::new(Arc::clone(store.shared()), take);
    if let Ok(outcome) = timeout(core.connector.op_timeout(), &mut take).await {
        return outcome;
    }
    // A connection that is half open is found by a second command without an answer.
    let given_up = async {
        drop(store.probe().await);
        lost.await;
    };
    tokio::select! {
        biased;
        outcome = &mut take => outcome,
        () = given_up => Err(Error::new(ErrorKind::Timeout, store.context("get from"))),
    }
}

impl Drop for Taker {
    /// However the task ends, with its runtime too: those that wait hear that no answer will come.
    fn drop(&mut self) {
        let line = {
            let mut lines = self.shared().lines.lock();
            let is_own = |line: &&mut Waiters| Arc::ptr_eq(&line.bell, &self.bell);
            match lines.get_mut(self.store.name()).filter(is_own) {
                Some(_) => lines.remove(self.store.name()),
                None => None,
            }
        };
        if let Some(line) = line
            && !line.returned.is_empty()
        {
            tracing::error!(queue = self.store.name(), "could not give messages back");
        }
    }
}
