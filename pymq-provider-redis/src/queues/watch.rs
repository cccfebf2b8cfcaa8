//! Watching a queue for a message without taking it, on a connection of its own.

use std::time::Duration;

use futures_util::future::BoxFuture;
use pymq_core::{Error, ErrorKind};
use redis::Value;
use tokio::time::{sleep, timeout};

use super::queue::Store;
use crate::connection::{self, Fault, Live, Remedy};
use crate::core::LinkTo;

/// How long one command blocks at most. Bounded, so that each answer also proves that the server is there.
const BLOCK: Duration = Duration::from_secs(1);

/// How much longer its answer may take before the connection is given up.
const GRACE: Duration = Duration::from_secs(2);

/// What the watch has seen.
#[derive(Debug)]
pub(super) enum Seen {
    /// There is, or may be, something to take.
    Something,
    /// There was nothing.
    Nothing,
    /// The queue cannot be watched for now, so only a take tells.
    Blind,
    /// It cannot be watched.
    Fault(Error),
}

/// The watch over one queue.
pub(super) struct Watch {
    store: Store,
    connection: Option<Live>,
    /// The command under way. It stays so while nobody looks, and is dropped only with the connection.
    glance: Option<BoxFuture<'static, Glance>>,
    failures: u32,
    link: LinkTo,
}

/// What a command came to, and its connection if that is still good.
type Glance = (Option<Live>, Result<bool, Fault>);

impl Watch {
    pub(super) fn new(store: Store) -> Self {
        Self {
            connection: None,
            glance: None,
            failures: 0,
            link: link(&store),
            store,
        }
    }

    /// Waits until there is something to take, for about a second.
    ///
    /// Cancel safe: the next call goes on with the command under way.
    pub(super) async fn next(&mut self) -> Seen {
        let glance = self.glance.get_or_insert_with(|| {
            let failures = self.failures;
            Box::pin(glance(self.store.clone(), self.connection.take(), failures))
        });
        let (connection, outcome) = glance.await;
        self.glance = None;
        self.connection = connection;
        self.failures = if outcome.is_ok() {
            0
        } else {
            self.failures.saturating_add(1)
        };
        match outcome {
            Ok(is_something) => {
                self.link.up();
                if is_something {
                    Seen::Something
                } else {
                    Seen::Nothing
                }
            }
            // The command may write and is refused then, a take is not: look by taking.
            Err(fault) if fault.kind == ErrorKind::OutOfMemory => Seen::Something,
            Err(fault) if matches!(fault.kind, ErrorKind::Disconnected | ErrorKind::Timeout) => {
                if self.failures == 1 {
                    tracing::warn!(
                        queue = self.store.name(),
                        "cannot watch the queue, so it is polled: {fault}"
                    );
                }
                self.link.down(fault);
                Seen::Blind
            }
            Err(fault) => Seen::Fault(self.store.fault("get from", fault)),
        }
    }

    /// Closes the connection.
    pub(super) fn hang_up(&mut self) {
        self.glance = None;
        self.connection = None;
        self.link = link(&self.store);
    }
}

/// A connection that nobody waits on is not missing.
fn link(store: &Store) -> LinkTo {
    store.shared().core.link("waiting")
}

async fn glance(store: Store, connection: Option<Live>, failures: u32) -> Glance {
    let connector = &store.shared().core.connector;
    let live = match connection.filter(|live| !live.lost.is_cancelled()) {
        Some(live) => live,
        None => match connector.dial_waiting().await {
            Ok(live) => live,
            Err(fault) => {
                sleep(connection::pause(failures)).await;
                return (None, Err(fault));
            }
        },
    };
    let list = store.list();
    let mut peek = redis::cmd("BLMOVE");
    peek.arg(&list)
        .arg(&list)
        .arg("RIGHT")
        .arg("RIGHT")
        .arg(BLOCK.as_secs());
    let mut connection = live.connection.clone();
    let answer = timeout(BLOCK + GRACE, peek.query_async::<Value>(&mut connection)).await;
    let fault = match answer {
        Ok(Ok(value)) => return (Some(live), Ok(value != Value::Nil)),
        Ok(Err(error)) => Fault::of_command(error),
        Err(_elapsed) => Fault::timeout(),
    };
    if fault.kind == ErrorKind::OutOfMemory {
        let pause = Duration::from_millis(50)
            + Duration::from_millis(200).mul_f64(connection::random_fraction());
        sleep(pause).await;
    } else {
        sleep(connection::pause(failures)).await;
    }
    let is_good = !matches!(fault.remedy, Remedy::Lost | Remedy::Reconnect);
    (is_good.then_some(live), Err(fault))
}
