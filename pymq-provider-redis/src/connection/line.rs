//! [`Line`]: a connection for commands that many tasks share. A command that is asked alone goes out at once; what is
//! asked while others are under way is gathered into pipelines, which cost both sides less than as many single
//! commands.
//!
//! Invariant: each command is answered once: with the answer of the server, with an error that says it may have run, or
//! with one that says it was not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::connector::Live;
use super::fault::Fault;
use super::gather::{BATCH, gather};

/// A connection, and the way to the task that gathers.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) live: Live,
    /// Bounded: when it is full, who asks waits, within the deadline he has anyway.
    waiting: mpsc::Sender<Waiting>,
    /// How many commands are asked and not answered yet.
    asked: AtomicUsize,
}

/// A command that waits to be sent, and who waits for its answer.
#[derive(Debug)]
struct Waiting {
    cmd: Cmd,
    answer: oneshot::Sender<Result<Value, Fault>>,
}

impl Line {
    /// Puts a connection to work. The future is its writer, to be run until the connection is lost; dropping it answers
    /// whatever is under way.
    pub(super) fn new(connection: Live) -> (Arc<Self>, impl Future<Output = ()> + Send) {
        let (waiting, given) = mpsc::channel(BATCH * 4);
        let wire = connection.connection.clone();
        let writer = gather(given, CancellationToken::new(), move |batch| {
            send(wire.clone(), batch)
        });
        let line = Self {
            live: connection,
            waiting,
            asked: AtomicUsize::new(0),
        };
        (Arc::new(line), writer)
    }

    /// Runs a command. Dropped early, it runs or not.
    pub(super) async fn ask(&self, cmd: Cmd) -> Result<Value, Fault> {
        let (_asked, is_alone) = Asked::begin(&self.asked);
        // Nothing is under way that it could overtake.
        if is_alone {
            return self.ask_directly(&cmd).await;
        }
        let (answer, answered) = oneshot::channel();
        match self.waiting.try_send(Waiting { cmd, answer }) {
            Ok(()) => {}
            // Rare, so kept out of the future: what a command takes of memory while it waits is mostly that.
            Err(TrySendError::Full(waiting)) => Box::pin(self.waiting.send(waiting))
                .await
                .map_err(|_| Fault::not_sent())?,
            Err(TrySendError::Closed(_)) => return Err(Fault::not_sent()),
        }
        answered.await.unwrap_or_else(|_| Err(Fault::not_sent()))
    }

    /// Runs a command by itself: its answer is not lost when the connection is given up and the server answers after
    /// all.
    pub(super) async fn ask_directly(&self, cmd: &Cmd) -> Result<Value, Fault> {
        if self.live.lost.is_cancelled() {
            return Err(Fault::not_sent());
        }
        let mut connection = self.live.connection.clone();
        cmd.query_async(&mut connection)
            .await
            .map_err(Fault::of_command)
    }
}

/// Counts a command while it is under way.
struct Asked<'a>(&'a AtomicUsize);

impl<'a> Asked<'a> {
    fn begin(asked: &'a AtomicUsize) -> (Self, bool) {
        // Relaxed: a wrong guess costs a detour, nothing else.
        let is_alone = asked.fetch_add(1, Ordering::Relaxed) == 0;
        (Self(asked), is_alone)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends one pipeline and hands out its answers.
async fn send(mut connection: MultiplexedConnection, mut batch: Vec<Waiting>) {
    // Whose asker is gone is not sent at all.
    batch.retain(|waiting| !waiting.answer.is_closed());
    if batch.is_empty() {
        return;
    }
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    let mut sent = Sent(Vec::with_capacity(batch.len()));
    for Waiting { cmd, answer } in batch {
        pipeline.add_command(cmd);
        sent.0.push(answer);
    }
    let count = sent.0.len();
    let answers = connection.send_packed_commands(&pipeline, 0, count).await;
    match answers {
        Ok(values) => {
            for (answer, value) in sent.0.drain(..).zip(values) {
                // Who asked may be gone by now.
                drop(answer.send(value.extract_error().map_err(Fault::of_command)));
            }
        }
        Err(error) => sent.fail(&Fault::of_command(error)),
    }
}

/// Who waits for the answers to a pipeline. Dropped, they hear that their commands may have run.
struct Sent(Vec<oneshot::Sender<Result<Value, Fault>>>);

impl Sent {
    fn fail(&mut self, fault: &Fault) {
        for answer in self.0.drain(..) {
            drop(answer.send(Err(fault.clone())));
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.fail(&Fault::given_up());
    }
}
