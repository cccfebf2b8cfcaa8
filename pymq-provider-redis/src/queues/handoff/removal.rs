//! [`Removal`]: a message that was handed to a caller leaves its handoff.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::is_lost;
use crate::connection::{self, Command, CommandWriter, Connection, Fault, Remedy, Reply};
use crate::keys::QueueKeys;
use crate::queues::queue::Queue;

/// Removes a handoff and the message in it.
#[derive(Clone, Debug)]
pub(super) struct Removal {
    list: String,
    leases: String,
    batch: Arc<str>,
}

impl Removal {
    pub(super) fn new(keys: &QueueKeys, batch: &Arc<str>) -> Self {
        Self {
            list: keys.lease_batch(batch),
            leases: keys.leases.clone(),
            batch: Arc::clone(batch),
        }
    }

    /// Sends it on the connection of the waits, which is idle then, or on that for commands. If that
    /// fails, repeats it on the connection for commands.
    pub(super) fn start(self, queue: &Queue, connection: Option<&Connection>) {
        let again = RemoveAgain(Some((queue.clone(), self.clone())));
        let note = move |outcome: Result<Reply, Fault>| {
            if outcome.and_then(removed).is_ok() {
                again.disarm();
            }
        };
        // If it is refused, `again` is dropped.
        drop(match connection {
            None => queue.commands().start(self.command(), note),
            Some(connection) => {
                let until = Instant::now() + queue.shared().core.connector.op_timeout();
                connection.start(self.command(), until, Box::new(note))
            }
        });
    }

    fn command(&self) -> Command {
        let mut commands = CommandWriter::default();
        commands.add(&[b"UNLINK", self.list.as_bytes()], []);
        commands.add(
            &[b"ZREM", self.leases.as_bytes(), self.batch.as_bytes()],
            [],
        );
        commands.finish()
    }
}

/// Tells why one of the two commands was refused, if it was: the slot of the queue may move to
/// another node of a cluster between them.
fn removed(answer: Reply) -> Result<(), Fault> {
    match answer {
        Reply::List(answers) => answers.into_iter().try_for_each(connection::read),
        answer => connection::read(answer),
    }
}

/// Repeats a removal on the connection for commands when it is dropped, unless it is disarmed.
struct RemoveAgain(Option<(Queue, Removal)>);

impl RemoveAgain {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for RemoveAgain {
    fn drop(&mut self) {
        if let Some((queue, removal)) = self.0.take() {
            queue.clone().shared().spawn(async move {
                let commands = queue.commands().repeatable();
                let mut failures = 0;
                while let Err(fault) = commands
                    .try_query(|| removal.command())
                    .await
                    .and_then(removed)
                {
                    if !is_lost(&fault) && fault.remedy != Remedy::Wait {
                        tracing::error!(
                            queue = queue.name(),
                            "cannot remove a message that was delivered, it comes again: {fault}"
                        );
                        return;
                    }
                    sleep(connection::pause(failures)).await;
                    failures = failures.saturating_add(1);
                }
            });
        }
    }
}
