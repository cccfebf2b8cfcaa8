//! Gathers the settlements of one queue into few calls of the provider.
//!
//! One call is under way at a time. A settlement that finds none is sent at once. Settlements that
//! arrive while one is under way are sent together in the next call.
//!
//! No task is spawned: each waiting caller polls the call under way, even if its own settlements
//! are not in it. So a caller that is dropped, or that is no longer polled, delays no other caller.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::Notify;
use tokio::sync::oneshot::{self, Receiver, Sender, error::TryRecvError};

use super::tasks::Tasks;
use crate::error::Result;
use crate::isolation::isolate;
use crate::provider::{Receipt, Settle};

/// A call gathers no more settlements when it has this many. Those of one caller are not split.
const MAX_GATHERED: usize = 256;

/// What a caller wants to settle, in order.
pub(crate) type Settlements = Vec<(Receipt, Settle)>;

/// The answer to each settlement, in order.
pub(crate) type Answers = Vec<Result<()>>;

/// A call of the provider, which answers each of its settlements.
pub(super) type Answering = Pin<Box<dyn Future<Output = Answers> + Send>>;

/// The settlements of one queue, from their callers to the provider.
#[derive(Debug, Default)]
pub(super) struct Settler {
    /// A std mutex: it is held for one poll of the call, never across an await.
    state: Mutex<State>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct State {
    /// The callers that wait for the next call, in the order in which they came.
    gathered: VecDeque<Caller>,
    under_way: Option<Call>,
}

/// A caller that waits for the next call.
struct Caller {
    settlements: Settlements,
    answers: Sender<Answers>,
}

struct Call {
    answering: Answering,
    /// Each caller, with the number of its settlements.
    callers: Vec<(usize, Sender<Answers>)>,
}

/// Wakes all waiting callers: when the call under way can make progress, and when it has ended.
#[derive(Debug, Default)]
struct Progress(Notify);

impl Wake for Progress {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_waiters();
    }
}

impl Settler {
    /// Settles, and returns one answer for each settlement. Returns `None` if the runtime of the
    /// bus has ended, or if the provider panicked.
    ///
    /// `tasks` are those of the bus. `start` creates the call of the provider. It may be called for
    /// the settlements of others.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, its settlements may or may not be sent. A call that has lost
    /// all its callers is dropped.
    pub(super) async fn settle(
        &self,
        tasks: &Tasks,
        settlements: Settlements,
        start: impl Fn(Settlements) -> Answering,
    ) -> Option<Answers> {
        let (answers, answered) = oneshot::channel();
        self.lock().gathered.push_back(Caller {
            settlements,
            answers,
        });
        let mut waiting = Waiting {
            settler: self,
            answered,
            is_over: false,
        };
        loop {
            // Before the poll of the call, so that no progress is missed.
            let progress = self.progress.0.notified();
            if tasks.is_orphaned() {
                return None;
            }
            if waiting.answered.is_empty() {
                self.drive(tasks, &start);
            }
            match waiting.answered.try_recv() {
                Ok(answers) => {
                    waiting.is_over = true;
                    return Some(answers);
                }
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) => progress.await,
            }
        }
    }

    /// Polls the call under way. When it ends, starts and polls the next one.
    fn drive(&self, tasks: &Tasks, start: impl Fn(Settlements) -> Answering) {
        let waker = Waker::from(Arc::clone(&self.progress));
        let mut cx = Context::from_waker(&waker);
        // The timers of a call belong to the runtime of the bus, not to that of the first caller.
        let _runtime = tasks.enter();
        let mut state = self.lock();
        let mut has_ended = false;
        while let Some(mut call) = state.under_way.take().or_else(|| state.next_call(&start)) {
            match isolate(|| call.answering.as_mut().poll(&mut cx)) {
                Ok(Poll::Pending) => {
                    state.under_way = Some(call);
                    break;
                }
                Ok(Poll::Ready(answers)) => call.answer(answers),
                Err(panic) => tracing::error!(panic, "a provider panicked in a settlement"),
            }
            has_ended = true;
        }
        drop(state);
        if has_ended {
            self.progress.0.notify_waiters();
        }
    }

    /// Drops the call under way if all its callers are gone. Another caller starts the next one.
    fn drop_abandoned_call(&self) {
        let abandoned = self.lock().under_way.take_if(|call| call.is_abandoned());
        if abandoned.is_some() {
            drop(abandoned);
            self.progress.0.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_call(&mut self, start: impl Fn(Settlements) -> Answering) -> Option<Call> {
        let (mut settlements, mut callers) = (Vec::new(), Vec::new());
        while settlements.len() < MAX_GATHERED
            && let Some(mut caller) = self.gathered.pop_front()
        {
            if caller.answers.is_closed() {
                continue;
            }
            callers.push((caller.settlements.len(), caller.answers));
            if settlements.is_empty() {
                settlements = caller.settlements;
            } else {
                settlements.append(&mut caller.settlements);
            }
        }
        (!callers.is_empty()).then(|| Call {
            answering: start(settlements),
            callers,
        })
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("gathered", &self.gathered.len())
            .field("is_under_way", &self.under_way.is_some())
            .finish()
    }
}

impl Call {
    fn answer(self, answers: Answers) {
        let mut answers = answers.into_iter();
        for (count, caller) in self.callers {
            // A caller that is gone needs no answer.
            drop(caller.send(answers.by_ref().take(count).collect()));
        }
    }

    fn is_abandoned(&self) -> bool {
        self.callers.iter().all(|(_, caller)| caller.is_closed())
    }
}

/// A caller until it has its answers.
struct Waiting<'a> {
    settler: &'a Settler,
    answered: Receiver<Answers>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.answered.close();
            self.settler.drop_abandoned_call();
        }
    }
}
