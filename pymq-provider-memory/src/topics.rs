//! Topics: the subscriptions to each topic and pattern. A publish never waits for a subscriber.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use pymq_core::name::RESERVED_PREFIX;
use pymq_core::provider::{Filter, Inlet, Subscription, subscription};
use pymq_core::{Message, Published, Result, glob};

use crate::broker::unique;
use crate::handle::{Handle, Opened};
use crate::table::Table;

/// Subscribes a handle. The subscription is live when this returns.
pub(crate) fn subscribe(handle: &Arc<Handle>, filter: &Filter) -> Result<Subscription> {
    let id = unique();
    let (inlet, subscription) = subscription(filter, handle.release_on_drop(id));
    handle.open(id, Opened::Subscription(filter.clone(), inlet))?;
    Ok(subscription)
}

/// The subscriptions of a namespace.
///
/// The lists of subscribers are shared and copied on write, so that no lock is held while a message
/// is delivered.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    exact: Table<Subscribers>,
    /// Not a sharded table, because each publish looks at all patterns.
    patterns: RwLock<BTreeMap<Arc<str>, Arc<Subscribers>>>,
    /// The number of patterns. A publish takes no lock while there are none.
    pattern_count: AtomicUsize,
}

/// The subscribers of one topic or pattern.
#[derive(Clone, Debug)]
struct Subscribers {
    /// The topic or pattern. The messages of a topic share it.
    name: Arc<str>,
    /// Ordered by handle, so that handles can be counted.
    list: Vec<Subscriber>,
    handles: usize,
}

#[derive(Clone, Debug)]
struct Subscriber {
    handle: u64,
    id: u64,
    inlet: Inlet,
}

impl Topics {
    /// Delivers a message to every subscriber and returns how many handles it reached.
    ///
    /// Each handle counts once for the topic and once for each pattern that matches.
    pub(crate) fn publish(&self, topic: &str, message: Message) -> usize {
        let exact = self.exact.get(topic).map(|entry| Arc::clone(&entry));
        let patterns = self.matching(topic);
        let Some(exact) = exact else {
            if patterns.is_empty() {
                return 0;
            }
            return push_all(&patterns, &Published::new(topic, message));
        };
        let published = Published::new(Arc::clone(&exact.name), message);
        push_all(&patterns, &published) + exact.push(published)
    }

    pub(crate) fn add(&self, filter: &Filter, handle: u64, id: u64, inlet: &Inlet) {
        let subscriber = Subscriber {
            handle,
            id,
            inlet: inlet.clone(),
        };
        let name: Arc<str> = Arc::from(filter.as_str());
        let empty = || Arc::new(Subscribers::new(&name));
        if is_pattern(filter) {
            let mut patterns = self
                .patterns
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::make_mut(patterns.entry(Arc::clone(&name)).or_insert_with(empty))
                .insert(subscriber);
            self.pattern_count.store(patterns.len(), Ordering::Release);
        } else {
            Arc::make_mut(&mut self.exact.entry(Arc::clone(&name)).or_insert_with(empty))
                .insert(subscriber);
        }
    }

    pub(crate) fn remove(&self, filter: &Filter, id: u64) {
        let name = filter.as_str();
        let mut remove = |subscribers: &mut Arc<Subscribers>| Arc::make_mut(subscribers).remove(id);
        if is_pattern(filter) {
            let mut patterns = self
                .patterns
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            if patterns.get_mut(name).is_some_and(&mut remove) {
                patterns.remove(name);
                self.pattern_count.store(patterns.len(), Ordering::Release);
            }
        } else {
            self.exact
                .remove_if_mut(name, |_, subscribers| remove(subscribers));
        }
    }

    pub(crate) fn contents(&self) -> Vec<String> {
        let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
        let patterns = patterns
            .keys()
            .map(|pattern| format!("pattern `{pattern}`"));
        self.exact
            .iter()
            .map(|entry| format!("topic `{}`", entry.key()))
            .chain(patterns)
            .collect()
    }

    fn matching(&self, topic: &str) -> Vec<Arc<Subscribers>> {
        // Patterns never receive reserved names, so a publish does not count them either.
        let is_empty = self.pattern_count.load(Ordering::Acquire) == 0;
        if is_empty || topic.starts_with(RESERVED_PREFIX) {
            return Vec::new();
        }
        let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
        let matching = patterns
            .iter()
            .filter(|(pattern, _)| glob::matches(&***pattern, topic));
        matching
            .map(|(_, subscribers)| Arc::clone(subscribers))
            .collect()
    }
}

impl Subscribers {
    fn new(name: &Arc<str>) -> Self {
        Self {
            name: Arc::clone(name),
            list: Vec::new(),
            handles: 0,
        }
    }

    /// Delivers a message, and returns how many handles it reached.
    fn push(&self, published: Published) -> usize {
        if let Some((last, others)) = self.list.split_last() {
            for subscriber in others {
                subscriber.inlet.push(published.clone());
            }
            last.inlet.push(published);
        }
        self.handles
    }

    fn insert(&mut self, subscriber: Subscriber) {
        let at = self
            .list
            .partition_point(|other| other.handle <= subscriber.handle);
        self.list.insert(at, subscriber);
        self.count_handles();
    }

    /// Removes a subscriber and tells whether none is left.
    fn remove(&mut self, id: u64) -> bool {
        self.list.retain(|subscriber| subscriber.id != id);
        self.count_handles();
        self.list.is_empty()
    }

    fn count_handles(&mut self) {
        let handles = self.list.chunk_by(|a, b| a.handle == b.handle);
        self.handles = handles.count();
    }
}

fn push_all(all: &[Arc<Subscribers>], published: &Published) -> usize {
    all.iter().map(|each| each.push(published.clone())).sum()
}

fn is_pattern(filter: &Filter) -> bool {
    matches!(filter, Filter::Pattern(_))
}
