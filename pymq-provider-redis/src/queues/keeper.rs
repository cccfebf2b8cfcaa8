//! The keeper of a queue: the one task in this process that watches a queue for all who wait at it, takes for them,
//! and sweeps it while this process takes part in it.
//!
//! **Waiting never owns a message.** The keeper watches with a command that moves the next message from the front to
//! the front: it blocks until there is one, and changes nothing. Only then does it take, for as many as wait, and what
//! it cannot hand over goes back (see [`Taken`]). So a waiter can be dropped, a connection cut, and a command
//! abandoned at any point.
//!
//! No wake-up is lost: a waiter has found the queue empty before it sits down, and while anybody sits the keeper is
//! either about to watch or watching, which answers at once if there is a message.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pymq::provider::GetOptions;
use pymq::{Error, ErrorKind, Result};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::args::CENTURY;
use super::store::{self, Store};
use super::taken::Taken;
use super::watch::{Seen, Watch};
use crate::connection;

/// A queue is swept at least this often while it has a keeper, a little earlier at random.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// It is swept when something is due, but not more often than this.
const SWEEP_GAP: Duration = Duration::from_millis(20);

/// The keeper and its connection stay so long after they were last needed.
const LINGER: Duration = Duration::from_secs(3);

/// Where those who wait sit down, one for each queue that has a keeper.
#[derive(Debug, Default)]
pub(super) struct Desks(Mutex<HashMap<Arc<str>, Desk>>);

#[derive(Debug)]
struct Desk {
    waiters: VecDeque<Waiter>,
    /// When something is due or a lease ends, as far as we know.
    due: Option<Instant>,
    /// When this process last took part in the queue.
    touched: Instant,
    /// Rung when the keeper is to look at the desk.
    bell: Arc<Notify>,
}

#[derive(Debug)]
struct Waiter {
    max: usize,
    lease: Option<Duration>,
    answer: oneshot::Sender<Result<Taken>>,
}

/// Notes that this process takes part in the queue.
pub(super) fn touch(store: &Store) {
    at_desk(store, |_| ());
}

/// Notes that something of this queue is due, or a lease ends, after a while.
pub(super) fn note_due(store: &Store, after: Duration) {
    let due = Instant::now() + after.min(CENTURY);
    at_desk(store, |desk| desk.note_due(due));
}

/// Waits until there is something to take, and takes it. Comes back empty at the deadline.
pub(super) async fn wait(
    store: &Store,
    opts: &GetOptions,
    deadline: Option<Instant>,
) -> Result<Taken> {
    let (answer, mut served) = oneshot::channel();
    let waiter = Waiter {
        max: opts.max.get(),
        lease: opts.lease,
        answer,
    };
    at_desk(store, |desk| {
        desk.waiters.push_back(waiter);
        desk.bell.notify_one();
    });
    let closed = || Error::new(ErrorKind::Closed, store.context("get from"));
    let end = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        answer = &mut served => return answer.unwrap_or_else(|_| Err(closed())),
        () = store.shared().core.close.cancelled() => return Err(closed()),
        () = end => {}
    }
    // What was handed over at the last moment counts.
    served.close();
    served
        .try_recv()
        .unwrap_or_else(|_| Ok(Taken::removed(store.clone(), Vec::new())))
}

/// Runs a step at the desk of a queue, which has a keeper from then on.
fn at_desk<R>(store: &Store, step: impl FnOnce(&mut Desk) -> R) -> R {
    let shared = store.shared();
    let mut desks = shared.desks.lock();
    if !desks.contains_key(store.name()) {
        let desk = Desk {
            waiters: VecDeque::new(),
            due: None,
            touched: Instant::now(),
            bell: Arc::default(),
        };
        shared.spawn(Keeper::new(store.clone(), Arc::clone(&desk.bell)).keep());
        desks.insert(store.name().into(), desk);
    }
    let desk = desks
        .get_mut(store.name())
        .expect("inserted above if it was missing");
    desk.touched = Instant::now();
    step(desk)
}

impl Desks {
    /// A std mutex: the critical sections are a few moves, and never an await.
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Desk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn note_due(&mut self, due: Instant) {
        // Most leases end later than the first one: the keeper need not hear of them.
        if self.due.is_none_or(|known| due < known) {
            self.due = Some(due);
            self.bell.notify_one();
        }
    }

    fn forget_the_gone(&mut self) {
        self.waiters.retain(|waiter| !waiter.answer.is_closed());
    }
}

struct Keeper {
    store: Store,
    bell: Arc<Notify>,
    watch: Watch,
    /// When the queue was last swept.
    swept: Option<Instant>,
    sweep_again: Instant,
    /// When somebody was last seen waiting.
    waited: Instant,
}

impl Keeper {
    fn new(store: Store, bell: Arc<Notify>) -> Self {
        let now = Instant::now();
        let watch = Watch::new(store.clone());
        Self {
            store,
            bell,
            watch,
            swept: None,
            sweep_again: now,
            waited: now,
        }
    }

    /// Keeps the queue until nobody needs it.
    async fn keep(mut self) {
        let close = self.store.shared().core.close.clone();
        let bell = Arc::clone(&self.bell);
        loop {
            // The desk went under the lock; by now somebody else may have one there, with a keeper of its own.
            let Some((is_awaited, sweep_at)) = self.look_at_desk() else {
                return;
            };
            tokio::select! {
                biased;
                () = close.cancelled() => break,
                () = bell.notified() => {}
                () = sleep_until(sweep_at) => self.sweep().await,
                seen = self.watch.next(), if is_awaited => match seen {
                    Seen::Something => self.serve().await,
                    Seen::Nothing => {}
                    Seen::Fault(error) => self.refuse(&error),
                },
            }
        }
        // Whoever still sits there hears that nobody will answer.
        self.shared().desks.lock().remove(self.store.name());
    }

    /// Tells whether anybody waits and when to sweep next; none, and the desk is gone, when the queue needs no keeper.
    fn look_at_desk(&mut self) -> Option<(bool, Instant)> {
        let now = Instant::now();
        let shared = Arc::clone(self.shared());
        let mut desks = shared.desks.lock();
        let desk = desks.get_mut(self.store.name())?;
        desk.forget_the_gone();
        let is_awaited = !desk.waiters.is_empty();
        if is_awaited {
            self.waited = now;
        }
        if !is_awaited && now >= self.waited + LINGER {
            self.watch.hang_up();
            if desk.due.is_none() && self.swept.is_some() && now >= desk.touched + LINGER {
                desks.remove(self.store.name());
                return None;
            }
        }
        let due = desk
            .due
            .map(|due| self.swept.map_or(due, |swept| due.max(swept + SWEEP_GAP)));
        Some((
            is_awaited,
            due.map_or(self.sweep_again, |due| due.min(self.sweep_again)),
        ))
    }

    async fn sweep(&mut self) {
        // Taken out, so that what is noted during the sweep is not lost under its answer.
        let known = self.at_desk(|desk| desk.due.take()).flatten();
        let outcome = self.store.sweep().await;
        let now = Instant::now();
        self.swept = Some(now);
        self.sweep_again = now + SWEEP_EVERY.mul_f64(1.0 - connection::random_fraction() / 4.0);
        let due = match &outcome {
            Ok(swept) => swept.next.map(|next| now + next),
            Err(_) => known,
        };
        self.at_desk(|desk| desk.due = desk.due.into_iter().chain(due).min());
        match outcome {
            Ok(swept) if swept.moved > 0 => self.serve().await,
            Ok(_) => {}
            Err(error) if store::is_passing(&error) => tracing::debug!(%error, "cannot sweep"),
            Err(error) => self.refuse(&error),
        }
    }

    /// Takes for those who wait, until they are served or nothing is left.
    async fn serve(&mut self) {
        while let Some(opts) = self.order() {
            match self.store.take(opts.max, opts.lease).await {
                Ok(taken) if taken.is_empty() => return,
                Ok(taken) => self.deal(taken, opts.lease),
                Err(error) if store::is_passing(&error) => return,
                Err(error) => self.refuse(&error),
            }
        }
    }

    /// Returns what to take for all who wait for the same as the first.
    fn order(&self) -> Option<GetOptions> {
        self.at_desk(|desk| {
            desk.forget_the_gone();
            let lease = desk.waiters.front()?.lease;
            let alike = desk.waiters.iter().filter(|waiter| waiter.lease == lease);
            let max = alike.fold(0_usize, |sum, waiter| sum.saturating_add(waiter.max));
            let mut opts = GetOptions::default().max(max.try_into().ok()?);
            opts.lease = lease;
            Some(opts)
        })
        .flatten()
    }

    /// Hands out what was taken, first come, first served. What nobody wants any more goes back as it is dropped.
    fn deal(&self, mut taken: Taken, lease: Option<Duration>) {
        if let Some(lease) = lease {
            let ends = Instant::now() + lease.min(CENTURY);
            self.at_desk(|desk| desk.note_due(ends));
        }
        while !taken.is_empty()
            && let Some(waiter) = self.next_waiter(lease)
        {
            let part = taken.split(waiter.max);
            if let Err(Ok(part)) = waiter.answer.send(Ok(part)) {
                taken.rejoin(part);
            }
        }
    }

    fn next_waiter(&self, lease: Option<Duration>) -> Option<Waiter> {
        self.at_desk(|desk| {
            let at = desk
                .waiters
                .iter()
                .position(|waiter| waiter.lease == lease)?;
            desk.waiters.remove(at)
        })
        .flatten()
    }

    /// Tells all who wait that it will not work.
    fn refuse(&self, error: &Error) {
        tracing::debug!(%error, "cannot keep the queue");
        let waiters = self
            .at_desk(|desk| std::mem::take(&mut desk.waiters))
            .unwrap_or_default();
        for waiter in waiters {
            // It may have gone meanwhile.
            drop(waiter.answer.send(Err(error.clone())));
        }
    }

    /// Runs a step at the desk, which is there as long as the keeper is.
    fn at_desk<R>(&self, step: impl FnOnce(&mut Desk) -> R) -> Option<R> {
        self.shared()
            .desks
            .lock()
            .get_mut(self.store.name())
            .map(step)
    }

    fn shared(&self) -> &Arc<Shared> {
        self.store.shared()
    }
}
