//! [`Pipeline`]: one connection that many callers share. Answers come in the order of the commands.
//!
//! A command on an idle connection is written by its caller at once: no other task runs before the
//! bytes are with the kernel. While answers are outstanding, commands are gathered: a task of the
//! connection, the driver, reads all answers there are, lets the callers run, and writes the
//! commands that they bring with one system call. A task that wakes several callers can take a
//! [`Hold`]: until it is dropped, commands are gathered and not written.
//!
//! Invariants:
//! - Each command gets one result: the answer of the server, an error that says that the command
//!   may have run, or an error that says that it was not sent.
//! - The bytes are sent in the order of `State::sent`: a command is moved there under the lock of
//!   the writer.
//! - A command is not sent if its caller has left, or if it has expired.
//! - After a [`Hold`] is dropped, the driver writes what was gathered.

mod driver;
mod hold;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) use self::driver::OnPush;
pub(crate) use self::hold::Hold;
use self::writer::Writer;
use super::fault::Fault;
use super::resp::{Command, Reply};
use super::socket::Socket;

/// A handle to the connection. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Pipeline {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Std mutexes, because the critical sections contain no await. The lock of the writer is taken
    /// first.
    writer: Mutex<Writer>,
    state: Mutex<State>,
    /// Wakes the driver to write.
    wakeup: Notify,
    /// Ends the driver.
    closed: CancellationToken,
}

#[derive(Debug)]
struct State {
    slots: Slab<Slot>,
    /// Commands that wait to be written, with their slots.
    unsent: VecDeque<(usize, Command)>,
    /// The slots of the commands that wait for an answer, in the order of the commands.
    sent: VecDeque<usize>,
    /// When the driver looks for commands that have expired. No command expires before.
    next_expiry: Instant,
    /// The driver writes soon, so callers only add their commands.
    is_write_planned: bool,
    /// There is a [`Hold`].
    is_held: bool,
    /// No command is accepted any more.
    is_ended: bool,
    /// An error that the server sent before any command, such as at its limit of clients.
    refusal: Option<Fault>,
}

/// The place of one command.
#[derive(Debug)]
struct Slot {
    answer: Answer,
    /// How many confirmations end the command. 0 for a command with an answer.
    confirmations: usize,
    /// How many replies come before the last one.
    replies_before: usize,
    /// Those replies.
    replies: Vec<Reply>,
    /// When the command fails with a timeout.
    until: Option<Instant>,
    /// It is in `unsent` or in `sent`.
    is_queued: bool,
}

enum Answer {
    Waiting(Option<Waker>),
    /// No caller waits.
    Handler(Handler),
    Ready(Result<Reply, Fault>),
    /// The caller has its result, or has left.
    Unwanted,
}

/// Takes the result of a command for which no caller waits. It runs in the task of the connection
/// or in that of another command, so it must not block.
pub(crate) type Handler = Box<dyn FnOnce(Result<Reply, Fault>) + Send>;

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting(_) => "Waiting",
            Self::Handler(_) => "Handler",
            Self::Ready(_) => "Ready",
            Self::Unwanted => "Unwanted",
        })
    }
}

/// How a command ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// When the command fails with a timeout. Without it, the command also outlasts
    /// [`Pipeline::abandon`]: its answer is not lost if the server answers late.
    pub(super) until: Option<Instant>,
    /// For a command with confirmations instead of an answer: how many.
    pub(super) confirmations: usize,
}

impl Pipeline {
    /// Starts on a socket. `on_push` gets the messages that are not answers. It runs in the driver,
    /// so it must not block. `lost` is cancelled when the connection ends. `time_limit` is the
    /// usual time until an [`Expected::until`].
    pub(super) fn start(
        socket: Socket,
        on_push: OnPush,
        lost: CancellationToken,
        time_limit: std::time::Duration,
    ) -> Self {
        let shared = Arc::new(Shared {
            writer: Mutex::new(Writer::new(socket.writer)),
            state: Mutex::new(State::new(Instant::now() + time_limit)),
            wakeup: Notify::new(),
            closed: CancellationToken::new(),
        });
        let driver = driver::drive(
            Arc::clone(&shared),
            socket.reader,
            on_push,
            lost.drop_guard(),
            time_limit,
        );
        drop(tokio::spawn(driver));
        Self { shared }
    }

    /// Sends a command. The future waits for its result. If that is dropped, the command may run or
    /// not.
    ///
    /// It is not an `async fn`, because its future would hold the command to the end.
    pub(super) fn send(&self, command: Command, expected: Expected) -> Result<Pending<'_>, Fault> {
        let slot = self.shared.add(command, expected, Answer::Waiting(None))?;
        Ok(Pending {
            shared: &self.shared,
            slot,
        })
    }

    /// Sends a command for which no caller waits. If it is refused, the handler is dropped.
    pub(super) fn start_command(
        &self,
        command: Command,
        expected: Expected,
        handler: Handler,
    ) -> Result<(), Fault> {
        let handler = Answer::Handler(handler);
        self.shared.add(command, expected, handler).map(drop)
    }

    /// Accepts no further command, and fails those that have a time limit. The others can still be
    /// answered while this handle exists.
    pub(super) fn abandon(&self) {
        self.shared.abandon();
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.shared.closed.cancel();
    }
}

impl Shared {
    /// Adds a command, and writes it if the connection is idle.
    fn add(&self, command: Command, expected: Expected, answer: Answer) -> Result<usize, Fault> {
        let mut state = self.lock();
        if state.is_ended {
            return Err(state.refusal.clone().unwrap_or_else(Fault::lost));
        }
        let slot = state.slots.insert(Slot {
            answer,
            confirmations: expected.confirmations,
            replies_before: command.replies_before,
            replies: Vec::new(),
            until: expected.until,
            is_queued: true,
        });
        state.unsent.push_back((slot, command));
        let sooner = expected.until.filter(|until| *until < state.next_expiry);
        if let Some(until) = sooner {
            state.next_expiry = until;
        }
        let was_planned = state.is_write_planned || state.is_held;
        let is_idle = !was_planned && state.sent.is_empty() && state.unsent.len() == 1;
        state.is_write_planned |= !is_idle;
        drop(state);
        let is_cared_for = was_planned || is_idle && self.try_write();
        if !is_cared_for || sooner.is_some() {
            self.wakeup.notify_one();
        }
        Ok(slot)
    }

    /// Writes all commands if nothing keeps it from that. Else the driver must write.
    fn try_write(&self) -> bool {
        let Ok(mut writer) = self.writer.try_lock() else {
            return false;
        };
        // The no-op waker is safe: if this cannot write all, the driver polls again with its own.
        let mut cx = Context::from_waker(Waker::noop());
        matches!(writer.poll_write(self, &mut cx), Poll::Ready(Ok(())))
    }

    /// Ends all commands. Those that were sent end with the fault.
    fn end(&self, fault: &Fault) {
        // Dropped after the lock: it wakes.
        let mut wakers = Wakers::default();
        let mut state = self.lock();
        state.refuse_commands(&mut wakers);
        while let Some(key) = state.sent.pop_front() {
            state.finish(key, Err(fault.clone()), &mut wakers);
        }
    }

    /// Fails the commands with a time limit. The answers to those that were sent may still come.
    fn abandon(&self) {
        let mut wakers = Wakers::default();
        let mut state = self.lock();
        state.refuse_commands(&mut wakers);
        for place in 0..state.sent.len() {
            let key = state.sent[place];
            if state
                .slots
                .get(key)
                .is_some_and(|slot| slot.until.is_some())
            {
                state.expire(key, Fault::abandoned(), &mut wakers);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(next_expiry: Instant) -> Self {
        Self {
            slots: Slab::new(),
            unsent: VecDeque::new(),
            sent: VecDeque::new(),
            next_expiry,
            is_write_planned: false,
            is_held: false,
            is_ended: false,
            refusal: None,
        }
    }

    /// Accepts no further command, and ends those that were not sent.
    fn refuse_commands(&mut self, wakers: &mut Wakers) {
        self.is_ended = true;
        while let Some((key, _)) = self.unsent.pop_front() {
            self.finish(key, Err(Fault::lost()), wakers);
        }
    }

    /// Gives a command that leaves the queues its result.
    fn finish(&mut self, key: usize, result: Result<Reply, Fault>, wakers: &mut Wakers) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.is_queued = false;
        match &mut slot.answer {
            Answer::Waiting(waker) => {
                wakers.wakers.extend(waker.take());
                slot.answer = Answer::Ready(result);
            }
            // It has expired, and its caller has not looked yet.
            Answer::Ready(_) => {}
            Answer::Handler(_) | Answer::Unwanted => {
                if let Answer::Handler(handler) = self.slots.remove(key).answer {
                    wakers.handlers.push((handler, result));
                }
            }
        }
    }

    /// Gives a command its result before its answer has come. It stays in the queues.
    fn expire(&mut self, key: usize, fault: Fault, wakers: &mut Wakers) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        match std::mem::replace(&mut slot.answer, Answer::Unwanted) {
            Answer::Waiting(waker) => {
                wakers.wakers.extend(waker);
                slot.answer = Answer::Ready(Err(fault));
            }
            Answer::Handler(handler) => wakers.handlers.push((handler, Err(fault))),
            answer => slot.answer = answer,
        }
    }
}

/// The callers that have a result. They are woken when this is dropped, for any reason.
#[derive(Default)]
struct Wakers {
    wakers: Vec<Waker>,
    handlers: Vec<(Handler, Result<Reply, Fault>)>,
}

impl Wakers {
    /// Call it without the lock: a handler may send a command.
    fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
        for (handler, result) in self.handlers.drain(..) {
            handler(result);
        }
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        self.wake();
    }
}

/// Waits for the result of a command.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    shared: &'a Shared,
    slot: usize,
}

impl Future for Pending<'_> {
    type Output = Result<Reply, Fault>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        let Some(slot) = state.slots.get_mut(self.slot) else {
            return Poll::Ready(Err(Fault::abandoned()));
        };
        match &mut slot.answer {
            Answer::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            answer => match std::mem::replace(answer, Answer::Unwanted) {
                Answer::Ready(result) => Poll::Ready(result),
                _ => Poll::Ready(Err(Fault::abandoned())),
            },
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(slot) = state.slots.get_mut(self.slot) {
            if slot.is_queued {
                slot.answer = Answer::Unwanted;
            } else {
                state.slots.remove(self.slot);
            }
        }
    }
}
