//! [`QueueWatcher`]: waits for a message without taking it, on a connection of its own.

use std::time::Duration;

use futures_util::future::BoxFuture;
use pymq_core::{Error, ErrorKind};
use tokio::time::{sleep, timeout};

use super::queue::Queue;
use crate::connection::{self, Command, Connection, Fault, Remedy, Reply};
use crate::core::HealthReporter;

/// How long one command blocks. Bounded, so that each answer also proves that the server is alive.
const BLOCK_LIMIT: Duration = Duration::from_secs(1);

/// How late its answer may be before the connection is dropped.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// The result of watching a queue.
#[derive(Debug)]
pub(super) enum Observation {
    /// There are messages, or there may be.
    MayHaveMessages,
    /// There were no messages.
    Empty,
    /// The queue cannot be watched for now. Only a take tells.
    Unavailable,
    /// The queue cannot be watched.
    Failed(Error),
}

/// Watches one queue.
pub(super) struct QueueWatcher {
    queue: Queue,
    connection: Option<Connection>,
    /// The command in flight. It goes on while no caller waits, until the connection is dropped.
    peek: Option<BoxFuture<'static, PeekOutcome>>,
    failures: u32,
    health: HealthReporter,
}

/// The result of a command, and its connection if it is still usable.
type PeekOutcome = (Option<Connection>, Result<bool, Fault>);

impl QueueWatcher {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            connection: None,
            peek: None,
            failures: 0,
            health: reporter(&queue),
            queue,
        }
    }

    /// Waits about a second for a message.
    ///
    /// Cancel safe: the next call continues with the command in flight.
    pub(super) async fn next(&mut self) -> Observation {
        let peek = self.peek.get_or_insert_with(|| {
            let failures = self.failures;
            Box::pin(peek(self.queue.clone(), self.connection.take(), failures))
        });
        let (connection, outcome) = peek.await;
        self.peek = None;
        self.connection = connection;
        self.failures = if outcome.is_ok() {
            0
        } else {
            self.failures.saturating_add(1)
        };
        match outcome {
            Ok(is_something) => {
                self.health.up();
                if is_something {
                    Observation::MayHaveMessages
                } else {
                    Observation::Empty
                }
            }
            // Redis refuses the blocking command because it may write. A take passes, so try one.
            Err(fault) if fault.kind == ErrorKind::OutOfMemory => Observation::MayHaveMessages,
            Err(fault) if matches!(fault.kind, ErrorKind::Disconnected | ErrorKind::Timeout) => {
                if self.failures == 1 {
                    tracing::warn!(
                        queue = self.queue.name(),
                        "cannot watch the queue, polling it until that works: {fault}"
                    );
                }
                self.health.down(fault);
                Observation::Unavailable
            }
            Err(fault) => Observation::Failed(self.queue.fault("get from", fault)),
        }
    }

    /// Closes the connection.
    pub(super) fn disconnect(&mut self) {
        self.peek = None;
        self.connection = None;
        self.health = reporter(&self.queue);
    }
}

/// Returns a new reporter: a connection that no caller needs does not count as missing.
fn reporter(queue: &Queue) -> HealthReporter {
    queue.shared().core.health_reporter("waiting")
}

async fn peek(queue: Queue, connection: Option<Connection>, failures: u32) -> PeekOutcome {
    let connector = &queue.shared().core.connector;
    let connection = match connection.filter(|connection| !connection.lost.is_cancelled()) {
        Some(connection) => connection,
        None => match connector.connect_for_blocking().await {
            Ok(connection) => connection,
            Err(fault) => {
                sleep(connection::pause(failures)).await;
                return (None, Err(fault));
            }
        },
    };
    let list = queue.list();
    let limit = BLOCK_LIMIT.as_secs().to_string();
    let peek = Command::new(["BLMOVE", &list, &list, "RIGHT", "RIGHT", &limit]);
    let answer = timeout(BLOCK_LIMIT + ANSWER_GRACE, connection.query::<Reply>(peek)).await;
    let fault = match answer {
        Ok(Ok(reply)) => return (Some(connection), Ok(reply != Reply::Null)),
        Ok(Err(fault)) => fault,
        Err(_elapsed) => Fault::timeout(),
    };
    if fault.kind == ErrorKind::OutOfMemory {
        let pause = Duration::from_millis(50)
            + Duration::from_millis(200).mul_f64(connection::random_fraction());
        sleep(pause).await;
    } else {
        sleep(connection::pause(failures)).await;
    }
    let is_good = !matches!(fault.remedy, Remedy::Lost | Remedy::Reconnect);
    (is_good.then_some(connection), Err(fault))
}
