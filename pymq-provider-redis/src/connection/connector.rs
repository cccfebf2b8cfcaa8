//! [`Connector`]: opens connections to the server of a URL, wherever it is now. On a cluster, to the
//! node that owns a slot.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use pymq_core::provider::{Health, Requirement};
use redis::ConnectionInfo;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff;
use super::cluster::{Cluster, Member};
use super::commands::Commands;
use super::dialer::{Connection, Dialer, History, Kind};
use super::fault::Fault;
use super::node::Node;
use super::nodes::{Nodes, Purpose};
use super::resp::Reply;
use super::route::Route;
use super::sentinels::Sentinels;
use crate::RedisConfig;
use crate::config::ServerConfig;
use crate::core::HealthReporter;
use crate::slot::Slot;

/// Where the server is and how to connect to it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    shared: Arc<Shared>,
    /// On a cluster: it connects to the owner of this slot.
    slot: Slot,
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
    /// Always the same. Its connections end when the token is cancelled.
    Fixed(Dialer, CancellationToken),
    /// The master of now.
    Master(Sentinels),
    /// The owner of the slot.
    Owner(Arc<Cluster>),
}

impl Connector {
    /// On a cluster, it connects to the owner of `key`.
    pub(crate) fn new(config: &RedisConfig, key: &str) -> Result<Self, Fault> {
        let (connect_timeout, op_timeout) = config.timeouts();
        let dialers = |servers: &[ConnectionInfo], kind| {
            let servers = servers.iter();
            let servers = servers.map(|server| Dialer::new(server, kind, op_timeout));
            servers.collect::<Result<Vec<_>, _>>()
        };
        let (server, address) = match config.server() {
            ServerConfig::One(server) => {
                let dialer = Dialer::new(server, Kind::Server, op_timeout)?;
                return Ok(Self::fixed(
                    dialer,
                    CancellationToken::new(),
                    connect_timeout,
                ));
            }
            ServerConfig::Sentinels(sentinels) => {
                let servers = dialers(&sentinels.servers, Kind::Sentinel)?;
                let master = Dialer::new(&sentinels.of_master, Kind::Master, op_timeout)?;
                let name = &sentinels.master;
                let found = Sentinels::new(name, servers, master, connect_timeout);
                (Server::Master(found), sentinels.to_string())
            }
            ServerConfig::Cluster(cluster) => {
                let seeds = dialers(&cluster.servers, Kind::Owner)?;
                let found = Cluster::new(seeds, connect_timeout);
                (Server::Owner(Arc::new(found)), cluster.to_string())
            }
        };
        let shared = Shared {
            server,
            address,
            connect_timeout,
            op_timeout,
        };
        Ok(Self {
            shared: Arc::new(shared),
            slot: Slot::of(key),
        })
    }

    /// Returns a connector to a server that stays where it is. Its connections end when the token
    /// is cancelled.
    pub(super) fn fixed(dialer: Dialer, end: CancellationToken, connect_timeout: Duration) -> Self {
        let shared = Shared {
            address: dialer.address(),
            connect_timeout,
            op_timeout: dialer.op_timeout(),
            server: Server::Fixed(dialer, end),
        };
        Self {
            shared: Arc::new(shared),
            slot: Slot::of(""),
        }
    }

    /// Returns a connector to the server of a key.
    pub(crate) fn of(&self, key: impl FnOnce() -> String) -> Self {
        match self.shared.server {
            Server::Fixed(..) | Server::Master(_) => self.clone(),
            Server::Owner(_) => Self {
                shared: Arc::clone(&self.shared),
                slot: Slot::of(&key()),
            },
        }
    }

    /// Returns a connector to one node of the cluster.
    pub(super) fn to_member(&self, member: &Member) -> Self {
        let (dialer, end) = (member.dialer.clone(), member.ended.clone());
        Self::fixed(dialer, end, self.shared.connect_timeout)
    }

    /// Returns the handle for commands, which starts on the first connection. Its tasks end when
    /// `disconnect` is cancelled.
    pub(crate) fn commands(
        &self,
        purpose: Purpose,
        first: Connection,
        health: &Health,
        disconnect: CancellationToken,
        supervisor: &TaskTracker,
    ) -> Commands {
        let route = match &self.shared.server {
            Server::Fixed(..) | Server::Master(_) => {
                let required = Requirement::Required;
                let reporter = HealthReporter::new(health, purpose.name(), required, self);
                let end = disconnect.cancelled_owned();
                let (node, keep_up) = Node::start(self.clone(), Some(first), reporter, end);
                supervisor.spawn(keep_up);
                Route::Server(node)
            }
            Server::Owner(cluster) => {
                let nodes = Nodes {
                    purpose,
                    cluster: Arc::clone(cluster),
                    connector: self.clone(),
                    health: health.clone(),
                    disconnect,
                    supervisor: supervisor.clone(),
                    runtime: Handle::current(),
                };
                // Each node has a connection of its own from its first use on.
                drop(first);
                Route::Slot(Arc::new(nodes), self.slot)
            }
        };
        Commands::new(route, self.shared.op_timeout)
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
            Server::Fixed(..) | Server::Owner(_) => None,
            Server::Master(sentinels) => Some(sentinels),
        }
    }

    /// Returns the cluster, if the server is part of one.
    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        match &self.shared.server {
            Server::Fixed(..) | Server::Master(_) => None,
            Server::Owner(cluster) => Some(cluster),
        }
    }

    /// Learns from a node of a cluster that a slot belongs to another.
    pub(crate) fn note(&self, fault: &Fault) {
        if let Some(cluster) = self.cluster() {
            // The next connection goes to the owner.
            let _redirection = cluster.redirected(self.slot, fault);
        }
    }

    /// Tells whether the server may have changed so lately that not all clients know. Asks first.
    pub(crate) async fn is_unsettled(&self) -> bool {
        let Some(cluster) = self.cluster() else {
            return false;
        };
        // If no node answers, what is known stays.
        drop(cluster.refresh(false).await);
        cluster.is_unsettled(self.slot)
    }

    /// Connects once. `on_push` gets the push messages of the server. It runs in the task that
    /// reads the connection, so it must not block.
    pub(crate) async fn connect(
        &self,
        on_push: impl Fn(Vec<Reply>) + Clone + Send + Sync + 'static,
    ) -> Result<Connection, Fault> {
        let limit = self.shared.connect_timeout;
        match &self.shared.server {
            Server::Fixed(dialer, end) => timeout(limit, dialer.dial(end.child_token(), on_push))
                .await
                .unwrap_or_else(|_elapsed| Err(Fault::connect_timeout(dialer.is_tls()))),
            Server::Master(sentinels) => sentinels.connect(on_push).await,
            Server::Owner(cluster) => cluster.connect(self.slot, on_push).await,
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
            let switched = self.switched();
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
            tokio::select! {
                () = pause => {}
                () = switched => failures = 0,
            }
        }
    }

    /// Resolves when there is another server to connect to, after this call.
    fn switched(&self) -> BoxFuture<'_, ()> {
        match &self.shared.server {
            Server::Fixed(..) => Box::pin(pending()),
            Server::Master(sentinels) => Box::pin(sentinels.switched()),
            Server::Owner(cluster) => {
                let mut changes = cluster.changes();
                Box::pin(async move {
                    if changes.changed().await.is_err() {
                        pending::<()>().await;
                    }
                })
            }
        }
    }
}
