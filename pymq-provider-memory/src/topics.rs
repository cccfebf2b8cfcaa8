//! Topics: the subscriptions to each topic and pattern. A publish never waits for a subscriber.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use pymq_core::name::RESERVED_PREFIX;
use pymq_core::provider::{Filter, Inlet, Subscription, subscription};
use pymq_core::{Message, Result, glob};

use crate::broker::unique;
use crate::handle::{Handle, Opened};

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
    exact: DashMap<Arc<str>, Arc<Subscribers>>,
    /// Not a sharded table, because each publish looks at all patterns.
    patterns: RwLock<BTreeMap<Arc<str>, Arc<Subscribers>>>,
    /// The number of patterns. A publish takes no lock while there are none.
    pattern_count: AtomicUsize,
}

/// The subscribers of one topic or pattern, ordered by handle so that a publish can count handles.
#[derive(Clone, Debug, Default)]
struct Subscribers(Vec<Subscriber>);

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
    pub(crate) fn publish(&self, topic: &str, message: &Message) -> usize {
        let exact = self
            .exact
            .get(topic)
            .map(|entry| (Arc::clone(entry.key()), Arc::clone(&entry)));
        let patterns = self.matching(topic);
        let (name, subscribers) = match exact {
            Some((name, subscribers)) => (name, Some(subscribers)),
            None if patterns.is_empty() => return 0,
            None => (topic.into(), None),
        };
        subscribers
            .iter()
            .chain(&patterns)
            .map(|subscribers| subscribers.push(&name, message))
            .sum()
    }

    pub(crate) fn add(&self, filter: &Filter, handle: u64, id: u64, inlet: &Inlet) {
        let subscriber = Subscriber {
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
            Arc::make_mut(patterns.entry(name).or_default()).insert(subscriber);
            self.pattern_count.store(patterns.len(), Ordering::Release);
        } else {
            Arc::make_mut(&mut self.exact.entry(name).or_default()).insert(subscriber);
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
    fn push(&self, topic: &Arc<str>, message: &Message) -> usize {
        for subscriber in &self.0 {
            subscriber.inlet.push(topic, message);
        }
        self.0.chunk_by(|a, b| a.handle == b.handle).count()
    }

    fn insert(&mut self, subscriber: Subscriber) {
        let at = self
            .0
            .partition_point(|other| other.handle <= subscriber.handle);
        self.0.insert(at, subscriber);
    }

    /// Removes a subscriber and tells whether none is left.
    fn remove(&mut self, id: u64) -> bool {
        self.0.retain(|subscriber| subscriber.id != id);
        self.0.is_empty()
    }
}

fn is_pattern(filter: &Filter) -> bool {
    matches!(filter, Filter::Pattern(_))
}
