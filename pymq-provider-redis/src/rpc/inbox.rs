//! The inbox of a process: the list for the answers to its calls. While calls wait, and for 2 s
//! more, one command waits for answers, on a connection of its own. After that the inbox is watched:
//! an answer may still come after its caller has left, and is counted.
//!
//! The task of the connection itself gives the answers to their callers, and sends the next
//! command. Another task keeps the connection up.

use std::future::{pending, poll_fn};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use pymq_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::calls::Shared;
use super::envelope::read_response;
use crate::connection::{Command, Connection, Fault, Remedy, Reply, Version, pause, read};

/// How long the server blocks while it waits for an answer. A connection counts as dead after twice
/// this time. By then the server has ended the command, so it cannot take later answers.
const BLOCK_LIMIT: Duration = Duration::from_secs(2);

/// The most answers taken at once.
const MAX_ANSWERS: usize = 256;

impl Shared {
    /// Takes answers until the provider is closed.
    pub(super) async fn drain(self: Arc<Self>) {
        let ending = EndCallsOnDrop(&self);
        tokio::select! {
            () = self.core.close.cancelled() => {}
            () = self.keep_draining() => {}
        }
        drop(ending);
        let list = || self.core.keys.name(&self.inbox);
        let commands = self.core.commands.of(list);
        if commands.is_up() {
            let del = || Command::new(["DEL", &list()]);
            let deleted: Result<()> = commands.query(|| "redis: close".to_owned(), del).await;
            if let Err(error) = deleted {
                tracing::debug!(queue = self.inbox, %error, "cannot delete the inbox, it expires");
            }
        }
    }

    async fn keep_draining(self: &Arc<Self>) {
        let mut last = None;
        let mut health = self.core.health_reporter("replies");
        let connector = self.core.connector.of(|| self.core.keys.name(&self.inbox));
        loop {
            let report = |fault| health.down(fault);
            let connection = connector.reconnect(last, drop, report).await;
            health.up();
            let connection = Arc::new(connection);
            let Some(fault) = self.take_from(&connection).await else {
                drop(connection);
                last = None;
                self.rest().await;
                continue;
            };
            tracing::warn!(
                queue = self.inbox,
                "the connection for replies is lost, connecting again: {fault}"
            );
            if fault.remedy == Remedy::Reconnect {
                connection.abandon();
            } else {
                connection.lost.cancel();
            }
            connector.note(&fault);
            health.down(fault);
            last = Some(connection.history());
        }
    }

    /// Waits for the next call, or for an answer that comes too late.
    async fn rest(&self) {
        let late = async {
            match self.watch.begin().await {
                Ok(false) => self.watch.ended().await,
                Ok(true) => {}
                // The next call takes the answers that come too late.
                Err(_) => pending().await,
            }
        };
        let called = async {
            // A call that is over may have left its notification.
            while self.is_idle() {
                self.called.notified().await;
            }
        };
        tokio::select! {
            () = called => {}
            () = late => {}
        }
        self.watch.end();
    }

    /// Takes answers from one connection as long as it is usable and calls wait. Returns why it is
    /// not usable.
    async fn take_from(self: &Arc<Self>, connection: &Arc<Connection>) -> Option<Fault> {
        let mut failures = 0;
        loop {
            let (fault, has_taken) = if self.core.version >= Version(7, 0) {
                self.take_until_fault(connection).await
            } else {
                self.take_in_two_steps(connection).await
            };
            if has_taken {
                failures = 0;
            }
            let fault = fault?;
            match fault.remedy {
                Remedy::Lost | Remedy::Reconnect | Remedy::Redirect => return Some(fault),
                // It is transient, and the answers stay in the list.
                Remedy::Wait => {}
                // The server refuses: no call gets an answer, and each caller gets the cause.
                _ => self.end_all(
                    &fault.into_error("redis: take answers", self.core.connector.address()),
                ),
            }
            sleep(pause(failures)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Takes answers until a take fails or no call waits. Returns the fault, and whether a take
    /// succeeded. The task of the connection takes them.
    async fn take_until_fault(self: &Arc<Self>, connection: &Arc<Connection>) -> Ended {
        let (end, ended) = oneshot::channel();
        let key = self.core.keys.name(&self.inbox);
        let limit = BLOCK_LIMIT.as_secs().to_string();
        let count = MAX_ANSWERS.to_string();
        let pop = ["BLMPOP", &limit, "1", &key, "RIGHT", "COUNT", &count];
        let taking = Taking {
            shared: Arc::clone(self),
            connection: Arc::downgrade(connection),
            pop: Command::new(pop),
            has_taken: false,
            end,
        };
        taking.take();
        // The sender is dropped without a fault only together with the connection.
        ended.await.unwrap_or_else(|_| (Some(Fault::lost()), false))
    }

    /// Does the same on a server without `BLMPOP`.
    async fn take_in_two_steps(&self, connection: &Connection) -> Ended {
        let mut has_taken = false;
        loop {
            let taken = self.pop_in_two_steps(connection);
            match timeout(BLOCK_LIMIT * 2, taken).await {
                Ok(Ok(answers)) if answers.is_empty() && self.is_idle() => return (None, true),
                Ok(Ok(answers)) => self.receive(&answers),
                Ok(Err(fault)) => return (Some(fault), has_taken),
                Err(_elapsed) => return (Some(Fault::timeout()), has_taken),
            }
            has_taken = true;
        }
    }

    async fn pop_in_two_steps(&self, connection: &Connection) -> Result<Vec<Bytes>, Fault> {
        let key = self.core.keys.name(&self.inbox);
        let pop = Command::new(["BRPOP", &key, &BLOCK_LIMIT.as_secs().to_string()]);
        let first: Option<(Bytes, Bytes)> = connection.query(pop).await?;
        let Some((_, first)) = first else {
            return Ok(Vec::new());
        };
        let pop = Command::new(["RPOP", &key, &MAX_ANSWERS.to_string()]);
        let rest: Option<Vec<Bytes>> = connection.query(pop).await?;
        Ok([first]
            .into_iter()
            .chain(rest.into_iter().flatten())
            .collect())
    }

    /// Gives answers to their callers. Several callers often call again at once: their next
    /// requests are gathered.
    fn receive(&self, answers: &[Bytes]) {
        if answers.len() > 1
            && let Some(hold) = self.core.commands.hold()
        {
            self.core.spawn(async move {
                // The callers were woken before this task, so they run first. Unlike after a
                // `yield_now`, another thread takes the task if a caller blocks this thread.
                let mut is_last = false;
                poll_fn(|cx| {
                    if std::mem::replace(&mut is_last, true) {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
                drop(hold);
            });
        }
        for answer in answers {
            let Some(response) = read_response(answer) else {
                tracing::warn!(
                    queue = self.inbox,
                    bytes = answer.len(),
                    "cannot read an answer, dropping it"
                );
                continue;
            };
            self.deliver(response);
        }
    }
}

/// Takes answers from the inbox, one command after the other.
struct Taking {
    shared: Arc<Shared>,
    /// Weak, because the connection holds this.
    connection: Weak<Connection>,
    /// Waits for answers and takes all there are, or none if none came within [`BLOCK_LIMIT`].
    pop: Command,
    /// Whether a command succeeded.
    has_taken: bool,
    end: oneshot::Sender<Ended>,
}

/// Why no more answers are taken, `None` if no call waits. And whether a take succeeded.
type Ended = (Option<Fault>, bool);

impl Taking {
    /// Sends the next command. Its handler runs in the task of the connection.
    fn take(self) {
        let Some(connection) = self.connection.upgrade() else {
            return;
        };
        let until = Instant::now() + BLOCK_LIMIT * 2;
        let command = self.pop.clone();
        // A command that is refused drops its handler, and with it the sender.
        let handler = Box::new(|outcome| self.handle(outcome));
        drop(connection.start(command, until, handler));
    }

    fn handle(mut self, outcome: Result<Reply, Fault>) {
        let taken: Result<Option<(Bytes, Vec<Bytes>)>, Fault> = outcome.and_then(read);
        // The receiver of the end is gone when the provider was closed.
        match taken {
            Ok(None) if self.shared.is_idle() => drop(self.end.send((None, true))),
            Ok(taken) => {
                self.shared
                    .receive(&taken.map(|(_, answers)| answers).unwrap_or_default());
                self.has_taken = true;
                self.take();
            }
            Err(fault) => drop(self.end.send((Some(fault), self.has_taken))),
        }
    }
}

/// Ends all calls when the task that takes their answers ends, for any reason.
struct EndCallsOnDrop<'a>(&'a Shared);

impl Drop for EndCallsOnDrop<'_> {
    fn drop(&mut self) {
        self.0
            .end_all(&Error::new(ErrorKind::Closed, "redis: call"));
    }
}
