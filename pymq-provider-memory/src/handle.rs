//! [`Handle`]: what one provider has open on a broker, so that closing it ends exactly that.
//!
//! Lock order: `open`, then a table of the space. Nothing takes them the other way round.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pymq_core::provider::{Detached, Filter, Health, Inlet, ReplyInlet, RequestInlet};
use pymq_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use crate::MemoryBroker;
use crate::broker::{Space, unique};

/// One handle on a namespace of a broker.
pub(crate) struct Handle {
    /// Tells handles apart where a publish counts them.
    id: u64,
    space: Arc<Space>,
    /// Keeps a named broker in its table.
    _broker: MemoryBroker,
    /// Set under the lock of `open`: whoever opens something sees it, or is ended by it.
    closed: CancellationToken,
    open: Mutex<HashMap<u64, Opened>>,
    /// Ready until it is closed: there is no connection to lose.
    health: Health,
}

/// What a handle has given out and must end when it closes.
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
            closed: CancellationToken::new(),
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

    /// Refuses an operation after close.
    pub(crate) fn check(&self, operation: &str, name: &str) -> Result<()> {
        if self.closed.is_cancelled() {
            Err(closed(operation, name))
        } else {
            Ok(())
        }
    }

    /// Awaits a future that closing this handle cuts short.
    pub(crate) async fn unless_closed<T>(
        &self,
        operation: &str,
        name: &str,
        future: impl Future<Output = T>,
    ) -> Result<T> {
        self.closed
            .run_until_cancelled(future)
            .await
            .ok_or_else(|| closed(operation, name))
    }

    /// Makes something live, to be ended by [`close`](Self::close) unless [`release`](Self::release)d before.
    pub(crate) fn open(&self, id: u64, opened: Opened) -> Result<()> {
        let mut open = self.lock();
        if self.closed.is_cancelled() {
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

    /// Returns what a receiving end runs when it is dropped.
    pub(crate) fn release_on_drop(
        self: &Arc<Self>,
        id: u64,
    ) -> impl FnOnce(Detached) + Send + Sync + use<> {
        let handle = Arc::downgrade(self);
        move |detached| {
            // Without a handle there is nothing left: it closed when it was dropped.
            if let Some(handle) = handle.upgrade() {
                handle.release(id);
            }
            drop(detached);
        }
    }

    /// Ends everything this handle has open. Idempotent.
    pub(crate) fn close(&self) {
        let mut open = self.lock();
        self.closed.cancel();
        for (id, opened) in open.drain() {
            self.withdraw(id, &opened);
            opened.end();
        }
        drop(open);
        self.health.close();
    }

    fn release(&self, id: u64) {
        let opened = self.lock().remove(&id);
        if let Some(opened) = opened {
            self.withdraw(id, &opened);
        }
    }

    fn withdraw(&self, id: u64, opened: &Opened) {
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
            .field("closed", &self.closed.is_cancelled())
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
