//! [`MemoryBroker`]: the tables that handles share, one set for each namespace.
//!
//! A broker holds no task and no handle, so it ends with the last value that holds it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use dashmap::DashMap;

use crate::queues::Queues;
use crate::rpc::Channels;
use crate::topics::Topics;

/// A broker in this process: the topics, queues and remotes that its handles share.
///
/// Cheap to clone; all clones are one broker.
///
/// # Examples
///
/// ```
/// use pymq_provider_memory::{MemoryBroker, MemoryConfig};
///
/// let broker = MemoryBroker::new();
/// let config = MemoryConfig::from(&broker).namespace("shop");
///
/// assert!(broker.contents("shop").is_empty());
/// ```
#[derive(Clone, Default)]
pub struct MemoryBroker {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The name in the process-wide table; `None` for a broker that is not in it.
    name: Option<Box<str>>,
    spaces: DashMap<Box<str>, Arc<Space>>,
}

/// What one namespace of a broker holds.
#[derive(Debug, Default)]
pub(crate) struct Space {
    pub(crate) topics: Topics,
    pub(crate) queues: Queues,
    pub(crate) channels: Channels,
}

/// The brokers of `memory://name`. The table holds weak references, so it keeps no broker alive.
static NAMED: LazyLock<DashMap<Box<str>, Weak<Inner>>> = LazyLock::new(DashMap::new);

impl MemoryBroker {
    /// Creates a broker without a name. Only its clones reach it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the broker of this name in this process, and creates it if there is none.
    ///
    /// The broker is gone when its last clone and its last handle are dropped.
    pub fn named(name: &str) -> Self {
        let mut entry = NAMED.entry(name.into()).or_default();
        if let Some(inner) = entry.upgrade() {
            return Self { inner };
        }
        let inner = Arc::new(Inner {
            name: Some(name.into()),
            spaces: DashMap::new(),
        });
        *entry = Arc::downgrade(&inner);
        Self { inner }
    }

    /// Lists what a namespace holds now, such as ``"queue `jobs`"``.
    ///
    /// These are the queues that hold something or have a waiting taker, the topics and patterns
    /// with a subscriber, and the remotes with a server. Use it in tests to prove that nothing is
    /// left over.
    pub fn contents(&self, namespace: &str) -> Vec<String> {
        let Some(space) = self
            .inner
            .spaces
            .get(namespace)
            .map(|space| Arc::clone(&space))
        else {
            return Vec::new();
        };
        let mut contents = space.topics.contents();
        contents.extend(space.queues.contents());
        contents.extend(space.channels.contents());
        contents.sort();
        contents
    }

    pub(crate) fn space(&self, namespace: &str) -> Arc<Space> {
        Arc::clone(&self.inner.spaces.entry(namespace.into()).or_default())
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker")
            .field("name", &self.inner.name)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // A new broker may have taken the name already.
            NAMED.remove_if(name, |_, broker| broker.strong_count() == 0);
        }
    }
}

/// Returns a number larger than each number that it has returned in this process.
///
/// Receipts are such numbers. A queue may be removed and created again. If it then counted from
/// zero, it would accept receipts of the removed queue.
pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_broker_ends_with_its_last_handle() {
        let first = MemoryBroker::named("shared");
        let space = first.space("");
        assert!(Arc::ptr_eq(
            &space,
            &MemoryBroker::named("shared").space("")
        ));

        drop(first);

        assert!(!NAMED.contains_key("shared"));
        assert!(!Arc::ptr_eq(
            &space,
            &MemoryBroker::named("shared").space("")
        ));
    }

    #[test]
    fn namespaces_of_a_broker_are_apart() {
        let broker = MemoryBroker::new();

        assert!(!Arc::ptr_eq(&broker.space("a"), &broker.space("b")));
    }
}
