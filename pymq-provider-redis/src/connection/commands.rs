//! [`Commands`]: the one connection for every command that does not block.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pymq_core::Result;
use redis::{Cmd, FromRedisValue, Value, from_redis_value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::batched::BatchedConnection;
use super::clock::Clock;
use super::connector::{Connection, Connector};
use super::fault::{Fault, Remedy};
use super::script::Script;
use super::supervisor::supervise;
use crate::core::HealthReporter;

/// The pause before a command is sent again because the server was not ready for it.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// How long to wait for an answer that must not be lost after its connection was abandoned. A
/// server that was stopped sends the answer when it continues.
const LATE_ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The one connection for commands, replaced whenever it is lost. Cheap to clone.
///
/// Every call ends within the `op_timeout`. A command that was never sent waits for a connection.
/// A command that may have run is not sent again: its error says that the outcome is unknown.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    connector: Connector,
    state: watch::Receiver<State>,
    /// A command may be sent twice.
    repeatable: bool,
    /// The answer must not be lost.
    must_keep_answer: bool,
    /// The deadline of each command, in place of the `op_timeout`.
    until: Option<Instant>,
    /// The server's clock.
    clock: Arc<Clock>,
}

/// The state of the connection. Only [`supervise`] writes it.
#[derive(Clone, Debug)]
pub(super) enum State {
    Up(Arc<BatchedConnection>),
    /// With the failure of the last attempt to connect.
    Down(Option<Fault>),
    Closed,
}

impl Commands {
    /// Starts on the first connection. Spawn the returned supervisor: it runs until `disconnect` is
    /// cancelled.
    pub(crate) fn new(
        connector: Connector,
        first: Connection,
        health: HealthReporter,
        disconnect: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (first, writer) = BatchedConnection::new(first);
        let (sender, state) = watch::channel(State::Up(Arc::clone(&first)));
        let clock = Arc::<Clock>::default();
        let its_clock = Arc::clone(&clock);
        let supervisor = supervise(
            connector.clone(),
            first,
            writer,
            sender,
            health,
            its_clock,
            disconnect,
        );
        (
            Self {
                connector,
                state,
                repeatable: false,
                must_keep_answer: false,
                until: None,
                clock,
            },
            supervisor,
        )
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
            must_keep_answer: true,
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
    pub(crate) async fn query<T: FromRedisValue>(
        &self,
        context: impl FnOnce() -> String + Send,
        make: impl Fn() -> Cmd + Send + Sync,
    ) -> Result<T> {
        self.run(self.deadline(), make)
            .await
            .map_err(|fault| fault.into_error(&context(), self.connector.address()))
    }

    /// Runs a script by its hash. Sends the full code where the server does not know the hash or
    /// the user may not use it.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        context: impl FnOnce() -> String + Send,
        script: &Script,
        keys: &[impl AsRef<[u8]> + Sync],
        args: &[impl AsRef<[u8]> + Sync],
    ) -> Result<T> {
        self.try_script(script, keys, args)
            .await
            .map_err(|fault| fault.into_error(&context(), self.connector.address()))
    }

    /// Runs a script and returns a [`Fault`], for callers that do not know yet which operation
    /// failed. Both ways of sending the script share one deadline.
    pub(crate) async fn try_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[impl AsRef<[u8]> + Sync],
        args: &[impl AsRef<[u8]> + Sync],
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
    pub(crate) async fn try_script_with<T: FromRedisValue>(
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
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Asks the server for its time.
    pub(crate) async fn query_time(&self) -> Result<(), Fault> {
        let sent = std::time::Instant::now();
        let time = self.run(self.deadline(), || redis::cmd("TIME")).await?;
        self.clock.learn(sent, time);
        Ok(())
    }

    /// Tells whether there is a connection now.
    pub(crate) fn is_up(&self) -> bool {
        self.current()
            .is_some_and(|connection| !connection.inner.lost.is_cancelled())
    }

    /// Returns why there is no connection now, or `None` if there is one.
    pub(crate) fn why_down(&self) -> Option<Fault> {
        match &*self.state.borrow() {
            State::Up(connection) if !connection.inner.lost.is_cancelled() => None,
            State::Down(Some(fault)) => Some(fault.clone().with_known_outcome()),
            State::Up(_) | State::Down(None) => Some(Fault::no_connection()),
            State::Closed => Some(Fault::closed()),
        }
    }

    /// Waits until the current connection is lost, or the next one if there is none now.
    pub(crate) fn loss(&self) -> impl Future<Output = ()> + Send + use<> {
        let now = self
            .current()
            .map(|connection| connection.inner.lost.clone());
        let mut state = self.state.clone();
        async move {
            let lost = match now {
                Some(lost) => lost,
                None => match state.wait_for(|state| matches!(state, State::Up(_))).await {
                    Ok(state) => match &*state {
                        State::Up(connection) => connection.inner.lost.clone(),
                        State::Down(_) | State::Closed => return,
                    },
                    // The runtime is shutting down.
                    Err(_) => return,
                },
            };
            lost.cancelled().await;
        }
    }

    fn is_closed(&self) -> bool {
        matches!(&*self.state.borrow(), State::Closed)
    }

    /// Returns the deadline of an operation that begins now.
    fn deadline(&self) -> Instant {
        self.until
            .unwrap_or_else(|| Instant::now() + self.connector.op_timeout())
    }

    async fn run<T: FromRedisValue>(
        &self,
        deadline: Instant,
        make: impl Fn() -> Cmd + Send + Sync,
    ) -> Result<T, Fault> {
        let mut repeatable = self.repeatable;
        loop {
            let connection = match self.current() {
                Some(connection) => connection,
                None => Box::pin(self.next(deadline)).await?,
            };
            let answer = async {
                if self.must_keep_answer {
                    connection.send_alone(&make()).await
                } else {
                    connection.send(make()).await
                }
            };
            let mut answer = pin!(answer);
            let in_time = timeout_at(deadline, answer.as_mut()).await;
            if in_time.is_err() {
                connection.inner.note_timeout();
            }
            let fault = match in_time {
                Ok(Ok(value)) => {
                    connection.inner.note_answer();
                    return read(value);
                }
                Ok(Err(fault)) => fault,
                Err(_elapsed) if self.must_keep_answer => {
                    return Box::pin(self.wait_for_late_answer(&connection.inner.lost, answer))
                        .await;
                }
                Err(_elapsed) => return Err(Fault::timeout()),
            };
            match fault.remedy {
                Remedy::Wait => {}
                Remedy::Reconnect => connection.inner.abandon(),
                Remedy::Lost if repeatable => repeatable = false,
                Remedy::Lost if self.is_closed() => return Err(fault.into_closed()),
                Remedy::Lost | Remedy::FullScript | Remedy::None => return Err(fault),
            }
            if Instant::now() + RETRY_DELAY >= deadline {
                return Err(fault);
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Continues to wait for a late answer, without a limit as long as its connection lasts.
    async fn wait_for_late_answer<T: FromRedisValue>(
        &self,
        lost: &CancellationToken,
        answer: impl Future<Output = Result<Value, Fault>>,
    ) -> Result<T, Fault> {
        let mut state = self.state.clone();
        let given_up = async {
            lost.cancelled().await;
            sleep(LATE_ANSWER_LIMIT).await;
        };
        tokio::select! {
            answer = answer => read(answer?),
            () = given_up => Err(Fault::timeout()),
            _closed = state.wait_for(|state| matches!(state, State::Closed)) => Err(Fault::closed()),
        }
    }

    /// Returns the current connection.
    fn current(&self) -> Option<Arc<BatchedConnection>> {
        match &*self.state.borrow() {
            State::Up(connection) => Some(Arc::clone(connection)),
            State::Down(_) | State::Closed => None,
        }
    }

    /// Waits for a connection until the deadline.
    async fn next(&self, deadline: Instant) -> Result<Arc<BatchedConnection>, Fault> {
        let mut state = self.state.clone();
        let found = timeout_at(
            deadline,
            state.wait_for(|state| match state {
                State::Up(connection) => !connection.inner.lost.is_cancelled(),
                State::Down(_) => false,
                State::Closed => true,
            }),
        );
        match found.await {
            Ok(Ok(state)) => match &*state {
                State::Up(connection) => return Ok(Arc::clone(connection)),
                State::Down(_) | State::Closed => return Err(Fault::closed()),
            },
            // The supervisor has ended: the runtime is shutting down.
            Ok(Err(_)) => return Err(Fault::closed()),
            Err(_elapsed) => {}
        }
        match &*self.state.borrow() {
            State::Down(Some(fault)) => Err(fault.clone()),
            _ => Err(Fault::no_connection()),
        }
    }
}

/// Builds a command from its arguments. It reserves the full size first: a large buffer would
/// grow many times otherwise.
pub(crate) fn command(words: impl Iterator<Item: AsRef<[u8]>> + Clone) -> Cmd {
    let (count, size) = words.clone().fold((0, 0), |(count, size), word| {
        (count + 1, size + word.as_ref().len())
    });
    let mut cmd = Cmd::with_capacity(count, size);
    for word in words {
        cmd.arg(word.as_ref());
    }
    cmd
}

/// Converts the answer of the server to the requested type.
fn read<T: FromRedisValue>(value: Value) -> Result<T, Fault> {
    from_redis_value(value).map_err(|error| Fault::of_command(error.into()))
}
