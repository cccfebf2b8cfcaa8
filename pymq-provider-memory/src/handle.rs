//! [`Handle`]: what one provider has open on a broker. Closing the handle ends exactly that.
//!
//! Lock order: `open`, then a table of the namespace.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pymq_core::provider::{Detached, Filter, Health, Inlet, ReplyInlet, RequestInlet};
use pymq_core::{Error, ErrorKind, Message, Result};

use crate::MemoryBroker;
use crate::broker::{Space, unique};

/// One handle on a namespace of a broker.
pub(crate) struct Handle {
    /// Identifies the handle where a publish counts handles.
    id: u64,
    space: Arc<Space>,
    /// Keeps a named broker in its table.
    _broker: MemoryBroker,
    /// Set under the lock of `open`. So [`open`](Self::open) either sees it, or
    /// [`close`](Self::close) ends what was opened. An atomic, because each operation reads it.
    closed: AtomicBool,
    open: Mutex<HashMap<u64, Opened>>,
    /// Ready until the handle is closed, because there is no connection to lose.
    health: Health,
}

/// What a handle has open and ends when it closes.
pub(crate) enum Opened {
    Subscription(Filter, Inlet),
    Server(Arc<str>, RequestInlet),
    Call(Arc<str>, ReplyInlet),
}

impl Handle {
    pub(crate) fn new(broker: &MemoryBroker, namespace: &str) -> Self {
        Self {
            id: unique(),
            space: broker.space(namespace),
            _broker: broker.clone(),
            closed: AtomicBool::new(false),
            open: Mutex::default(),
            health: Health::new(),
        }
    }

    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Fails with `Closed` after [`close`](Self::close).
    pub(crate) fn check(&self, operation: &str, name: &str) -> Result<()> {
        if self.is_closed() {
            Err(closed(operation, name))
        } else {
            Ok(())
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn publish(&self, topic: &str, message: Message) -> Result<usize> {
        self.check("publish to", topic)?;
        Ok(self.space.topics.publish(topic, message))
    }

    /// Adds a subscription, server or call. It stays until [`release`](Self::release) removes it or
    /// [`close`](Self::close) ends it.
    pub(crate) fn open(&self, id: u64, opened: Opened) -> Result<()> {
        let mut open = self.lock();
        if self.is_closed() {
            drop(open);
            return Err(opened.closed());
        }
        match &opened {
            Opened::Subscription(filter, inlet) => {
                self.space.topics.add(filter, self.id, id, inlet);
            }
            Opened::Server(channel, inlet) => self.space.channels.add(channel, id, inlet),
            Opened::Call(..) => {}
        }
        open.insert(id, opened);
        Ok(())
    }

    /// Returns the function that a receiving end runs when it is dropped.
    pub(crate) fn release_on_drop(
        self: &Arc<Self>,
        id: u64,
    ) -> impl FnOnce(Detached) + Send + Sync + use<> {
        let handle = Arc::downgrade(self);
        move |detached| {
            // If the handle is gone, it has ended everything when it was dropped.
            if let Some(handle) = handle.upgrade() {
                handle.release(id);
            }
            drop(detached);
        }
    }

    /// Ends everything that this handle has open. Idempotent.
    pub(crate) fn close(&self) {
        let mut open = self.lock();
        self.closed.store(true, Ordering::Release);
        for (id, opened) in open.drain() {
            self.remove_from_space(id, &opened);
            opened.end();
        }
        drop(open);
        // The tasks that wait at a queue look again, and those of this handle see `closed`.
        self.space.queues.wake_all();
        self.health.close();
    }

    fn release(&self, id: u64) {
        let opened = self.lock().remove(&id);
        if let Some(opened) = opened {
            self.remove_from_space(id, &opened);
        }
    }

    fn remove_from_space(&self, id: u64, opened: &Opened) {
        match opened {
            Opened::Subscription(filter, _) => self.space.topics.remove(filter, id),
            Opened::Server(channel, _) => self.space.channels.remove(channel, id),
            Opened::Call(..) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Opened>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("id", &self.id)
            .field("open", &self.lock().len())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Opened {
    fn end(&self) {
        let error = self.closed();
        match self {
            Self::Subscription(_, inlet) => inlet.end(error),
            Self::Server(_, inlet) => inlet.end(error),
            Self::Call(_, inlet) => inlet.end(error),
        }
    }

    fn closed(&self) -> Error {
        match self {
            Self::Subscription(filter, _) => closed("subscribe to", filter.as_str()),
            Self::Server(channel, _) => closed("listen on", channel),
            Self::Call(channel, _) => closed("request to", channel),
        }
    }
}

fn closed(operation: &str, name: &str) -> Error {
    Error::new(ErrorKind::Closed, format!("memory: {operation} `{name}`"))
}
