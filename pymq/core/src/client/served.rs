//! [`Served`]: the names for which a server answered a moment ago. A missing server may come back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
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
#[derive(Debug, Default)]
pub(crate) struct Served(Mutex<HashMap<String, Instant>>);

impl Served {
    /// Notes an answer for a name.
    pub(crate) fn note(&self, name: &str) {
        let now = Instant::now();
        let mut names = self.lock();
        if let Some(last) = names.get_mut(name) {
            *last = now;
            return;
        }
        if names.len() >= MOST {
            names.retain(|_, last| now - *last < RECENT);
        }
        if names.len() < MOST {
            names.insert(name.to_owned(), now);
        }
    }

    /// Tells whether a server answered for a name a moment ago.
    pub(crate) fn is_recent(&self, name: &str) -> bool {
        let last = self.lock().get(name).copied();
        last.is_some_and(|last| last.elapsed() < RECENT)
    }

    /// Removes a name. Its server has ended on purpose.
    pub(crate) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_name_is_forgotten_after_a_while_or_when_told() {
        let served = Served::default();
        assert!(!served.is_recent("a"));
        served.note("a");
        served.note("b");
        assert!(served.is_recent("a"));

        served.forget("a");
        assert!(!served.is_recent("a") && served.is_recent("b"));
        advance(RECENT).await;
        assert!(!served.is_recent("b"));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_names_are_kept_than_fit() {
        let served = Served::default();
        for n in 0..=MOST {
            served.note(&n.to_string());
        }
        assert_eq!(served.lock().len(), MOST);

        advance(RECENT).await;
        served.note("new");

        assert_eq!(served.lock().len(), 1);
    }
}
