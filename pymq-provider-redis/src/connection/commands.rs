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

use super::clock::Clock;
use super::connector::{Connector, Live};
use super::fault::{Fault, Remedy};
use super::line::Line;
use super::script::Script;
use super::supervisor::supervise;
use crate::core::LinkTo;

/// The pause before a command is sent again that the server was not ready for.
const NOT_READY: Duration = Duration::from_millis(50);

/// How long an answer that must not be lost is waited for after its connection was given up. A
/// server that was stopped still sends it.
const LATE_ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The one connection for commands, replaced whenever it is lost. Cheap to clone.
///
/// Every call ends within the `op_timeout`. A command that was never sent waits for a connection; one that may have
/// run is not sent again, its error says so instead.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    connector: Connector,
    state: watch::Receiver<State>,
    /// What is sent may be sent twice.
    repeatable: bool,
    /// The answer must not be lost.
    patient: bool,
    /// When a command has to end that is not to have the whole `op_timeout`.
    until: Option<Instant>,
    /// The server's clock.
    clock: Arc<Clock>,
}

/// Where the connection stands; written by [`supervise`] alone.
#[derive(Clone, Debug)]
pub(super) enum State {
    Up(Arc<Line>),
    /// With what the last attempt to connect came to.
    Down(Option<Fault>),
    Closed,
}

impl Commands {
    /// Puts the first connection to work; `supervise` is to be spawned and runs until `hangup`.
    pub(crate) fn new(
        connector: Connector,
        first: Live,
        link: LinkTo,
        hangup: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (first, writer) = Line::new(first);
        let (sender, state) = watch::channel(State::Up(Arc::clone(&first)));
        let clock = Arc::<Clock>::default();
        let clock_of_line = Arc::clone(&clock);
        let supervisor = supervise(
            connector.clone(),
            first,
            writer,
            sender,
            link,
            clock_of_line,
            hangup,
        );
        (
            Self {
                connector,
                state,
                repeatable: false,
                patient: false,
                until: None,
                clock,
            },
            supervisor,
        )
    }

    /// Returns a handle whose commands are sent once more when their connection breaks: for those that do no harm when
    /// they run twice.
    pub(crate) fn repeatable(&self) -> Self {
        Self {
            repeatable: true,
            ..self.clone()
        }
    }

    /// Returns a handle whose commands wait for an answer beyond the `op_timeout`, for as long as one may come: for
    /// those that take something out of Redis, which is then in the answer and nowhere else. Whoever asks keeps the
    /// time.
    pub(crate) fn patient(&self) -> Self {
        Self {
            patient: true,
            ..self.clone()
        }
    }

    /// Returns a handle whose commands end at a given time, if one is given.
    pub(crate) fn until(&self, deadline: Option<Instant>) -> Self {
        Self {
            until: deadline,
            ..self.clone()
        }
    }

    /// Runs a command, made anew for each time it is sent. `context` names the operation of the user, as in
    /// ``redis: put to `jobs` ``.
    pub(crate) async fn query<T: FromRedisValue>(
        &self,
        context: impl FnOnce() -> String + Send,
        make: impl Fn() -> Cmd + Send + Sync,
    ) -> Result<T> {
        self.run(self.deadline(), make)
            .await
            .map_err(|fault| fault.into_error(&context(), self.connector.address()))
    }

    /// Runs a script: by its hash, or in full where the server does not know it, or the user may not use the hash.
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

    /// Runs a script for which it is not known yet whose errors it makes. Both ways of sending it share one deadline.
    pub(crate) async fn try_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[impl AsRef<[u8]> + Sync],
        args: &[impl AsRef<[u8]> + Sync],
    ) -> Result<T, Fault> {
        let deadline = self.deadline();
        match self.run(deadline, || script.by_hash(keys, args)).await {
            Err(fault) if fault.remedy == Remedy::InFull => {
                self.run(deadline, || script.in_full(keys, args)).await
            }
            outcome => outcome,
        }
    }

    /// Runs a script as [`try_script`](Self::try_script) does, with arguments made anew for each time it is sent.
    pub(crate) async fn try_script_with<T: FromRedisValue>(
        &self,
        script: &Script,
        args: impl Fn() -> Vec<Bytes> + Send + Sync,
    ) -> Result<T, Fault> {
        let no_keys: &[&str] = &[];
        let deadline = self.deadline();
        let by_hash = || script.by_hash(no_keys, &args());
        match self.run(deadline, by_hash).await {
            Err(fault) if fault.remedy == Remedy::InFull => {
                self.run(deadline, || script.in_full(no_keys, &args()))
                    .await
            }
            outcome => outcome,
        }
    }

    /// Returns the server's clock, as far as it is known.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Asks the server for its time.
    pub(crate) async fn ask_time(&self) -> Result<(), Fault> {
        let sent = std::time::Instant::now();
        let time = self.run(self.deadline(), || redis::cmd("TIME")).await?;
        self.clock.learn(sent, time);
        Ok(())
    }

    /// Tells whether there is a connection now.
    pub(crate) fn is_up(&self) -> bool {
        self.line_now()
            .is_some_and(|line| !line.live.lost.is_cancelled())
    }

    /// Returns why there is no connection now; none if there is one.
    pub(crate) fn why_down(&self) -> Option<Fault> {
        match &*self.state.borrow() {
            State::Up(line) if !line.live.lost.is_cancelled() => None,
            State::Down(Some(fault)) => Some(fault.clone().known()),
            State::Up(_) | State::Down(None) => Some(Fault::no_connection()),
            State::Closed => Some(Fault::closed()),
        }
    }

    /// Waits for the loss of the connection there is now, or else of the next one.
    pub(crate) fn loss(&self) -> impl Future<Output = ()> + Send + use<> {
        let now = self.line_now().map(|line| line.live.lost.clone());
        let mut state = self.state.clone();
        async move {
            let lost = match now {
                Some(lost) => lost,
                None => match state.wait_for(|state| matches!(state, State::Up(_))).await {
                    Ok(state) => match &*state {
                        State::Up(line) => line.live.lost.clone(),
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

    /// Returns when an operation that begins now has to end.
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
            let line = match self.line_now() {
                Some(line) => line,
                None => Box::pin(self.next_line(deadline)).await?,
            };
            let answer = async {
                if self.patient {
                    line.ask_directly(&make()).await
                } else {
                    line.ask(make()).await
                }
            };
            let mut answer = pin!(answer);
            let in_time = timeout_at(deadline, answer.as_mut()).await;
            if in_time.is_err() {
                line.live.timed_out();
            }
            let fault = match in_time {
                Ok(Ok(value)) => {
                    line.live.answered();
                    return read(value);
                }
                Ok(Err(fault)) => fault,
                Err(_elapsed) if self.patient => {
                    return Box::pin(self.late(&line.live.lost, answer)).await;
                }
                Err(_elapsed) => return Err(Fault::timeout()),
            };
            match fault.remedy {
                Remedy::Wait => {}
                Remedy::Reconnect => line.live.give_up(),
                Remedy::Lost if repeatable => repeatable = false,
                Remedy::Lost if self.is_closed() => return Err(fault.by_closing()),
                Remedy::Lost | Remedy::InFull | Remedy::None => return Err(fault),
            }
            if Instant::now() + NOT_READY >= deadline {
                return Err(fault);
            }
            sleep(NOT_READY).await;
        }
    }

    /// Waits on for an answer that is late already: without a limit while its connection lasts.
    async fn late<T: FromRedisValue>(
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

    /// Returns the connection there is now.
    fn line_now(&self) -> Option<Arc<Line>> {
        match &*self.state.borrow() {
            State::Up(line) => Some(Arc::clone(line)),
            State::Down(_) | State::Closed => None,
        }
    }

    /// Waits for a connection until the deadline.
    async fn next_line(&self, deadline: Instant) -> Result<Arc<Line>, Fault> {
        let mut state = self.state.clone();
        let found = timeout_at(
            deadline,
            state.wait_for(|state| match state {
                State::Up(line) => !line.live.lost.is_cancelled(),
                State::Down(_) => false,
                State::Closed => true,
            }),
        );
        match found.await {
            Ok(Ok(state)) => match &*state {
                State::Up(line) => return Ok(Arc::clone(line)),
                State::Down(_) | State::Closed => return Err(Fault::closed()),
            },
            // The supervisor is gone: the runtime is shutting down.
            Ok(Err(_)) => return Err(Fault::closed()),
            Err(_elapsed) => {}
        }
        match &*self.state.borrow() {
            State::Down(Some(fault)) => Err(fault.clone()),
            _ => Err(Fault::no_connection()),
        }
    }
}

/// Makes a command of its words. It has its size from the start: a large one would grow many times.
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

/// Reads the answer of the server as what was asked for.
fn read<T: FromRedisValue>(value: Value) -> Result<T, Fault> {
    from_redis_value(value).map_err(|error| Fault::of_command(error.into()))
}
