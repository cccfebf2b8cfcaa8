//! Subscriptions: one connection, one wire subscription for each topic or pattern however many listen here, and one
//! task that tells Redis what the [`Table`] plans. Messages go straight from the task that reads the connection into
//! the bounded buffers of those who listen; nothing waits, and nothing is queued in between.

mod link;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pymq_core::provider::Detached;
use pymq_core::{ErrorKind, Result};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::time::timeout;

pub(crate) use self::table::{Sink, Target};
use self::table::{Table, TargetRef};
use crate::connection::Fault;
use crate::core::Core;
use crate::rpc;
use crate::wire;

/// The subscriptions of a provider. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Subscriptions {
    core: Core,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// A std mutex: the critical sections are a few moves and never an await.
    state: Mutex<State>,
    /// There is something to plan.
    changed: Notify,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    table: Table,
    /// The task runs, and with it the connection: from the first subscription on.
    is_started: bool,
    /// Why there is no connection.
    down: Option<Fault>,
}

impl Subscriptions {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            core,
            shared: Arc::default(),
        }
    }

    /// Makes what a local subscription to the target is known by, before it is attached.
    pub(crate) fn ticket(&self, target: Target) -> Ticket {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        Ticket {
            subscriptions: self.clone(),
            target,
            id,
        }
    }

    /// Adds a local subscription and waits until Redis has confirmed it.
    pub(crate) async fn attach(
        &self,
        context: impl Fn() -> String + Send,
        ticket: &Ticket,
        sink: Sink,
    ) -> Result<()> {
        let error = |fault: Fault| fault.into_error(&context(), self.core.connector.address());
        let confirmed = {
            let mut state = self.shared.lock();
            let confirmed = state
                .table
                .attach(&ticket.target, ticket.id, sink)
                .map_err(error)?;
            if !std::mem::replace(&mut state.is_started, true) {
                self.core.spawn(self.clone().run());
            }
            confirmed
        };
        self.shared.changed.notify_one();
        match timeout(self.core.connector.op_timeout(), confirmed).await {
            Ok(Ok(outcome)) => outcome.map_err(error),
            // The task is gone without a word: the runtime is shutting down.
            Ok(Err(_)) => Err(error(Fault::closed())),
            Err(_elapsed) => {
                let down = self.shared.lock().down.clone();
                Err(error(down.unwrap_or_else(|| {
                    Fault::new(ErrorKind::Timeout, "no confirmation in time")
                })))
            }
        }
    }

    /// Takes a push message to those who listen. Runs in the task that reads the connection, which is known by
    /// [`Table::connection`].
    fn deliver(&self, connection: u64, push: PushInfo) {
        let is_pattern = match push.kind {
            PushKind::Message => false,
            PushKind::PMessage => true,
            _ => return,
        };
        let mut parts = push.data.into_iter().filter_map(|part| match part {
            Value::BulkString(bytes) => Some(Bytes::from(bytes)),
            _ => None,
        });
        let pattern = if is_pattern { parts.next() } else { None };
        let (Some(channel), Some(payload)) = (parts.next(), parts.next()) else {
            return;
        };
        // A name that is not UTF-8 is none of ours.
        let Ok(channel) = std::str::from_utf8(&channel) else {
            return;
        };
        let Some(topic) = self.core.keys.strip(channel) else {
            return;
        };
        if let Some(frame) = rpc::request_frame(&payload) {
            let server = if is_pattern {
                None
            } else {
                self.shared.lock().table.server(connection, channel)
            };
            if let Some(server) = server {
                server.receive(&payload, &frame);
            }
            return;
        }
        let message = wire::decode(payload);
        let topic: Arc<str> = topic.into();
        let target = match pattern.as_deref().map(std::str::from_utf8) {
            None => TargetRef::Channel(channel),
            Some(Ok(pattern)) => TargetRef::Pattern(pattern),
            Some(Err(_)) => return,
        };
        let mut state = self.shared.lock();
        state.table.deliver(connection, target, &topic, &message);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a local subscription is known by.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    subscriptions: Subscriptions,
    target: Target,
    id: u64,
}

impl Ticket {
    /// Returns what takes the subscription back; does nothing for one that never was.
    pub(crate) fn give_back(&self) -> impl FnOnce(Detached) + Send + Sync + use<> {
        let Self {
            subscriptions,
            target,
            id,
        } = self.clone();
        move |detached| {
            subscriptions
                .shared
                .lock()
                .table
                .detach(&target, id, detached);
            subscriptions.shared.changed.notify_one();
        }
    }
}
