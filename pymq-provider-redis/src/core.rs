//! What the parts of a provider share: the connection for commands, the names, and the end of it all.

use pymq::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Commands, Connector, Version};
use crate::keys::Keys;

/// The shared ground of topics, queues and RPC. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    /// Every command that does not block.
    pub(crate) commands: Commands,
    /// Dials the other connections.
    pub(crate) connector: Connector,
    pub(crate) keys: Keys,
    /// Of the server at the first connection.
    pub(crate) version: Version,
    /// Cancelled when the provider is closed or dropped: every waiter ends with `Closed`, every task ends. Commands
    /// still run for the tasks that have something left to send.
    pub(crate) close: CancellationToken,
    /// Where every task is spawned; `close` waits for them.
    pub(crate) tasks: TaskTracker,
    /// A token for whatever a caller holds that goes back to Redis when it is dropped. The connection outlives it, for
    /// a moment; `close` cannot wait for it, as the caller may be the one who closes.
    pub(crate) held: TaskTracker,
}

impl Core {
    /// Refuses an operation after `close`. `context` is as in [`Commands::query`].
    pub(crate) fn check_open(&self, context: impl FnOnce() -> String) -> Result<()> {
        if self.close.is_cancelled() {
            Err(Error::new(ErrorKind::Closed, context()))
        } else {
            Ok(())
        }
    }
}
