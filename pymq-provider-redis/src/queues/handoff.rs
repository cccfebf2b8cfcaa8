//! [`Handoff`]: waits for a message. The server itself moves the message to a list of this process.
//!
//! A queue that had a message in the last seconds is waited at by a blocking command, on a
//! connection of its own: the move ends the wait. A quiet queue costs neither. It is watched, see
//! [`Quiet`], and the move follows the sign that there is a message.
//!
//! **Nothing is lost on the way.** The list, a handoff, is a lease batch: `hold.lua` registers it
//! in front of each wait. If this process or the connection dies, the lease of the handoff ends, and
//! a sweep returns the message as after any lease.
//!
//! **A wait is closed, not dropped.** While a wait is open, the server may move a message at any
//! moment. `close_wait.lua` makes that impossible. The blocking command goes on for up to half a
//! second and brings nothing, unless the next wait opens it again.

mod outcome;
mod quiet;
mod removal;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use pymq_core::ErrorKind;
use pymq_core::provider::MAX_DURATION;
use tokio::time::{Instant, sleep_until, timeout};

pub(super) use self::outcome::{HandedOver, Outcome};
use self::quiet::{Quiet, Sign};
use self::removal::Removal;
use super::args::{millis, new_handoff, text};
use super::give_back::release;
use super::queue::Queue;
use crate::connection::{self, Command, Connection, Fault, FromReply, Remedy, Reply, Script};
use crate::core::HealthReporter;
use crate::keys::QueueKeys;

static HOLD: Script = Script::new(include_str!("../../scripts/hold.lua"));
static REOPEN_WAIT: Script = Script::new(include_str!("../../scripts/reopen_wait.lua"));
static CLOSE_WAIT: Script = Script::new(include_str!("../../scripts/close_wait.lua"));

/// How long one command blocks. Bounded, so that each answer also proves that the server is alive.
const BLOCK_LIMIT: Duration = Duration::from_millis(500);

/// How late its answer may be before the connection is dropped.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// How long a message without a lease stays in a handoff, at least, before a sweep returns it. It is
/// removed from it at once.
pub(super) const HOLD_WITHOUT_LEASE: Duration = Duration::from_secs(2);

/// The same for a message with a lease. A lease that is shorter is set once the message is there. If
/// the process is killed before that, the message comes back this late.
const MIN_HOLD: Duration = Duration::from_secs(1);

/// How much longer than that a handoff is held: the wait comes first.
const HOLD_MARGIN: Duration = Duration::from_secs(1);

/// How long a closed handoff stays closed if this process dies before the blocking command ends.
const CLOSED_TIME: Duration = Duration::from_secs(10);

/// Waits at one queue.
pub(super) struct Handoff {
    queue: Queue,
    keys: QueueKeys,
    quiet: Quiet,
    connection: Option<Arc<Connection>>,
    connecting: Option<BoxFuture<'static, Result<Connection, Fault>>>,
    wait: Option<Wait>,
    /// The registered handoff that is empty and in no wait.
    batch: Option<Arc<str>>,
    failures: u32,
    /// Not before this time, after a failure.
    next_attempt: Option<Instant>,
    health: HealthReporter,
}

/// The command in flight.
struct Wait {
    batch: Arc<str>,
    /// When the lease of the handoff ends. `None` while it is closed.
    ends: Option<Instant>,
    /// It was closed once, so the command may have failed for that.
    was_closed: bool,
    answer: BoxFuture<'static, Result<Vec<Reply>, Fault>>,
}

impl Handoff {
    pub(super) fn new(queue: Queue) -> Self {
        let keys = queue.keys();
        Self {
            quiet: Quiet::new(&queue.shared().subscriptions, &keys),
            keys,
            connection: None,
            connecting: None,
            wait: None,
            batch: None,
            failures: 0,
            next_attempt: None,
            health: reporter(&queue),
            queue,
        }
    }

    /// Tells whether a message may be moved, or a handoff is registered for the next wait.
    pub(super) fn is_open(&self) -> bool {
        self.batch.is_some() || self.wait.as_ref().is_some_and(|wait| wait.ends.is_some())
    }

    /// Tells whether a command is in flight.
    pub(super) fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// Returns the number of the watch if the queue is watched and nothing has changed since.
    pub(super) fn unchanged_watch(&self) -> Option<u64> {
        self.quiet.unchanged_watch()
    }

    /// Tells whether there is no message: the server would have told.
    pub(super) fn is_known_empty(&self) -> bool {
        self.quiet.is_known_empty()
    }

    /// Notes that the queue has had a message. For some seconds, a wait has a connection.
    pub(super) fn note_activity(&mut self) {
        self.quiet.note_activity();
    }

    /// Waits for a message, and holds it for this time at least. Without the time, no caller waits:
    /// this ends with the command in flight.
    ///
    /// Cancel safe: the next call continues with the command in flight.
    pub(super) async fn next(&mut self, hold: Option<Duration>) -> Outcome {
        match (&mut self.wait, hold) {
            (Some(_), None) => {}
            (None, None) => return Outcome::Unknown,
            (Some(wait), Some(hold)) => {
                if wait.ends.is_none() {
                    let time = hold_time(hold);
                    wait.ends = Some(Instant::now() + time);
                    let reopen = REOPEN_WAIT
                        .with_code(&self.keys.of_wait(&wait.batch), &args(&wait.batch, time));
                    // If this fails, the command ends without a message, and the next one follows.
                    drop(
                        self.queue
                            .commands()
                            .start(reopen, |_: Result<(), Fault>| {}),
                    );
                }
            }
            (None, Some(hold)) => {
                if let Some(at) = self.next_attempt {
                    sleep_until(at).await;
                    self.next_attempt = None;
                }
                if self.quiet.is_quiet() {
                    self.give_up_connection();
                    match self.quiet.sign().await {
                        Sign::Message(connection) => {
                            self.wait = Some(self.start(&connection, hold, None));
                        }
                        Sign::Leases => return Outcome::Changed,
                        Sign::Unavailable => {}
                    }
                }
                if self.wait.is_none() {
                    let connection = match self.connect().await {
                        Ok(connection) => connection,
                        Err(fault) => return self.failed(fault),
                    };
                    self.wait = Some(self.start(&connection, hold, Some(BLOCK_LIMIT)));
                }
            }
        }
        let answer = match &mut self.wait {
            Some(wait) => wait.answer.as_mut().await,
            None => return Outcome::Unknown,
        };
        self.finish(answer)
    }

    /// Closes the wait: no message is moved from here on. If the message of the wait is on its way,
    /// waits for it. Returns `None` if no wait was under way.
    pub(super) async fn close(&mut self) -> Option<Outcome> {
        if let Some(batch) = self.batch.take() {
            self.remove(&batch);
        }
        let wait = self.wait.as_mut()?;
        let keys = self.keys.of_wait(&wait.batch);
        let close = CLOSE_WAIT.with_code(&keys, &args(&wait.batch, CLOSED_TIME));
        let ready = self.queue.commands().try_query(|| close.clone()).await;
        Some(match ready {
            Ok(ready @ 0_i64..) => {
                wait.ends = None;
                wait.was_closed = true;
                if ready == 0 {
                    Outcome::Empty
                } else {
                    Outcome::Unknown
                }
            }
            Ok(_) => {
                let answer = wait.answer.as_mut().await;
                self.finish(answer)
            }
            Err(fault) => {
                tracing::debug!(queue = self.queue.name(), "cannot close a wait: {fault}");
                // A message that the server may have moved goes back.
                release(&self.queue, &wait.batch);
                self.wait = None;
                self.connection = None;
                Outcome::Unknown
            }
        })
    }

    /// Removes a handoff with the message in it, which is a caller's now. No command uses this
    /// handoff any more: the removal may be repeated.
    pub(super) fn remove(&self, batch: &Arc<str>) {
        let removal = Removal::new(&self.keys, batch);
        removal.start(&self.queue, self.connection.as_deref());
    }

    /// Closes the connection and ends the watch. No wait may be open.
    pub(super) fn disconnect(&mut self) {
        self.wait = None;
        self.give_up_connection();
        self.quiet.stop();
    }

    fn give_up_connection(&mut self) {
        if self.connection.is_some() || self.connecting.is_some() || self.failures > 0 {
            self.connecting = None;
            self.connection = None;
            self.failures = 0;
            self.health = reporter(&self.queue);
        }
        if let Some(batch) = self.batch.take() {
            self.remove(&batch);
        }
    }

    async fn connect(&mut self) -> Result<Arc<Connection>, Fault> {
        if let Some(connection) = &self.connection
            && !connection.lost.is_cancelled()
        {
            return Ok(Arc::clone(connection));
        }
        self.connection = None;
        if let Some(batch) = self.batch.take() {
            self.remove(&batch);
        }
        let connecting = self.connecting.get_or_insert_with(|| {
            let connector = self.queue.connector();
            Box::pin(async move { connector.connect_for_blocking().await })
        });
        let connected = connecting.await;
        self.connecting = None;
        let connection = Arc::new(connected?);
        self.connection = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Registers the handoff and starts the wait, in one write. Without a limit it does not block.
    fn start(
        &mut self,
        connection: &Arc<Connection>,
        hold: Duration,
        limit: Option<Duration>,
    ) -> Wait {
        let batch = self.batch.take().unwrap_or_else(new_handoff);
        let time = hold_time(hold);
        let keys = self.keys.of_wait(&batch);
        let [_, from, to] = &keys;
        let take = match limit {
            None => Command::new(["LMOVE", from, to, "RIGHT", "LEFT"]),
            Some(limit) => {
                let limit = limit.as_secs_f64().to_string();
                Command::new(["BLMOVE", from, to, "RIGHT", "LEFT", &limit])
            }
        };
        let command = HOLD.with_code(&keys, &args(&batch, time)).then(take);
        let connection = Arc::clone(connection);
        let answer = async move {
            let answer = connection.query(command);
            timeout(BLOCK_LIMIT + ANSWER_GRACE, answer)
                .await
                .unwrap_or_else(|_elapsed| Err(Fault::timeout()))
        };
        Wait {
            batch,
            ends: Some(Instant::now() + time),
            was_closed: false,
            answer: Box::pin(answer),
        }
    }

    fn finish(&mut self, answer: Result<Vec<Reply>, Fault>) -> Outcome {
        let Some(wait) = self.wait.take() else {
            return Outcome::Unknown;
        };
        let batch = wait.batch;
        let answer = answer.and_then(|replies| {
            let [held, moved] = <[Reply; 2]>::try_from(replies).map_err(|_| Fault::unexpected())?;
            let ready = usize::from_reply(held);
            match connection::read::<Option<Bytes>>(moved) {
                // The handoff was closed, by this process or, after its end, by a sweep. Or else
                // the queue is no list: the next take tells.
                Err(fault) if fault.kind == ErrorKind::WrongType && ready.is_some() => Ok(None),
                moved => Ok(Some((ready, moved?))),
            }
        });
        let (ready, payload) = match answer {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                self.remove(&batch);
                return Outcome::Unknown;
            }
            Err(fault) => {
                if is_lost(&fault) {
                    // The server may have moved a message.
                    release(&self.queue, &batch);
                } else {
                    self.ended_without_message(batch, wait.was_closed);
                }
                return self.failed(fault);
            }
        };
        self.health.up();
        self.failures = 0;
        let Some(payload) = payload else {
            self.ended_without_message(batch, wait.was_closed);
            return Outcome::Empty;
        };
        self.quiet.note_activity();
        Outcome::Message(HandedOver {
            payload,
            batch,
            ends: wait.ends.filter(|_| ready.is_some()),
            has_more: ready.is_some_and(|ready| ready > 1),
        })
    }

    /// Keeps a handoff for the next wait. Removes one that was closed: it may still be a string.
    fn ended_without_message(&mut self, batch: Arc<str>, was_closed: bool) {
        if was_closed {
            self.remove(&batch);
        } else {
            self.batch = Some(batch);
        }
    }

    fn failed(&mut self, fault: Fault) -> Outcome {
        let mut pause = connection::pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        if is_lost(&fault) {
            self.connection = None;
        }
        self.queue.connector().note(&fault);
        let outcome = match fault.kind {
            // Redis refuses the blocking command because it may write.
            ErrorKind::OutOfMemory => {
                pause = Duration::from_millis(50)
                    + Duration::from_millis(200).mul_f64(connection::random_fraction());
                Outcome::Unknown
            }
            ErrorKind::Disconnected | ErrorKind::Timeout => {
                if self.failures == 1 {
                    tracing::warn!(
                        queue = self.queue.name(),
                        "cannot wait at the queue, polling it until that works: {fault}"
                    );
                }
                self.health.down(fault);
                Outcome::Unavailable
            }
            _ => Outcome::Failed(self.queue.fault("get from", fault)),
        };
        self.next_attempt = Some(Instant::now() + pause);
        outcome
    }
}

/// Tells whether the connection is unusable after this.
fn is_lost(fault: &Fault) -> bool {
    matches!(
        fault.remedy,
        Remedy::Lost | Remedy::Reconnect | Remedy::Redirect
    ) || fault.kind == ErrorKind::Timeout
}

/// Returns a new reporter: a connection that no caller needs does not count as missing.
fn reporter(queue: &Queue) -> HealthReporter {
    queue.shared().core.health_reporter("waiting")
}

/// Returns how long a handoff is registered for, so that its message is held for this time.
fn hold_time(hold: Duration) -> Duration {
    hold.clamp(MIN_HOLD, MAX_DURATION) + HOLD_MARGIN
}

/// Returns the arguments of both scripts.
fn args(batch: &str, time: Duration) -> [Bytes; 2] {
    [text(batch), millis(time)]
}
