//! One queue in Redis: what its operations share. Each operation has a file and a script of its
//! own.

use std::sync::Arc;

use bytes::Bytes;
use pymq_core::{Error, ErrorKind, Result};

use super::Shared;
use crate::connection::{Command, Commands, Connector, Fault, FromReply, Script};
use crate::keys::QueueKeys;

/// The most messages, and their bytes, that one script handles, as in `queue.lua`. It bounds how
/// long other clients of the server wait.
pub(super) const MAX_SCRIPT_MESSAGES: usize = 1_000;
pub(super) const MAX_SCRIPT_BYTES: usize = 4 << 20;

/// Declares a queue script, with `queue.lua` before it.
macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(
            include_str!("../../scripts/queue.lua"),
            include_str!(concat!("../../scripts/", $file))
        ))
    };
}
pub(super) use script;

/// A queue by name. Cheap to clone and to create.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    name: Arc<str>,
}

/// Tells whether an error may pass by itself, so that waiting callers wait on.
pub(super) fn is_transient(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::OutOfMemory
    )
}

impl Queue {
    pub(super) fn new(shared: Arc<Shared>, name: &str) -> Self {
        Self {
            shared,
            name: name.into(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns the name of Python's list.
    pub(super) fn list(&self) -> String {
        self.shared.core.keys.name(&self.name)
    }

    /// Sends a command that the server answers at once.
    pub(super) async fn probe(&self) -> Result<()> {
        let ping = || Command::new(["PING"]);
        self.query("get from", &self.commands(), ping).await
    }

    /// Returns why there is no connection for commands now, or `None` if there is one.
    pub(super) fn why_down(&self) -> Option<Fault> {
        self.commands().why_down()
    }

    pub(super) fn keys(&self) -> QueueKeys {
        self.shared.core.keys.queue(&self.name)
    }

    pub(super) fn commands(&self) -> Commands {
        self.shared.core.commands.of(|| self.list())
    }

    /// Returns what opens connections to the server of the queue.
    pub(super) fn connector(&self) -> Connector {
        self.shared.core.connector.of(|| self.list())
    }

    /// Returns the handle for puts. With `replicas`, it answers when the replicas have the item.
    pub(super) fn puts(&self) -> Commands {
        self.shared.core.puts.of(|| self.list())
    }

    pub(super) async fn query<T: FromReply>(
        &self,
        operation: &str,
        commands: &Commands,
        make: impl Fn() -> Command + Send + Sync,
    ) -> Result<T> {
        commands
            .query(|| self.context(operation), make)
            .await
            .map_err(|error| self.explain_wrong_type(error))
    }

    pub(super) async fn run<T: FromReply>(
        &self,
        operation: &str,
        commands: &Commands,
        script: &Script,
        keys: &[&str],
        args: &[Bytes],
    ) -> Result<T> {
        let answer = commands
            .script(|| self.context(operation), script, keys, args)
            .await;
        answer.map_err(|error| self.explain_wrong_type(error))
    }

    /// Names the operation and the queue, for errors.
    pub(super) fn context(&self, operation: &str) -> String {
        format!("redis: {operation} `{}`", self.name)
    }

    /// Converts a failure on another connection to an error.
    pub(super) fn fault(&self, operation: &str, fault: Fault) -> Error {
        self.explain_wrong_type(fault.into_error(
            &self.context(operation),
            self.shared.core.connector.address(),
        ))
    }

    /// Names the key of the wrong type. It is almost always the list, which Python writes too.
    fn explain_wrong_type(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::WrongType {
            return error;
        }
        let context = format!(
            "redis: queue `{}`: `{}` or a key beside it belongs to another program, \
             use another name",
            self.name,
            self.list()
        );
        Error::new(ErrorKind::WrongType, context).with_source(error)
    }
}
