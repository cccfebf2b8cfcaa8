//! [`Table`]: what a namespace holds, by name.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use dashmap::DashMap;
use rustc_hash::{FxHasher, FxSeededState};

/// Shared values by the name of their topic, queue or channel.
pub(crate) type Table<T> = DashMap<Arc<str>, Arc<T>, NameHash>;

/// A hash that is quicker than the one of std: each operation looks a name up.
///
/// It is weaker against names that are chosen to collide. A random seed makes such names hard to
/// find, and the names come from the program itself.
#[derive(Clone, Debug)]
pub(crate) struct NameHash(usize);

static SEED: LazyLock<usize> = LazyLock::new(|| {
    let random = RandomState::new().hash_one(0);
    // The low bits are enough where a word is shorter.
    usize::try_from(random & usize::MAX as u64).unwrap_or_default()
});

impl Default for NameHash {
    fn default() -> Self {
        Self(*SEED)
    }
}

impl BuildHasher for NameHash {
    type Hasher = FxHasher;

    fn build_hasher(&self) -> FxHasher {
        FxSeededState::with_seed(self.0).build_hasher()
    }
}
