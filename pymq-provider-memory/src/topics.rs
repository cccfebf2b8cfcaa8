//! Topics: who listens to what, and a publish that reaches each of them without waiting for any.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use pymq_core::name::RESERVED_PREFIX;
use pymq_core::provider::{Filter, Inlet, Subscription, subscription};
use pymq_core::{Message, Result, glob};

use crate::broker::unique;
use crate::handle::{Handle, Opened};

/// Subscribes a handle; live when this returns.
pub(crate) fn subscribe(handle: &Arc<Handle>, filter: &Filter) -> Result<Subscription> {
    let id = unique();
    let (inlet, subscription) = subscription(filter, handle.release_on_drop(id));
    handle.open(id, Opened::Subscription(filter.clone(), inlet))?;
    Ok(subscription)
}

/// The subscriptions of a namespace.
///
/// The listeners are shared and copied on write, so that nothing is locked while a message is handed out.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    exact: DashMap<Arc<str>, Arc<Listeners>>,
    /// A lock and no sharded table: every publish has to look at all of them.
    patterns: RwLock<BTreeMap<Arc<str>, Arc<Listeners>>>,
}

/// Who listens to one topic or pattern; those of a handle stand together, which is how handles are counted.
#[derive(Clone, Debug, Default)]
struct Listeners(Vec<Listener>);

#[derive(Clone, Debug)]
struct Listener {
    handle: u64,
    id: u64,
    inlet: Inlet,
}

impl Topics {
    /// Hands a message to everyone who listens, and returns how many that are: each handle counts once for
    /// the topic and once for each pattern.
    pub(crate) fn publish(&self, topic: &str, message: &Message) -> usize {
        let exact = self
            .exact
            .get(topic)
            .map(|entry| (Arc::clone(entry.key()), Arc::clone(&entry)));
        let patterns = self.matching(topic);
        let (name, listeners) = match exact {
            Some((name, listeners)) => (name, Some(listeners)),
            None if patterns.is_empty() => return 0,
            None => (topic.into(), None),
        };
        listeners
            .iter()
            .chain(&patterns)
            .map(|listeners| listeners.push(&name, message))
            .sum()
    }

    pub(crate) fn add(&self, filter: &Filter, handle: u64, id: u64, inlet: &Inlet) {
        let listener = Listener {
            handle,
            id,
            inlet: inlet.clone(),
        };
        let name = Arc::from(filter.as_str());
        if is_pattern(filter) {
            let mut patterns = self
                .patterns
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::make_mut(patterns.entry(name).or_default()).insert(listener);
        } else {
            Arc::make_mut(&mut self.exact.entry(name).or_default()).insert(listener);
        }
    }

    pub(crate) fn remove(&self, filter: &Filter, id: u64) {
        let name = filter.as_str();
        let mut is_last = |listeners: &mut Arc<Listeners>| Arc::make_mut(listeners).remove(id);
        if is_pattern(filter) {
            let mut patterns = self
                .patterns
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            if patterns.get_mut(name).is_some_and(&mut is_last) {
                patterns.remove(name);
            }
        } else {
            self.exact
                .remove_if_mut(name, |_, listeners| is_last(listeners));
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

    fn matching(&self, topic: &str) -> Vec<Arc<Listeners>> {
        // Names of our own never reach a pattern, so they do not count there either.
        if topic.starts_with(RESERVED_PREFIX) {
            return Vec::new();
        }
        let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
        let matching = patterns
            .iter()
            .filter(|(pattern, _)| glob::matches(&***pattern, topic));
        matching
            .map(|(_, listeners)| Arc::clone(listeners))
            .collect()
    }
}

impl Listeners {
    fn push(&self, topic: &Arc<str>, message: &Message) -> usize {
        for listener in &self.0 {
            listener.inlet.push(topic, message);
        }
        self.0.chunk_by(|a, b| a.handle == b.handle).count()
    }

    fn insert(&mut self, listener: Listener) {
        let at = self
            .0
            .partition_point(|other| other.handle <= listener.handle);
        self.0.insert(at, listener);
    }

    /// Removes a listener and tells whether it was the last.
    fn remove(&mut self, id: u64) -> bool {
        self.0.retain(|listener| listener.id != id);
        self.0.is_empty()
    }
}

fn is_pattern(filter: &Filter) -> bool {
    matches!(filter, Filter::Pattern(_))
}
