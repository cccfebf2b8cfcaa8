//! [`Core`]: what the parts of a provider share.

use std::future::Future;

use pymq_core::provider::{Health, Link, Requirement};
use pymq_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Commands, Connector, Fault, Version};
use crate::keys::Keys;
use crate::limits::Limits;

/// The state that topics, queues and remote calls share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    /// Runs every command that does not block.
    pub(crate) commands: Commands,
    /// Runs every put. It is `commands`, unless replicas must acknowledge puts.
    pub(crate) puts: Commands,
    /// Opens the other connections.
    pub(crate) connector: Connector,
    pub(crate) keys: Keys,
    pub(crate) health: Health,
    /// The server's version at the first connection.
    pub(crate) version: Version,
    pub(crate) limits: Limits,
    /// Cancelled when the provider is closed or dropped. Every waiting operation then ends with
    /// `Closed`, and every task ends. Commands still run, for tasks with data left to send.
    pub(crate) close: CancellationToken,
    /// Cancelled when the connection for commands ends, a moment after `close`. What still runs
    /// would only wait.
    pub(crate) disconnect: CancellationToken,
    /// The runtime at connect. The runtime of a caller may end before the provider does, and a
    /// `drop` may run outside of any runtime.
    pub(crate) runtime: Handle,
    /// The tasks that `close` waits for. [`Core::spawn`] adds each of them.
    pub(crate) tasks: TaskTracker,
    /// Counts what callers hold that goes back to Redis when it is dropped. The connection stays
    /// open a moment longer for it. `close` cannot wait for it: the caller of `close` may hold it.
    pub(crate) held: TaskTracker,
}

impl Core {
    /// Spawns a task that `close` waits for. The task is dropped when the connection for commands
    /// ends before it. Can be called from any thread.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let disconnect = self.disconnect.clone();
        let task = async move {
            tokio::select! {
                // The task first: it may still log what it could not do.
                biased;
                () = task => {}
                () = disconnect.cancelled() => {}
            }
        };
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Returns the same for the server of a key.
    pub(crate) fn of(&self, key: &str) -> Self {
        Self {
            commands: self.commands.of(|| key.to_owned()),
            connector: self.connector.of(|| key.to_owned()),
            ..self.clone()
        }
    }

    /// Returns how requests are published.
    pub(crate) fn request_channels(&self) -> RequestChannels {
        match self.connector.cluster() {
            None => RequestChannels::Server,
            Some(_) if self.version >= Version(7, 0) => RequestChannels::Slot,
            Some(_) => RequestChannels::Cluster,
        }
    }

    /// Returns a reporter for a connection without which commands still work.
    pub(crate) fn health_reporter(&self, connection: &'static str) -> HealthReporter {
        HealthReporter::new(
            &self.health,
            connection,
            Requirement::Optional,
            &self.connector,
        )
    }

    /// Refuses an operation after `close`. `context` is as in [`Commands::query`].
    pub(crate) fn check_open(&self, context: impl FnOnce() -> String) -> Result<()> {
        if self.tasks.is_closed() {
            Err(Error::new(ErrorKind::Closed, context()))
        } else {
            Ok(())
        }
    }
}

/// Which servers a request can reach.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RequestChannels {
    /// Those that are connected to the one server, which counts them.
    Server,
    /// Those that are connected to the node that owns the slot of the channel, which counts them.
    Slot,
    /// As before, but also those that are connected to another node. That happens for a moment when
    /// a slot moves. A node before version 7 has no channels of a slot.
    Cluster,
}

impl RequestChannels {
    /// Returns the command that publishes a request.
    pub(crate) fn publish(self) -> &'static [u8] {
        match self {
            Self::Server | Self::Cluster => b"PUBLISH",
            Self::Slot => b"SPUBLISH",
        }
    }

    /// Returns the word of the command that counts the servers.
    pub(crate) fn count(self) -> &'static [u8] {
        match self {
            Self::Server | Self::Cluster => b"NUMSUB",
            Self::Slot => b"SHARDNUMSUB",
        }
    }
}

/// Reports the state of one connection to the user.
#[derive(Debug)]
pub(crate) struct HealthReporter {
    link: Link,
    connection: &'static str,
    connector: Connector,
}

impl HealthReporter {
    pub(crate) fn new(
        health: &Health,
        connection: &'static str,
        need: Requirement,
        connector: &Connector,
    ) -> Self {
        Self {
            link: health.link(connection, need),
            connection,
            connector: connector.clone(),
        }
    }

    pub(crate) fn up(&mut self) {
        self.link.up();
    }

    /// Reports a lost connection, or a failed attempt to connect.
    pub(crate) fn down(&mut self, fault: Fault) {
        let context = format!("redis: connection for {}", self.connection);
        // The health of a connection has no unknown outcome: that belongs to its commands.
        let error = fault
            .with_known_outcome()
            .into_error(&context, self.connector.address());
        self.link.down(&error);
    }
}
