//! [`Served`]: the names for which a server answered a moment ago. A missing server may come back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a name is remembered after an answer.
const RECENT: Duration = Duration::from_secs(10);

/// The longest a call waits for a server to come back.
pub(crate) const SERVED_GRACE: Duration = Duration::from_secs(2);

/// The pause before a call is tried again.
pub(crate) const SERVED_PAUSE: Duration = Duration::from_millis(50);

/// The most names that are remembered. Calls of other names fail at once.
const MOST: usize = 4_096;

/// The time of the last answer for each name.
#[derive(Debug)]
pub(crate) struct Served {
    start: Instant,
    names: Mutex<HashMap<String, Arc<LastAnswer>>>,
}

/// When a server of one name last answered. Stubs share it, so that a call takes no lock.
#[derive(Debug)]
pub(crate) struct LastAnswer {
    /// When the times begin.
    start: Instant,
    /// In milliseconds after `start`, plus one. Zero before an answer.
    at: AtomicU64,
}

impl LastAnswer {
    /// Notes an answer that came at this time.
    pub(crate) fn note(&self, now: Instant) {
        let now = self.since_start(now);
        // Most answers come in the same millisecond as another one. Then the others need not write,
        // which would take the value from the caches of other threads.
        if self.at.load(Ordering::Relaxed) < now {
            self.at.store(now, Ordering::Relaxed);
        }
    }

    /// Tells whether a server answered a moment ago.
    pub(crate) fn is_recent(&self) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        let now = self.since_start(Instant::now());
        at > 0 && Duration::from_millis(now.saturating_sub(at)) < RECENT
    }

    fn forget(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    fn since_start(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start).as_millis();
        u64::try_from(passed).map_or(u64::MAX, |passed| passed + 1)
    }
}

impl Default for Served {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            names: Mutex::default(),
        }
    }
}

impl Served {
    /// Returns the last answer for a name.
    pub(crate) fn of(&self, name: &str) -> Arc<LastAnswer> {
        let mut names = self.lock();
        if let Some(last) = names.get(name) {
            return Arc::clone(last);
        }
        let last = Arc::new(LastAnswer {
            start: self.start,
            at: AtomicU64::new(0),
        });
        if names.len() >= MOST {
            names.retain(|_, last| last.is_recent() || Arc::strong_count(last) > 1);
        }
        if names.len() < MOST {
            names.insert(name.to_owned(), Arc::clone(&last));
        }
        last
    }

    /// Forgets the answers for a name. Its server has ended on purpose.
    pub(crate) fn forget(&self, name: &str) {
        if let Some(last) = self.lock().get(name) {
            last.forget();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<LastAnswer>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_name_is_forgotten_after_a_while_or_when_told() {
        let served = Served::default();
        let (a, b) = (served.of("a"), served.of("b"));
        assert!(!a.is_recent());
        a.note(Instant::now());
        b.note(Instant::now());
        assert!(served.of("a").is_recent());

        served.forget("a");
        assert!(!a.is_recent() && b.is_recent());
        advance(RECENT).await;
        assert!(!b.is_recent());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_names_are_kept_than_fit() {
        let served = Served::default();
        for n in 0..=MOST {
            served.of(&n.to_string()).note(Instant::now());
        }
        assert_eq!(served.lock().len(), MOST);

        advance(RECENT).await;
        served.of("new").note(Instant::now());

        assert_eq!(served.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_a_stub_uses_stays() {
        let served = Served::default();
        let used = served.of("used");
        for n in 0..=MOST {
            served.of(&n.to_string());
        }

        used.note(Instant::now());

        assert!(served.of("used").is_recent());
    }
}
