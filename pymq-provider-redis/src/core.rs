//! What the parts of a provider share: the connection for commands, the names, and the end of it all.

use std::future::Future;

use pymq_core::provider::{Health, Link, Requirement};
use pymq_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Commands, Connector, Fault, Version};
use crate::keys::Keys;
use crate::limits::Limits;

/// The shared ground of topics, queues and RPC. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    /// Every command that does not block.
    pub(crate) commands: Commands,
    /// Dials the other connections.
    pub(crate) connector: Connector,
    pub(crate) keys: Keys,
    pub(crate) health: Health,
    /// Of the server at the first connection.
    pub(crate) version: Version,
    pub(crate) limits: Limits,
    /// Cancelled when the provider is closed or dropped: every waiter ends with `Closed`, every task ends. Commands
    /// still run for the tasks that have something left to send.
    pub(crate) close: CancellationToken,
    /// Cancelled when the connection for commands ends, a moment after `close`: what still runs could only wait.
    pub(crate) hangup: CancellationToken,
    /// Captured at connect: the runtime of a caller may end before the provider does, and a `drop` may have none.
    pub(crate) runtime: Handle,
    /// What `close` waits for; every task is spawned by [`Core::spawn`].
    pub(crate) tasks: TaskTracker,
    /// A token for whatever a caller holds that goes back to Redis when it is dropped. The connection outlives it, for
    /// a moment; `close` cannot wait for it, as the caller may be the one who closes.
    pub(crate) held: TaskTracker,
}

impl Core {
    /// Spawns a task that `close` waits for; one that has not ended when the connection does is dropped. Can be called
    /// from anywhere.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let hangup = self.hangup.clone();
        let task = async move {
            tokio::select! {
                // The task first: it may have something to say about what it could not do.
                biased;
                () = task => {}
                () = hangup.cancelled() => {}
            }
        };
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Returns where the state of a connection is reported. Without this one the commands still work.
    pub(crate) fn link(&self, connection: &'static str) -> LinkTo {
        LinkTo::new(
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

/// The state of one connection, as the user gets to see it.
#[derive(Debug)]
pub(crate) struct LinkTo {
    link: Link,
    connection: &'static str,
    connector: Connector,
}

impl LinkTo {
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

    /// Reports a loss, or a failure to connect.
    pub(crate) fn down(&mut self, fault: Fault) {
        let context = format!("redis: connection for {}", self.connection);
        // What was under way on it is not what is told here.
        let error = fault.known().into_error(&context, self.connector.address());
        self.link.down(&error);
    }
}
