//! [`Watch`]: learns when one of some keys changes. It uses the client-side caching of Redis: the
//! server remembers the keys that a connection has read. When any client changes one of them, it
//! sends a message to that connection.
//!
//! The server sends this message once for each key. So a watch ends with the first change. It also
//! ends when a change may have been missed. Its owner then begins it again, and reads the keys
//! after that.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Current, Subscriptions};
use crate::connection::{self, CommandWriter, Connection, Fault, Reply};

/// How late an answer of the connection may be before nothing is watched on it any more. Its owners
/// then wait in another way.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// A watch of some keys. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    subscriptions: Subscriptions,
    keys: Arc<Keys>,
}

#[derive(Debug)]
struct Keys {
    names: Vec<String>,
    /// Every change since the watch began ends it.
    is_on: AtomicBool,
    ended: Notify,
}

/// All watches, by key. A key has one watch at most.
#[derive(Debug, Default)]
pub(super) struct Watches(HashMap<String, Arc<Keys>>);

impl Subscriptions {
    /// Returns a watch that has not begun.
    pub(crate) fn watch(&self, names: Vec<String>) -> Watch {
        let keys = Keys {
            names,
            is_on: AtomicBool::new(false),
            ended: Notify::new(),
        };
        Watch {
            subscriptions: self.clone(),
            keys: Arc::new(keys),
        }
    }

    /// Returns the connection, or why there is none. Waits for the first attempt to connect.
    async fn connection(&self) -> Result<Arc<Connection>, Fault> {
        self.start(&mut self.shared.lock());
        let mut current = self.shared.connection.subscribe();
        let is_known = |current: &Current| !matches!(current, Err(None));
        let current = current.wait_for(is_known).await;
        let current = current.map_err(|_closed| Fault::closed())?.clone();
        current.map_err(|fault| fault.unwrap_or_else(Fault::no_connection))
    }
}

impl Watch {
    /// Begins to watch. The future tells whether one of the keys exists. If it fails, the watch has
    /// not begun.
    pub(crate) fn begin(&self) -> BoxFuture<'static, Result<bool, Fault>> {
        let watch = self.clone();
        Box::pin(async move {
            let begun = timeout(ANSWER_LIMIT, watch.try_begin()).await;
            let begun = begun.unwrap_or_else(|_elapsed| Err(Fault::timeout()));
            if begun.is_err() {
                watch.keys.end();
            }
            begun
        })
    }

    async fn try_begin(&self) -> Result<bool, Fault> {
        let connection = self.subscriptions.connection().await?;
        // Before it is sent: the first change may come with the answer.
        self.subscriptions.shared.lock().watches.add(&self.keys);
        let mut commands = CommandWriter::default();
        commands.add(&[b"CLIENT", b"TRACKING", b"ON", b"OPTIN"], []);
        // It holds for the next command.
        commands.add(&[b"CLIENT", b"CACHING", b"YES"], []);
        let names = self.keys.names.iter().map(String::as_bytes);
        let exists: Vec<_> = [&b"EXISTS"[..]].into_iter().chain(names).collect();
        commands.add(&exists, []);
        let mut found = 0;
        for reply in connection.query::<Vec<Reply>>(commands.finish()).await? {
            if let Reply::Int(number) = connection::read(reply)? {
                found = number;
            }
        }
        Ok(found > 0)
    }

    /// Tells whether no key has changed since the watch began.
    pub(crate) fn is_on(&self) -> bool {
        self.keys.is_on.load(Ordering::Acquire)
    }

    /// Waits until the watch has ended.
    pub(crate) async fn ended(&self) {
        while self.is_on() {
            self.keys.ended.notified().await;
        }
    }

    /// Returns the connection on which the server tells changes, if it is up.
    pub(crate) fn connection(&self) -> Option<Arc<Connection>> {
        self.subscriptions.shared.connection.borrow().clone().ok()
    }

    /// Ends the watch.
    pub(crate) fn end(&self) {
        self.subscriptions.shared.lock().watches.remove(&self.keys);
        self.keys.end();
    }
}

impl Keys {
    fn end(&self) {
        self.is_on.store(false, Ordering::Release);
        self.ended.notify_one();
    }
}

impl Watches {
    fn add(&mut self, keys: &Arc<Keys>) {
        keys.is_on.store(true, Ordering::Release);
        for name in &keys.names {
            self.0.insert(name.clone(), Arc::clone(keys));
        }
    }

    fn remove(&mut self, keys: &Arc<Keys>) {
        for name in &keys.names {
            if self
                .0
                .get(name)
                .is_some_and(|known| Arc::ptr_eq(known, keys))
            {
                self.0.remove(name);
            }
        }
    }

    /// Ends the watches of these keys, or all.
    pub(super) fn end(&self, changed: Changed<'_>) {
        let Changed::Keys(names) = changed else {
            return self.end_all();
        };
        for name in names {
            let name = match name {
                Reply::Text(name) => std::str::from_utf8(name).ok(),
                _ => None,
            };
            if let Some(keys) = name.and_then(|name| self.0.get(name)) {
                keys.end();
            }
        }
    }

    pub(super) fn end_all(&self) {
        for keys in self.0.values() {
            keys.end();
        }
    }
}

/// What the server says has changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Changed<'a> {
    Keys(&'a [Reply]),
    /// All keys were deleted.
    All,
}

/// Reads a push message about changes. Returns `None` for any other.
pub(super) fn changed_keys(push: &[Reply]) -> Option<Changed<'_>> {
    match push {
        [Reply::Text(kind), Reply::List(names)] if kind == "invalidate" => {
            Some(Changed::Keys(names))
        }
        [Reply::Text(kind), Reply::Null] if kind == "invalidate" => Some(Changed::All),
        _ => None,
    }
}
