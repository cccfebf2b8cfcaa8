//! [`BatchedConnection`]: a connection for commands that many tasks share. A command that is alone
//! is sent at once. Commands that arrive while others are in flight are gathered into pipelines: a
//! pipeline costs the client and the server less than single commands.
//!
//! Invariant: each command gets one answer: the answer of the server, an error that says that the
//! command may have run, or an error that says that it was not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::batches::{MAX_BATCH, send_in_batches};
use super::connector::Connection;
use super::fault::Fault;

/// A connection, and the channel to the task that gathers commands.
#[derive(Debug)]
pub(super) struct BatchedConnection {
    pub(super) inner: Connection,
    /// Bounded. When it is full, callers wait, within their deadline.
    queue: mpsc::Sender<PendingCommand>,
    /// How many commands are in flight: started and not answered yet.
    in_flight: AtomicUsize,
}

/// A command that waits to be sent, and the channel for its answer.
#[derive(Debug)]
struct PendingCommand {
    cmd: Cmd,
    answer: oneshot::Sender<Result<Value, Fault>>,
}

impl BatchedConnection {
    /// Starts on a connection. The returned future is the writer: run it until the connection is
    /// lost. Dropping the writer answers all commands in flight.
    pub(super) fn new(connection: Connection) -> (Arc<Self>, impl Future<Output = ()> + Send) {
        let (queue, receiver) = mpsc::channel(MAX_BATCH * 4);
        let multiplexed = connection.multiplexed.clone();
        let writer = send_in_batches(receiver, CancellationToken::new(), move |batch| {
            send_batch(multiplexed.clone(), batch)
        });
        let batched = Self {
            inner: connection,
            queue,
            in_flight: AtomicUsize::new(0),
        };
        (Arc::new(batched), writer)
    }

    /// Runs a command. If the future is dropped, the command may run or not.
    pub(super) async fn send(&self, cmd: Cmd) -> Result<Value, Fault> {
        let (_in_flight, is_alone) = InFlight::begin(&self.in_flight);
        // No other command is in flight, so the order is kept.
        if is_alone {
            return self.send_alone(&cmd).await;
        }
        let (answer, answered) = oneshot::channel();
        match self.queue.try_send(PendingCommand { cmd, answer }) {
            Ok(()) => {}
            // Rare, so boxed: a waiting command's memory is mostly this future.
            Err(TrySendError::Full(pending)) => Box::pin(self.queue.send(pending))
                .await
                .map_err(|_| Fault::not_sent())?,
            Err(TrySendError::Closed(_)) => return Err(Fault::not_sent()),
        }
        answered.await.unwrap_or_else(|_| Err(Fault::not_sent()))
    }

    /// Runs a command outside of the pipelines. Its answer is not lost when the connection is
    /// abandoned and the server answers later.
    pub(super) async fn send_alone(&self, cmd: &Cmd) -> Result<Value, Fault> {
        if self.inner.lost.is_cancelled() {
            return Err(Fault::not_sent());
        }
        let mut multiplexed = self.inner.multiplexed.clone();
        cmd.query_async(&mut multiplexed)
            .await
            .map_err(Fault::of_command)
    }
}

/// Counts a command while it is in flight.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn begin(in_flight: &'a AtomicUsize) -> (Self, bool) {
        // Relaxed: a wrong guess only costs the way through the channel.
        let is_alone = in_flight.fetch_add(1, Ordering::Relaxed) == 0;
        (Self(in_flight), is_alone)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends one pipeline and distributes its answers.
async fn send_batch(mut connection: MultiplexedConnection, mut batch: Vec<PendingCommand>) {
    // A command is not sent if its caller has dropped the future.
    batch.retain(|pending| !pending.answer.is_closed());
    if batch.is_empty() {
        return;
    }
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    let mut sent = PendingAnswers(Vec::with_capacity(batch.len()));
    for PendingCommand { cmd, answer } in batch {
        pipeline.add_command(cmd);
        sent.0.push(answer);
    }
    let count = sent.0.len();
    let answers = connection.send_packed_commands(&pipeline, 0, count).await;
    match answers {
        Ok(values) => {
            for (answer, value) in sent.0.drain(..).zip(values) {
                // The caller may have dropped its future meanwhile.
                drop(answer.send(value.extract_error().map_err(Fault::of_command)));
            }
        }
        Err(error) => sent.fail(&Fault::of_command(error)),
    }
}

/// The callers that wait for the answers to a pipeline. Dropping this tells them that their
/// commands may have run.
struct PendingAnswers(Vec<oneshot::Sender<Result<Value, Fault>>>);

impl PendingAnswers {
    fn fail(&mut self, fault: &Fault) {
        for answer in self.0.drain(..) {
            drop(answer.send(Err(fault.clone())));
        }
    }
}

impl Drop for PendingAnswers {
    fn drop(&mut self) {
        self.fail(&Fault::abandoned());
    }
}
