//! Subscriptions: one connection, one Redis subscription for each topic or pattern with any number
//! of local subscribers, and one task that sends Redis what the [`Table`] plans. The task that
//! reads the connection puts messages straight into the bounded buffers of the subscribers: it
//! never waits.
//!
//! The same connection tells when a key changes: [`Watch`].

mod connection;
mod table;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pymq_core::provider::Detached;
use pymq_core::{ErrorKind, Result};
use tokio::sync::{Notify, watch::Sender};
use tokio::time::timeout;

pub(crate) use self::table::{Sink, Target};
use self::table::{Table, TargetRef};
pub(crate) use self::watch::Watch;
use self::watch::Watches;
use crate::connection::{Connection, Fault, Reply};
use crate::core::Core;
use crate::rpc;
use crate::wire;

/// The subscriptions of a provider. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Subscriptions {
    core: Core,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// A std mutex, because the critical sections are short and contain no await.
    state: Mutex<State>,
    connection: Sender<Current>,
    /// The table has changes to plan.
    changed: Notify,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    table: Table,
    watches: Watches,
    /// Whether the task runs, and with it the connection: from the first subscription or watch on.
    is_started: bool,
}

/// The connection, or why there is none, once an attempt has failed.
type Current = Result<Arc<Connection>, Option<Fault>>;

impl Subscriptions {
    pub(crate) fn new(core: Core) -> Self {
        let shared = Shared {
            state: Mutex::default(),
            connection: Sender::new(Err(None)),
            changed: Notify::new(),
            next_id: AtomicU64::new(0),
        };
        Self {
            core,
            shared: Arc::new(shared),
        }
    }

    /// Tells whether keys may move to another server.
    pub(crate) fn is_on_cluster(&self) -> bool {
        self.core.connector.cluster().is_some()
    }

    /// Creates the identity of a local subscription to a target, before it is attached.
    pub(crate) fn register(&self, target: Target) -> Registration {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        Registration {
            subscriptions: self.clone(),
            target,
            id,
        }
    }

    /// Adds a local subscription and waits until Redis has confirmed it.
    pub(crate) async fn attach(
        &self,
        context: impl Fn() -> String + Send,
        registration: &Registration,
        sink: Sink,
    ) -> Result<()> {
        let error = |fault: Fault| fault.into_error(&context(), self.core.connector.address());
        let confirmed = {
            let mut state = self.shared.lock();
            let confirmed = state
                .table
                .attach(&registration.target, registration.id, sink)
                .map_err(error)?;
            self.start(&mut state);
            confirmed
        };
        self.shared.changed.notify_one();
        match timeout(self.core.connector.op_timeout(), confirmed).await {
            Ok(Ok(outcome)) => outcome.map_err(error),
            // The task has ended: the runtime is shutting down.
            Ok(Err(_)) => Err(error(Fault::closed())),
            Err(_elapsed) => {
                let down = self.shared.connection.borrow().clone().err().flatten();
                Err(error(down.unwrap_or_else(|| {
                    Fault::new(ErrorKind::Timeout, "no confirmation in time")
                })))
            }
        }
    }

    fn set_connection(&self, current: Current) {
        self.shared.connection.send_modify(|known| *known = current);
    }

    fn start(&self, state: &mut State) {
        if !std::mem::replace(&mut state.is_started, true) {
            self.core.spawn(self.clone().run());
        }
    }

    /// Delivers a push message to the subscribers. Runs in the task that reads the connection with
    /// the number `connection`, see [`Table::connection`].
    fn deliver(&self, connection: u64, push: Vec<Reply>) {
        if let Some(changed) = watch::changed_keys(&push) {
            self.shared.lock().watches.end(changed);
            return;
        }
        let mut parts = push.into_iter().filter_map(|part| match part {
            Reply::Text(bytes) => Some(bytes),
            _ => None,
        });
        let is_pattern = match parts.next().as_deref() {
            Some(b"message" | b"smessage") => false,
            Some(b"pmessage") => true,
            Some(b"sunsubscribe") => return self.slot_moved(connection, parts.next().as_ref()),
            _ => return,
        };
        let pattern = if is_pattern { parts.next() } else { None };
        let (Some(channel), Some(payload)) = (parts.next(), parts.next()) else {
            return;
        };
        // Our names are always UTF-8.
        let Ok(channel) = std::str::from_utf8(&channel) else {
            return;
        };
        // Opaque bytes are no request.
        let opaque = wire::decode_opaque(&payload);
        if opaque.is_none()
            && let Some(frame) = rpc::request_frame(&payload)
        {
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
        let Some(topic) = self.core.keys.strip(channel) else {
            return;
        };
        let message = opaque.unwrap_or_else(|| wire::decode(payload));
        let target = match pattern.as_deref().map(std::str::from_utf8) {
            None => TargetRef::Channel(channel),
            Some(Ok(pattern)) => TargetRef::Pattern(pattern),
            Some(Err(_)) => return,
        };
        let mut state = self.shared.lock();
        state.table.deliver(connection, target, topic, message);
    }
}

impl Subscriptions {
    /// Ends the connection if the server has ended a subscription by itself. It does so when the
    /// slot of the channel moves to another node.
    fn slot_moved(&self, connection: u64, channel: Option<&Bytes>) {
        let state = self.shared.lock();
        let is_needed = |channel: &Bytes| {
            let channel = std::str::from_utf8(channel);
            channel.is_ok_and(|channel| state.table.needs_shard(connection, channel))
        };
        if channel.is_some_and(is_needed)
            && let Ok(current) = &*self.shared.connection.borrow()
        {
            current.lost.cancel();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The identity of a local subscription.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    subscriptions: Subscriptions,
    target: Target,
    id: u64,
}

impl Registration {
    /// Returns a function that detaches the subscription. It does nothing if it is not attached.
    pub(crate) fn detach_fn(&self) -> impl FnOnce(Arc<Detached>) + Send + Sync + use<> {
        let Self {
            subscriptions,
            target,
            id,
        } = self.clone();
        move |detached: Arc<Detached>| {
            subscriptions
                .shared
                .lock()
                .table
                .detach(&target, id, detached);
            subscriptions.shared.changed.notify_one();
        }
    }
}
