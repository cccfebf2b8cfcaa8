//! Every name that this provider uses in Redis: Python's own names, and our names beside them in
//! the same cluster slot. No other file makes names.

use std::sync::Arc;

use pymq_core::glob;

use crate::slot::{Slot, hash_tag};

/// Part of each of our own names after the key of the queue, so that two releases can share a
/// Redis.
const VERSION: &str = "v1";

/// The start of every name in Redis.
const PREFIX: &str = "__eventbus:";

/// How many slots of a cluster the remotes of a namespace are spread over. A process has one
/// connection for each slot in which it serves a remote.
const SPREAD: usize = 16;

/// The start of the names of channels on which one server is reached.
const SERVER_PREFIX: &str = "__pymq_server:v1:";

/// The names of one namespace. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// `__eventbus:<namespace>:`, as in Python.
    prefix: Arc<str>,
    is_cluster: bool,
}

impl Keys {
    pub(crate) fn new(namespace: &str, is_cluster: bool) -> Self {
        Self {
            prefix: format!("{PREFIX}{namespace}:").into(),
            is_cluster,
        }
    }

    /// Returns the key of the namespace. On a cluster, its node carries the topics.
    pub(crate) fn home(&self) -> &str {
        &self.prefix
    }

    /// Returns Python's name for a topic, an RPC channel, a queue or a reply inbox.
    pub(crate) fn name(&self, name: &str) -> String {
        [&self.prefix, name].concat()
    }

    /// Puts the same name into a text, in place of what is there.
    pub(crate) fn write_name(&self, name: &str, text: &mut String) {
        text.clear();
        text.push_str(&self.prefix);
        text.push_str(name);
    }

    /// Returns the glob for `PSUBSCRIBE`. The namespace in it is escaped.
    pub(crate) fn pattern(&self, pattern: &str) -> String {
        format!("{}{pattern}", glob::escape(&self.prefix))
    }

    /// Returns the name that belongs to a channel of this namespace.
    pub(crate) fn strip<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(&*self.prefix)
    }

    /// Returns the channel of a remote: Python's name. On a cluster, Python has no peers, and the
    /// remotes are spread over some slots. All names of one remote are in one of them.
    pub(crate) fn remote(&self, remote: &str) -> String {
        if !self.is_cluster {
            return self.name(remote);
        }
        let namespace = &self.prefix[PREFIX.len()..self.prefix.len() - 1];
        let spread = Slot::of(remote).index() % SPREAD;
        format!("{PREFIX}{{{namespace}#{spread}}}:{remote}")
    }

    /// Returns the remote of a channel, and what the channels in the same slot begin with.
    pub(crate) fn of_remote<'a>(&self, channel: &'a str) -> (&'a str, &'a str) {
        if !self.is_cluster {
            return (self.strip(channel).unwrap_or(channel), "");
        }
        let (slot, remote) = channel.split_once("}:").unwrap_or_default();
        (remote, slot)
    }

    /// Returns the channel on which only one server of `remote` is reached. `server` identifies it.
    ///
    /// The name is outside of the namespace, so that no pattern matches it: the number of receivers
    /// of a request tells whether the server is there.
    pub(crate) fn server(&self, remote: &str, server: &str) -> String {
        format!("{SERVER_PREFIX}{server}:{}", self.remote(remote))
    }

    /// Returns the claim key of a call to `remote`. The server that sets the key runs the call.
    pub(crate) fn claim(&self, remote: &str, call: &str) -> String {
        companion_key(&self.remote(remote), &format!("claim:{call}"))
    }

    /// Tells whether the keys of a queue are in one slot, if that matters.
    pub(crate) fn can_have_queue(&self, name: &str) -> bool {
        // Each operation asks, so the usual name costs little.
        if !self.is_cluster || !(self.prefix.contains('}') || name.contains('}')) {
            return true;
        }
        let keys = self.queue(name);
        Slot::of(&keys.list) == Slot::of(&keys.leases)
    }

    /// Returns all keys of a queue.
    pub(crate) fn queue(&self, name: &str) -> QueueKeys {
        let list = self.name(name);
        QueueKeys {
            delayed: companion_key(&list, "delayed"),
            leases: companion_key(&list, "leases"),
            lease: companion_key(&list, "lease:"),
            dead: companion_key(&list, "dead"),
            once: companion_key(&list, "once:"),
            list,
        }
    }
}

/// The keys of one queue. All but the list are ours, and exist only while they hold something.
#[derive(Clone, Debug)]
pub(crate) struct QueueKeys {
    /// List, Python's own: the ready messages. Put at the left, taken at the right.
    pub(crate) list: String,
    /// Sorted set: the delayed messages by their due time.
    pub(crate) delayed: String,
    /// Sorted set: the lease batches by the end of their lease.
    pub(crate) leases: String,
    /// Start of the name of a lease batch: a hash from index to payload, or the list of a handoff.
    pub(crate) lease: String,
    /// Sorted set: the dead letters by their ids.
    pub(crate) dead: String,
    /// Start of the names of marks, which make a repeated command run once.
    pub(crate) once: String,
}

impl QueueKeys {
    /// Returns the keys in the order in which every script takes them.
    pub(crate) fn all(&self) -> [&str; 5] {
        [
            &self.list,
            &self.delayed,
            &self.leases,
            &self.lease,
            &self.dead,
        ]
    }

    /// Returns the key of a lease batch.
    pub(crate) fn lease_batch(&self, batch: &str) -> String {
        [&self.lease, batch].concat()
    }

    /// Returns the keys of a wait: leases, list, and the list of its handoff.
    pub(crate) fn of_wait(&self, handoff: &str) -> [String; 3] {
        let handoff = self.lease_batch(handoff);
        [self.leases.clone(), self.list.clone(), handoff]
    }

    /// Returns the mark of a command that may be sent twice and must take effect once.
    pub(crate) fn once(&self, id: &str) -> String {
        format!("{}{id}", self.once)
    }
}

/// Returns the name of one of our keys beside Python's, in the same cluster slot.
///
/// A key with a hash tag keeps its tag. Any other key becomes the tag. A `}` in a key without a tag
/// cuts that tag short and puts the two keys in different slots, so such a queue does not work on a
/// cluster.
fn companion_key(key: &str, part: &str) -> String {
    match hash_tag(key) {
        Some(_) => format!("{key}:{VERSION}:{part}"),
        None => format!("{{{key}}}:{VERSION}:{part}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot_text(key: &str) -> &str {
        hash_tag(key).unwrap_or(key)
    }

    #[test]
    fn the_list_is_pythons_and_the_rest_lies_beside_it() {
        let keys = Keys::new("global", false).queue("jobs");

        assert_eq!(keys.list, "__eventbus:global:jobs");
        assert_eq!(keys.delayed, "{__eventbus:global:jobs}:v1:delayed");
        assert_eq!(keys.once("a"), "{__eventbus:global:jobs}:v1:once:a");
    }

    #[test]
    fn a_name_with_a_hash_tag_keeps_it() {
        let keys = Keys::new("global", false).queue("jobs{eu}");

        assert_eq!(keys.dead, "__eventbus:global:jobs{eu}:v1:dead");
    }

    #[test]
    fn the_namespace_in_a_pattern_is_literal() {
        assert_eq!(Keys::new("a*", false).pattern("b*"), r"__eventbus:a\*:b*");
    }

    #[test]
    fn a_channel_of_another_namespace_has_no_name_here() {
        let keys = Keys::new("a", false);

        assert_eq!(keys.strip("__eventbus:a:b:c"), Some("b:c"));
        assert_eq!(keys.strip("__eventbus:ab:c"), None);
    }

    #[test]
    fn a_queue_with_keys_in_two_slots_is_refused_on_a_cluster() {
        assert!(Keys::new("global", false).can_have_queue("a}b"));
        let keys = Keys::new("global", true);
        assert!(!keys.can_have_queue("a}b"));
        assert!(keys.can_have_queue("a{b}c"));
        assert!(keys.can_have_queue("a"));
    }

    #[test]
    fn on_a_cluster_all_names_of_a_remote_are_in_one_of_few_slots() {
        let keys = Keys::new("global", true);
        let mut slots = std::collections::HashSet::new();
        for n in 0..500 {
            let remote = format!("a}}:{{b.f{n}");
            let channel = keys.remote(&remote);
            let slot = Slot::of(&channel);
            assert_eq!(slot, Slot::of(&keys.server(&remote, "1")));
            assert_eq!(slot, Slot::of(&keys.claim(&remote, "1")));
            assert_eq!(keys.of_remote(&channel).0, remote);
            slots.insert(slot);
        }
        assert_eq!(slots.len(), SPREAD);
    }

    #[test]
    fn on_one_server_a_remote_has_pythons_name() {
        let keys = Keys::new("global", false);

        assert_eq!(keys.remote("f"), "__eventbus:global:f");
        assert_eq!(keys.of_remote("__eventbus:global:f"), ("f", ""));
        assert_eq!(keys.claim("f", "1"), "{__eventbus:global:f}:v1:claim:1");
    }

    proptest! {
        #[test]
        fn all_keys_of_a_queue_share_a_slot(name in "[a-z{:]{0,8}([{][a-z]{0,3}[}][a-z}]{0,3})?") {
            let keys = Keys::new("global", false).queue(&name);
            prop_assume!(hash_tag(&keys.list).is_some() || !name.contains('}'));

            for ours in [&keys.delayed, &keys.leases, &keys.lease, &keys.dead, &keys.once] {
                prop_assert_eq!(slot_text(ours), slot_text(&keys.list));
            }
        }
    }
}
