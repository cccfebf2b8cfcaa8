//! [`Connector`]: opens connections to the server of a URL, wherever it is now.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::dialer::{Connection, Dialer, History, Kind};
use super::fault::Fault;
use super::resp::Reply;
use super::sentinels::Sentinels;
use crate::RedisConfig;

/// Where the server is and how to connect to it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: Server,
    /// For errors.
    address: String,
    connect_timeout: Duration,
    op_timeout: Duration,
}

#[derive(Debug)]
enum Server {
    /// Always the same.
    Fixed(Dialer),
    /// The master of now.
    Master(Sentinels),
}

impl Connector {
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, Fault> {
        let (connect_timeout, op_timeout) = config.timeouts();
        let Some(sentinels) = config.sentinels() else {
            let dialer = Dialer::new(config.server(), Kind::Server, op_timeout)?;
            return Ok(Self::fixed(dialer, connect_timeout));
        };
        let address = sentinels.to_string();
        let servers = sentinels.servers.iter();
        let servers = servers.map(|server| Dialer::new(server, Kind::Sentinel, op_timeout));
        let servers = servers.collect::<Result<_, _>>()?;
        let master = Dialer::new(config.server(), Kind::Master, op_timeout)?;
        let sentinels = Sentinels::new(&sentinels.master, servers, master, connect_timeout);
        let shared = Shared {
            server: Server::Master(sentinels),
            address,
            connect_timeout,
            op_timeout,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Returns a connector to a server that stays where it is.
    pub(super) fn fixed(dialer: Dialer, connect_timeout: Duration) -> Self {
        let shared = Shared {
            address: dialer.address(),
            connect_timeout,
            op_timeout: dialer.op_timeout(),
            server: Server::Fixed(dialer),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Returns the address of the server, for errors. It holds no secrets.
    pub(crate) fn address(&self) -> &str {
        &self.shared.address
    }

    /// Returns the time limit of a command.
    pub(crate) fn op_timeout(&self) -> Duration {
        self.shared.op_timeout
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.shared.connect_timeout
    }

    /// Returns the sentinels that say where the master is, if there are some.
    pub(crate) fn sentinels(&self) -> Option<&Sentinels> {
        match &self.shared.server {
            Server::Fixed(_) => None,
            Server::Master(sentinels) => Some(sentinels),
        }
    }

    /// Connects once. `on_push` gets the push messages of the server. It runs in the task that
    /// reads the connection, so it must not block.
    pub(crate) async fn connect(
        &self,
        on_push: impl Fn(Vec<Reply>) + Clone + Send + Sync + 'static,
    ) -> Result<Connection, Fault> {
        let limit = self.shared.connect_timeout;
        match &self.shared.server {
            Server::Fixed(dialer) => timeout(limit, dialer.dial(CancellationToken::new(), on_push))
                .await
                .unwrap_or_else(|_elapsed| Err(Fault::connect_timeout(dialer.is_tls()))),
            Server::Master(sentinels) => sentinels.connect(on_push).await,
        }
    }

    /// Opens a connection for blocking commands: without a response timeout, and used by one task.
    pub(crate) async fn connect_for_blocking(&self) -> Result<Connection, Fault> {
        self.connect(drop).await
    }

    /// Connects, and tries again with growing pauses until it succeeds. `last` is the history of
    /// the connection that this one replaces. `report` gets each failure.
    pub(crate) async fn reconnect(
        &self,
        last: Option<History>,
        on_push: impl Fn(Vec<Reply>) + Clone + Send + Sync + 'static,
        mut report: impl FnMut(Fault),
    ) -> Connection {
        let mut failures = 0;
        let unusable_before = last.map_or(0, |last| last.unusable_in_a_row);
        if last.is_some_and(|last| last.was_short_lived || last.unusable_in_a_row > 0) {
            sleep(backoff::pause(unusable_before.saturating_sub(1))).await;
        }
        loop {
            // From before the attempt on, so that no sign is missed.
            let switched = self.sentinels().map(Sentinels::switched);
            match self.connect(on_push.clone()).await {
                Ok(mut connection) => {
                    connection.unusable_before = unusable_before;
                    return connection;
                }
                Err(fault) => {
                    tracing::warn!(
                        address = self.address(),
                        kind = ?fault.kind,
                        failures,
                        "cannot connect, retrying: {fault}"
                    );
                    report(fault);
                }
            }
            let pause = sleep(backoff::pause(failures));
            failures = failures.saturating_add(1);
            match switched {
                None => pause.await,
                Some(switched) => tokio::select! {
                    () = pause => {}
                    () = switched => failures = 0,
                },
            }
        }
    }
}
