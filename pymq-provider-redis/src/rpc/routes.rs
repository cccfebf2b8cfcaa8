//! [`Routes`]: which remotes have only one server, and how to reach it.
//!
//! A request on the channel of a remote reaches all of its servers, and one of them must run it. So
//! a script counts the servers first. A request on the channel of one server needs no count and no
//! claim: no other server can run it. A server that is the only one tells callers its channel with
//! an answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::connection::Commands;

/// How long a caller sends to one server before it counts the servers again. A server that joins
/// later gets its share after at most this time.
const VALID_FOR: Duration = Duration::from_secs(1);

/// The most remotes in the table. Calls to further ones are counted.
const MAX_ROUTES: usize = 1_024;

/// The servers of the remotes that have only one, and the way to each.
#[derive(Debug)]
pub(super) struct Routes<W = Direct> {
    by_remote: Mutex<FxHashMap<Box<str>, Route<W>>>,
}

#[derive(Debug)]
struct Route<W> {
    way: Arc<W>,
    valid_until: Instant,
}

/// The way to the only server of a remote.
#[derive(Debug)]
pub(super) struct Direct {
    pub(super) remote: String,
    /// The channel of the server, by its Redis name.
    pub(super) channel: String,
    /// Sends to the Redis server of the channel.
    pub(super) commands: Commands,
}

impl<W> Default for Routes<W> {
    fn default() -> Self {
        Self {
            by_remote: Mutex::default(),
        }
    }
}

impl<W> Routes<W> {
    /// Returns the way to the only server of a remote, if it is known.
    pub(super) fn find(&self, remote: &str, now: Instant) -> Option<Arc<W>> {
        let mut routes = self.lock();
        let route = routes.get(remote)?;
        if now < route.valid_until {
            return Some(Arc::clone(&route.way));
        }
        routes.remove(remote);
        None
    }

    /// Notes the way to the only server of a remote.
    pub(super) fn note(&self, remote: &str, way: W) {
        let now = Instant::now();
        let mut routes = self.lock();
        if routes.len() >= MAX_ROUTES {
            routes.retain(|_, route| now < route.valid_until);
        }
        if routes.len() < MAX_ROUTES {
            let route = Route {
                way: Arc::new(way),
                valid_until: now + VALID_FOR,
            };
            routes.insert(remote.into(), route);
        }
    }

    /// Forgets a server that does not answer.
    pub(super) fn forget(&self, remote: &str) {
        self.lock().remove(remote);
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<Box<str>, Route<W>>> {
        self.by_remote
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(routes: &Routes<&'static str>, remote: &str) -> Option<&'static str> {
        routes.find(remote, Instant::now()).map(|channel| *channel)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_known_for_a_while() {
        let routes = Routes::default();
        routes.note("f", "one");
        assert_eq!(channel(&routes, "f"), Some("one"));

        tokio::time::advance(VALID_FOR).await;

        assert_eq!(channel(&routes, "f"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_has_room_again() {
        let routes = Routes::default();
        for number in 0..=MAX_ROUTES {
            routes.note(&number.to_string(), "one");
        }
        assert_eq!(routes.lock().len(), MAX_ROUTES);

        tokio::time::advance(VALID_FOR).await;
        routes.note("last", "one");

        assert_eq!(channel(&routes, "last"), Some("one"));
        assert_eq!(routes.lock().len(), 1);
    }
}
