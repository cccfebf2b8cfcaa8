//! Every Redis name of this provider: Python PyMQ's, `__eventbus:<namespace>:<name>`.

use std::sync::Arc;

/// Makes Redis names from ours. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            prefix: format!("__eventbus:{namespace}:").into(),
        }
    }

    /// Returns the channel of a topic or remote, the list of a queue.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns the pattern of a glob; the namespace matches literally whatever characters it has.
    pub(crate) fn pattern(&self, glob: &str) -> String {
        format!("{}{glob}", pymq::glob::escape(&self.prefix))
    }

    /// Returns the key that a call to `channel` is claimed under: the server that sets it runs the call.
    pub(crate) fn claim(&self, channel: &str, call: &str) -> String {
        format!("{{{}}}:v1:claim:{call}", self.name(channel))
    }

    /// Returns the name in a channel.
    pub(crate) fn strip<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(&*self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pythons() {
        let keys = Keys::new("global");

        assert_eq!(keys.name("jobs"), "__eventbus:global:jobs");
        assert_eq!(keys.strip("__eventbus:global:a/b"), Some("a/b"));
        assert_eq!(keys.strip("__eventbus:other:a"), None);
    }

    #[test]
    fn a_namespace_with_glob_characters_matches_only_itself() {
        let pattern = Keys::new("a*[b]").pattern("x.*");

        assert!(pymq::glob::matches(&pattern, "__eventbus:a*[b]:x.y"));
        assert!(!pymq::glob::matches(&pattern, "__eventbus:aab:x.y"));
    }
}
