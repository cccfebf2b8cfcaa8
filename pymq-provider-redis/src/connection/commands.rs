//! [`Commands`]: runs every command that does not block.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pymq_core::Result;
use tokio::time::{Instant, sleep, timeout_at};

use super::clock::Clock;
use super::dialer::{Connection, read};
use super::fault::{Fault, Remedy};
use super::from_reply::FromReply;
use super::pipeline::Hold;
use super::replicas::Waits;
use super::resp::{Command, Reply};
use super::route::{Redirect, Route};
use super::script::Script;

/// The pause before a command is sent again because the server was not ready for it.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// How long to wait for an answer that must not be lost after its connection was abandoned. A
/// server that was stopped sends the answer when it continues.
const LATE_ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Sends commands on the one connection for them, which is replaced whenever it is lost. On a
/// cluster, there is one to each node, and a handle sends to the node that owns its slot. Cheap to
/// clone.
///
/// Every call ends within the `op_timeout`. A command that was never sent waits for a connection.
/// A command that may have run is not sent again: its error says that the outcome is unknown.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    route: Route,
    /// A command may be sent twice.
    repeatable: bool,
    /// What the caller waits for.
    pub(super) waits: Waits,
    /// The time limit of a command.
    pub(super) op_timeout: Duration,
    /// The deadline of each command, in place of the `op_timeout`.
    until: Option<Instant>,
}

impl Commands {
    pub(super) fn new(route: Route, op_timeout: Duration) -> Self {
        Self {
            route,
            op_timeout,
            repeatable: false,
            waits: Waits::ForAnswer,
            until: None,
        }
    }

    /// Returns a handle for commands that use this key. On a cluster, it sends them to the node that
    /// owns the slot of the key.
    pub(crate) fn of(&self, key: impl FnOnce() -> String) -> Self {
        Self {
            route: self.route.of(key),
            ..self.clone()
        }
    }

    /// Returns a handle whose commands are sent once more when their connection breaks. Use it for
    /// commands that do no harm when they run twice.
    pub(crate) fn repeatable(&self) -> Self {
        Self {
            repeatable: true,
            ..self.clone()
        }
    }

    /// Returns a handle whose commands wait for their answer beyond the `op_timeout`, as long as
    /// the answer can come. Use it for commands that take data out of Redis: the data is then in
    /// the answer and nowhere else. The caller limits the time.
    pub(crate) fn keep_answer(&self) -> Self {
        Self {
            waits: Waits::Beyond,
            ..self.clone()
        }
    }

    /// Returns a handle whose commands end at a given time, if there is one.
    pub(crate) fn until(&self, deadline: Option<Instant>) -> Self {
        Self {
            until: deadline,
            ..self.clone()
        }
    }

    /// Runs a command. `make` builds the command each time it is sent. `context` names the user's
    /// operation, as in ``redis: put to `jobs` ``.
    pub(crate) async fn query<T: FromReply>(
        &self,
        context: impl FnOnce() -> String + Send,
        make: impl Fn() -> Command + Send + Sync,
    ) -> Result<T> {
        self.try_query(make)
            .await
            .map_err(|fault| fault.into_error(&context(), self.route.address()))
    }

    /// Runs a command and returns a [`Fault`], for callers that handle some faults.
    pub(crate) fn try_query<T: FromReply>(
        &self,
        make: impl Fn() -> Command + Send + Sync,
    ) -> impl Future<Output = Result<T, Fault>> + Send {
        self.run(self.deadline(), make)
    }

    /// Runs a command for which no caller waits, on the connection that is there now. `handler` gets
    /// its result. It runs in the task of the connection, so it must not block.
    ///
    /// Unlike the other operations it sends the command once. If there is no connection, the
    /// handler is dropped.
    pub(crate) fn start<T: FromReply>(
        &self,
        command: Command,
        handler: impl FnOnce(Result<T, Fault>) + Send + 'static,
    ) -> Result<(), Fault> {
        self.start_at(Instant::now(), command, handler)
    }

    /// Does the same for a caller that has looked at the clock.
    pub(crate) fn start_at<T: FromReply>(
        &self,
        now: Instant,
        command: Command,
        handler: impl FnOnce(Result<T, Fault>) + Send + 'static,
    ) -> Result<(), Fault> {
        let connection = self.route.current().ok_or_else(Fault::no_connection)?;
        let of = Arc::downgrade(&connection);
        let handler = Box::new(move |outcome: Result<Reply, Fault>| {
            if let Some(connection) = of.upgrade() {
                connection.note(&outcome);
            }
            handler(outcome.and_then(read));
        });
        connection.start(command, self.deadline_from(now), handler)
    }

    /// Gathers commands until the hold is dropped, so that one write carries them. `None` if there
    /// is no connection now, or if they are gathered already.
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.route.current()?.hold()
    }

    /// Runs a script by its hash. Sends the full code where the server does not know the hash or
    /// the user may not use it.
    pub(crate) async fn script<T: FromReply>(
        &self,
        context: impl FnOnce() -> String + Send,
        script: &Script,
        keys: &[impl AsRef<[u8]> + Sync],
        args: &[Bytes],
    ) -> Result<T> {
        self.try_script(script, keys, args)
            .await
            .map_err(|fault| fault.into_error(&context(), self.route.address()))
    }

    /// Runs a script and returns a [`Fault`], for callers that do not know yet which operation
    /// failed. Both ways of sending the script share one deadline.
    pub(crate) async fn try_script<T: FromReply>(
        &self,
        script: &Script,
        keys: &[impl AsRef<[u8]> + Sync],
        args: &[Bytes],
    ) -> Result<T, Fault> {
        let deadline = self.deadline();
        match self.run(deadline, || script.by_hash(keys, args)).await {
            Err(fault) if fault.remedy == Remedy::FullScript => {
                self.run(deadline, || script.with_code(keys, args)).await
            }
            outcome => outcome,
        }
    }

    /// Runs a script as [`try_script`](Self::try_script) does. `args` builds the arguments each
    /// time the script is sent.
    pub(crate) async fn try_script_with<T: FromReply>(
        &self,
        script: &Script,
        args: impl Fn() -> Vec<Bytes> + Send + Sync,
    ) -> Result<T, Fault> {
        let no_keys: &[&str] = &[];
        let deadline = self.deadline();
        let by_hash = || script.by_hash(no_keys, &args());
        match self.run(deadline, by_hash).await {
            Err(fault) if fault.remedy == Remedy::FullScript => {
                self.run(deadline, || script.with_code(no_keys, &args()))
                    .await
            }
            outcome => outcome,
        }
    }

    /// Returns what is known of the server's clock.
    pub(crate) fn clock(&self) -> Arc<Clock> {
        self.route.clock()
    }

    /// Asks the server for its time.
    pub(crate) async fn query_time(&self) -> Result<(), Fault> {
        let sent = std::time::Instant::now();
        let time = self.run(self.deadline(), || Command::new(["TIME"])).await?;
        self.clock().learn(sent, time);
        Ok(())
    }

    /// Tells whether there is a connection now.
    pub(crate) fn is_up(&self) -> bool {
        let current = self.route.current();
        current.is_some_and(|connection| !connection.lost.is_cancelled())
    }

    /// Returns why there is no connection now, or `None` if there is one.
    pub(crate) fn why_down(&self) -> Option<Fault> {
        self.route.why_down()
    }

    /// Waits until the current connection is lost, or the next one if there is none now.
    pub(crate) fn loss(&self) -> impl Future<Output = ()> + Send + use<> {
        self.route.loss()
    }

    /// Returns the deadline of an operation that begins now.
    fn deadline(&self) -> Instant {
        self.deadline_from(Instant::now())
    }

    fn deadline_from(&self, now: Instant) -> Instant {
        self.until.unwrap_or_else(|| now + self.op_timeout)
    }

    async fn run<T: FromReply>(
        &self,
        deadline: Instant,
        make: impl Fn() -> Command + Send + Sync,
    ) -> Result<T, Fault> {
        let mut repeatable = self.repeatable;
        let mut redirect = None;
        let mut was_redirected = false;
        loop {
            let connection = match (&redirect, self.route.current()) {
                (None, Some(connection)) => connection,
                _ => Box::pin(self.route.next(redirect.as_ref(), deadline)).await?,
            };
            let is_asking = matches!(redirect.take(), Some(Redirect::Ask(_)));
            let command = make();
            let is_one = command.is_one();
            let outcome = if is_asking {
                let outcome = self.send(&connection, deadline, command.asking()).await;
                outcome.and_then(answer_after_asking)
            } else {
                self.send(&connection, deadline, command).await
            };
            let fault = match outcome.and_then(read) {
                Ok(value) => {
                    connection.note_answer();
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            match fault.remedy {
                Remedy::Wait => self.route.note_trouble(),
                Remedy::Redirect => {
                    redirect = self.route.redirect(&fault);
                    // Each of several commands would have to ask.
                    redirect = redirect.filter(|to| is_one || matches!(to, Redirect::Moved));
                    // At once, but not in a circle.
                    if redirect.is_some() && !std::mem::replace(&mut was_redirected, true) {
                        continue;
                    }
                }
                Remedy::Lost if fault.is_unsent() => {}
                Remedy::Reconnect => connection.abandon(),
                Remedy::Lost if repeatable => repeatable = false,
                Remedy::Lost if self.route.is_closed() => return Err(fault.into_closed()),
                Remedy::Lost | Remedy::FullScript | Remedy::None => {
                    return Err(self.route.locate(fault));
                }
            }
            if Instant::now() + RETRY_DELAY >= deadline {
                return Err(self.route.locate(fault));
            }
            sleep(RETRY_DELAY).await;
        }
    }

    async fn send(
        &self,
        connection: &Arc<Connection>,
        deadline: Instant,
        command: Command,
    ) -> Result<Reply, Fault> {
        match &self.waits {
            Waits::ForAnswer => {
                let outcome = connection.send(command, deadline)?.await;
                connection.note(&outcome);
                outcome
            }
            Waits::Beyond => Box::pin(self.run_to_answer(connection, deadline, command)).await,
            Waits::ForReplicas(replicas) => {
                Box::pin(replicas.send(connection, command, deadline)).await
            }
        }
    }

    /// Waits for an answer beyond the deadline, without a limit as long as its connection lasts.
    async fn run_to_answer(
        &self,
        connection: &Connection,
        deadline: Instant,
        command: Command,
    ) -> Result<Reply, Fault> {
        let mut answer = pin!(connection.send_without_limit(command)?);
        if let Ok(outcome) = timeout_at(deadline, answer.as_mut()).await {
            return outcome;
        }
        connection.note_timeout();
        let given_up = async {
            connection.lost.cancelled().await;
            sleep(LATE_ANSWER_LIMIT).await;
        };
        tokio::select! {
            outcome = answer => outcome,
            () = given_up => Err(Fault::timeout()),
            () = self.route.closed() => Err(Fault::closed()),
        }
    }
}

/// Returns the answer to the command that came after `ASKING`.
fn answer_after_asking(reply: Reply) -> Result<Reply, Fault> {
    match reply {
        Reply::List(mut answers) => answers.pop().ok_or_else(Fault::unexpected),
        reply => Ok(reply),
    }
}
