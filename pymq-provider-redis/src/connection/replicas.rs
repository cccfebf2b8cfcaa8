//! [`Replicas`]: sends writes, and answers their callers once enough replicas have the data.
//!
//! `WAIT` counts for the last write of its own connection, and nothing behind it on this connection
//! runs before it ends. So these commands have a connection of their own. They go in batches: what
//! comes while a `WAIT` runs goes together, with one `WAIT` behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::commands::Commands;
use super::dialer::{Connection, read};
use super::fault::Fault;
use super::resp::{Command, Reply};

/// The most commands in one batch.
const MAX_BATCH: usize = 1_024;

/// What the caller of a command waits for.
#[derive(Clone, Debug)]
pub(super) enum Waits {
    ForAnswer,
    /// For its answer, beyond its deadline: the answer must not be lost.
    Beyond,
    /// For its answer and for replicas.
    ForReplicas(Replicas),
}

/// Sends the commands of callers in batches. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Replicas {
    /// Bounded. When it is full, callers wait, as they would for the connection.
    writes: mpsc::Sender<Write>,
    timeout: Duration,
}

/// A command of a caller.
#[derive(Debug)]
struct Write {
    connection: Arc<Connection>,
    command: Command,
    until: Instant,
    /// The task is about to send it, or its caller has given up: who sets this first.
    is_taken: Arc<AtomicBool>,
    caller: oneshot::Sender<Result<Reply, Fault>>,
}

impl Commands {
    /// Returns a handle that answers a write once enough replicas have its data. A command that
    /// answers with a number below zero has written nothing.
    pub(crate) fn with_replicas(mut self, replicas: Replicas) -> Self {
        self.op_timeout += replicas.timeout;
        self.waits = Waits::ForReplicas(replicas);
        self
    }
}

impl Replicas {
    /// Waits each time until so many replicas have acknowledged a write, or for the timeout. Spawn
    /// the returned task: when `disconnect` is cancelled, it ends after the batch in flight.
    pub(crate) fn new(
        count: usize,
        timeout: Duration,
        op_timeout: Duration,
        disconnect: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (writes, receiver) = mpsc::channel(MAX_BATCH);
        let batches = Batches {
            count,
            wait: wait(count, timeout),
            time_limit: timeout + op_timeout,
        };
        let task = batches.send(receiver, disconnect);
        (Self { writes, timeout }, task)
    }

    /// Sends a command, and returns its answer when enough replicas have what it wrote.
    pub(super) async fn send(
        &self,
        connection: &Arc<Connection>,
        command: Command,
        until: Instant,
    ) -> Result<Reply, Fault> {
        let (caller, outcome) = oneshot::channel();
        let is_taken = Arc::<AtomicBool>::default();
        let write = Write {
            connection: Arc::clone(connection),
            command,
            until,
            is_taken: Arc::clone(&is_taken),
            caller,
        };
        let answered = timeout_at(until, async {
            self.writes.send(write).await.ok()?;
            outcome.await.ok()
        });
        let fault = match answered.await {
            Ok(Some(outcome)) => return outcome,
            // The provider was closed, or the runtime ends.
            Ok(None) => Fault::abandoned().into_closed(),
            Err(_elapsed) => Fault::timeout(),
        };
        Err(if is_taken.swap(true, Ordering::Relaxed) {
            fault
        } else {
            fault.with_known_outcome()
        })
    }
}

/// Returns the command that answers how many replicas have what its connection wrote.
pub(crate) fn wait(count: usize, timeout: Duration) -> Command {
    // Zero would wait without a limit.
    let millis = timeout.as_nanos().div_ceil(1_000_000).max(1);
    Command::new(["WAIT", &count.to_string(), &millis.to_string()])
}

/// Sends one batch after the other on each connection: the server would not run a second one before
/// the `WAIT` of the first has ended. A cluster has a connection to each node.
struct Batches {
    count: usize,
    wait: Command,
    /// How long the server may take for the `WAIT`.
    time_limit: Duration,
}

impl Batches {
    async fn send(self, mut receiver: mpsc::Receiver<Write>, disconnect: CancellationToken) {
        let mut waiting = Vec::new();
        let mut in_flight = FuturesUnordered::new();
        let mut busy: Vec<Arc<Connection>> = Vec::new();
        let mut last_count = 1;
        loop {
            let has_room = waiting.len() < MAX_BATCH;
            tokio::select! {
                () = disconnect.cancelled() => break,
                Some(connection) = in_flight.next() => {
                    busy.retain(|busy| !Arc::ptr_eq(busy, &connection));
                }
                count = receiver.recv_many(&mut waiting, MAX_BATCH), if has_room => {
                    if count == 0 {
                        break;
                    }
                }
            }
            // Callers that were answered together come back together. Let them run, and those that
            // they have woken.
            if waiting.len() > 1 || last_count > 1 {
                for _ in 0..2 {
                    yield_now().await;
                }
                while waiting.len() < MAX_BATCH
                    && let Ok(write) = receiver.try_recv()
                {
                    waiting.push(write);
                }
            }
            let is_busy = |write: &Write| {
                let mut busy = busy.iter();
                busy.any(|busy| Arc::ptr_eq(busy, &write.connection))
            };
            let (rest, mut ready): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_busy);
            waiting = rest;
            while let Some(first) = ready.first() {
                let connection = Arc::clone(&first.connection);
                let is_there = |write: &Write| Arc::ptr_eq(&write.connection, &connection);
                let (batch, others): (Vec<_>, Vec<_>) = ready.into_iter().partition(is_there);
                ready = others;
                last_count = batch.len();
                busy.push(Arc::clone(&connection));
                let batches = &self;
                in_flight.push(async move {
                    batches.send_batch(&connection, batch).await;
                    connection
                });
            }
        }
        while in_flight.next().await.is_some() {}
    }

    /// Sends a batch and answers its callers.
    async fn send_batch(&self, connection: &Arc<Connection>, batch: Vec<Write>) {
        // One write carries them all.
        let hold = connection.hold();
        let mut sent = Vec::with_capacity(batch.len());
        for write in batch {
            if write.is_taken.swap(true, Ordering::Relaxed) || write.caller.is_closed() {
                continue;
            }
            match connection.send(write.command, write.until) {
                Ok(pending) => sent.push((pending, write.caller)),
                Err(fault) => answer(write.caller, Err(fault)),
            }
        }
        if sent.is_empty() {
            return;
        }
        let wait = connection.send(self.wait.clone(), Instant::now() + self.time_limit);
        drop(hold);
        let mut written = Vec::with_capacity(sent.len());
        for (pending, caller) in sent {
            match pending.await {
                Ok(reply) if has_written(&reply) => written.push((reply, caller)),
                outcome => {
                    connection.note(&outcome);
                    answer(caller, outcome);
                }
            }
        }
        let replicas = match wait {
            Ok(pending) => pending.await,
            Err(fault) => Err(fault),
        };
        connection.note(&replicas);
        let fault = match replicas.and_then(read) {
            Ok(replicas) if replicas >= self.count => None,
            Ok(replicas) => Some(Fault::not_replicated(replicas, self.count)),
            Err(fault) => Some(fault.after_write()),
        };
        for (reply, caller) in written {
            answer(caller, fault.clone().map_or(Ok(reply), Err));
        }
    }
}

/// Tells whether a command has written something. If not, its answer does not wait.
fn has_written(reply: &Reply) -> bool {
    !matches!(reply, Reply::Error(_) | Reply::Int(..=-1))
}

fn answer(caller: oneshot::Sender<Result<Reply, Fault>>, outcome: Result<Reply, Fault>) {
    // It fails if the caller has left.
    drop(caller.send(outcome));
}
