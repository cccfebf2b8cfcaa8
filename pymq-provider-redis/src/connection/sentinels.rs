//! [`Sentinels`]: the servers of Redis Sentinel, which say where the master is.
//!
//! Each attempt to connect asks all of them at once, and takes the first that names a server which
//! says itself that it is the master. A sentinel that lags behind may name the former master, and
//! that may not know yet that it was replaced. So the rule of the sentinels themselves applies: each
//! answer has an epoch, and the highest epoch wins. An answer with a lower epoch is ignored.
//!
//! While the provider is connected, each sentinel is also watched. When a sentinel names another
//! master, all connections to the former one end. The former master may be out of reach, or it may
//! accept writes that no replica gets.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use pymq_core::ErrorKind;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connector::Connector;
use super::dialer::{Connection, Dialer, Place};
use super::fault::{Fault, Remedy};
use super::from_reply::FromReply;
use super::resp::{Command, Reply};
use crate::core::HealthReporter;

/// The channels on which a sentinel tells that it names another master. The leader of a failover
/// names it once the replica is promoted, and tells the others when it has moved all replicas.
const SWITCHES: [&str; 2] = ["+failover-state-reconf-slaves", "+switch-master"];

/// How often a sentinel is asked, in case that it does not tell.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// After this time without an answer, the connection to a sentinel is dead.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How long an epoch counts after it was last named. Sentinels that are set up anew begin at zero.
const EPOCH_LIFE: Duration = Duration::from_secs(10);

/// What a sentinel says.
struct Naming {
    place: Place,
    epoch: u64,
}

/// The sentinels of one master.
#[derive(Debug)]
pub(crate) struct Sentinels {
    /// The name of the master at the sentinels.
    master: String,
    servers: Vec<Dialer>,
    /// How to connect to the master, with an address that is replaced.
    dialer: Dialer,
    connect_timeout: Duration,
    /// The highest epoch, and when it was last named.
    epoch: Mutex<Option<(u64, Instant)>>,
    /// A token for each server that connections were opened to. It is cancelled when the server is no
    /// longer the master.
    connected: Mutex<HashMap<Place, CancellationToken>>,
    /// There is another master.
    switched: Notify,
}

/// What an attempt to find the master brings.
enum Step {
    Named(Naming),
    Connected(Connection),
    Failed(Failure),
}

/// A failed step. The failure of a later step says more.
struct Failure {
    stage: Stage,
    fault: Fault,
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Stage {
    /// A sentinel could not be reached.
    Reach,
    /// A sentinel did not name a server.
    Ask,
    /// The server that it named could not be used.
    Dial,
}

impl Sentinels {
    pub(super) fn new(
        master: &str,
        servers: Vec<Dialer>,
        dialer: Dialer,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            master: master.to_owned(),
            servers,
            dialer,
            connect_timeout,
            epoch: Mutex::default(),
            connected: Mutex::default(),
            switched: Notify::new(),
        }
    }

    /// Connects to the master once, within the connect timeout.
    pub(super) async fn connect(
        &self,
        on_push: impl Fn(Vec<Reply>) + Clone + Send + Sync + 'static,
    ) -> Result<Connection, Fault> {
        let mut told = None;
        let found = timeout(self.connect_timeout, self.find(on_push, &mut told)).await;
        match (found, told) {
            (Ok(Some(connection)), _) => Ok(connection),
            (_, Some(Failure { fault, .. })) => Err(fault),
            (_, None) => Err(Fault::connect_timeout(self.dialer.is_tls())),
        }
    }

    /// Returns the first connection to a server that is the master. Without one, `told` has the
    /// failure that says the most.
    async fn find(
        &self,
        on_push: impl Fn(Vec<Reply>) + Clone + Send + Sync + 'static,
        told: &mut Option<Failure>,
    ) -> Option<Connection> {
        let asked = self.servers.iter().map(|it| self.named_by(it).boxed());
        let mut steps: FuturesUnordered<BoxFuture<'_, Step>> = asked.collect();
        let mut dialed = Vec::new();
        while let Some(step) = steps.next().await {
            match step {
                Step::Connected(connection) => return Some(connection),
                Step::Named(Naming { place, .. }) if dialed.contains(&place) => {}
                Step::Named(Naming { place, .. }) => {
                    dialed.push(place.clone());
                    steps.push(self.dial(place, on_push.clone()).boxed());
                }
                Step::Failed(failure) => {
                    if told.as_ref().is_none_or(|told| told.stage <= failure.stage) {
                        *told = Some(failure);
                    }
                }
            }
        }
        None
    }

    async fn named_by(&self, sentinel: &Dialer) -> Step {
        let failed = |stage, fault: Fault| {
            let fault = fault.at(&sentinel.address());
            Step::Failed(Failure { stage, fault })
        };
        let connection = match sentinel.dial(CancellationToken::new(), drop).await {
            Ok(connection) => connection,
            Err(fault) => {
                let is_out_of_reach =
                    matches!(fault.kind, ErrorKind::Disconnected | ErrorKind::Timeout);
                let stage = if is_out_of_reach {
                    Stage::Reach
                } else {
                    Stage::Ask
                };
                return failed(stage, fault);
            }
        };
        match self.ask(&connection).await {
            Ok(naming) if self.is_current(&naming) => Step::Named(naming),
            Ok(_) => {
                let cause = "the sentinel does not know the current master yet";
                failed(Stage::Ask, Fault::new(ErrorKind::Disconnected, cause))
            }
            Err(fault) => failed(Stage::Ask, fault.with_known_outcome()),
        }
    }

    /// Asks a sentinel where the master is.
    async fn ask(&self, connection: &Connection) -> Result<Naming, Fault> {
        let command = |word| Command::new(["SENTINEL", word, &self.master]);
        // In one round trip, so that a sentinel answers both at the same moment.
        let (named, state) = tokio::join!(
            connection.query::<Option<(String, i64)>>(command("GET-MASTER-ADDR-BY-NAME")),
            connection.query::<HashMap<String, Reply>>(command("MASTER")),
        );
        // Without the right to ask for it, all epochs are the same.
        let epoch = state
            .ok()
            .and_then(|mut state| state.remove("config-epoch"));
        let epoch = epoch.and_then(i64::from_reply).unwrap_or_default();
        let (host, port) = named?.ok_or_else(|| {
            let cause = "the sentinel knows no master of this name: check it in the URL";
            Fault::new(ErrorKind::InvalidConfig, cause)
        })?;
        let port = port.try_into().map_err(|_| Fault::unexpected())?;
        Ok(Naming {
            place: (host, port),
            epoch: epoch.unsigned_abs(),
        })
    }

    /// Tells whether no newer answer is known than this one, and remembers its epoch.
    fn is_current(&self, naming: &Naming) -> bool {
        let mut known = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current =
            known.is_none_or(|(epoch, at)| naming.epoch >= epoch || at.elapsed() > EPOCH_LIFE);
        if is_current {
            *known = Some((naming.epoch, Instant::now()));
        }
        is_current
    }

    async fn dial(
        &self,
        (host, port): Place,
        on_push: impl Fn(Vec<Reply>) + Send + Sync + 'static,
    ) -> Step {
        let lost = self.token_of((host.clone(), port)).child_token();
        let dialed = match self.dialer.elsewhere(host.clone(), port) {
            Ok(dialer) => dialer.dial(lost, on_push).await,
            Err(error) => Err(Fault::of_connect(error, self.dialer.is_tls())),
        };
        match dialed {
            Ok(connection) => Step::Connected(connection),
            Err(fault) => Step::Failed(Failure {
                stage: Stage::Dial,
                fault: fault.at(&format!("{host}:{port}")),
            }),
        }
    }

    /// Returns the token of all connections to a server.
    fn token_of(&self, place: Place) -> CancellationToken {
        self.lock_connected().entry(place).or_default().clone()
    }

    /// Resolves when a sentinel names another master, after this call.
    pub(super) fn switched(&self) -> Notified<'_> {
        self.switched.notified()
    }

    /// Ends the connections to a server that is no longer the master.
    fn disconnect(&self, place: &Place) {
        let token = self.lock_connected().remove(place);
        if let Some(token) = token {
            token.cancel();
        }
    }

    fn lock_connected(&self) -> MutexGuard<'_, HashMap<Place, CancellationToken>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the sentinels without end. `reporter` makes the reporter of a connection to one.
    pub(crate) async fn watch(&self, reporter: impl Fn(&Connector) -> HealthReporter) {
        let watches = self.servers.iter().map(|sentinel| {
            let sentinel = Connector::fixed(
                sentinel.clone(),
                CancellationToken::new(),
                self.connect_timeout,
            );
            let health = reporter(&sentinel);
            self.watch_one(sentinel, health)
        });
        join_all(watches).await;
    }

    async fn watch_one(&self, sentinel: Connector, mut health: HealthReporter) {
        let mut known = None;
        let mut last = None;
        loop {
            let switched = Arc::new(Notify::new());
            let notify = Arc::clone(&switched);
            let on_push = move |_push| notify.notify_one();
            let report = |fault: Fault| health.down(fault);
            let connection = sentinel.reconnect(last, on_push, report).await;
            let followed = self.follow(&connection, &switched, &mut known, &mut health);
            let Err(fault) = followed.await;
            connection.end(&fault);
            health.down(fault);
            last = Some(connection.history());
        }
    }

    /// Follows what a sentinel says, until its connection is lost. `known` is the master that it
    /// named last.
    async fn follow(
        &self,
        connection: &Connection,
        switched: &Notify,
        known: &mut Option<Place>,
        health: &mut HealthReporter,
    ) -> Result<Infallible, Fault> {
        let subscribe = Command::new(["SUBSCRIBE"].into_iter().chain(SWITCHES));
        let subscribed = connection.query_confirmed(subscribe, SWITCHES.len());
        match in_time(subscribed).await {
            Err(fault) if fault.remedy == Remedy::Lost => return Err(fault),
            // Without the right to subscribe, the sentinel is asked.
            Ok(()) | Err(_) => {}
        }
        loop {
            let naming = in_time(self.ask(connection)).await?;
            health.up();
            if self.is_current(&naming) {
                let place = naming.place;
                if let Some(former) = known.replace(place.clone())
                    && former != place
                {
                    let (host, port) = place;
                    tracing::warn!(master = self.master, "the master is now {host}:{port}");
                    self.disconnect(&former);
                    self.switched.notify_waiters();
                }
            }
            tokio::select! {
                biased;
                () = connection.lost.cancelled() => return Err(Fault::lost()),
                () = switched.notified() => {}
                () = sleep(ASK_INTERVAL) => {}
            }
        }
    }
}

/// Waits for the answer of a sentinel. If none comes in time, the connection is half open.
async fn in_time<T>(answer: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    match timeout(ANSWER_LIMIT, answer).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(Fault::timeout()),
    }
}
