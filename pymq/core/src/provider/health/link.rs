//! [`Link`]: what a provider reports about one connection.

use std::sync::atomic::Ordering;

use super::Health;
use super::lifecycle::LifecycleEvent;
use crate::error::Error;

/// What a connection means for its provider.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Requirement {
    /// Nothing works without it: the status is [`Connecting`](super::Status::Connecting) while it
    /// is down.
    Required,
    /// Most operations work without it: the status is [`Degraded`](super::Status::Degraded) while
    /// it is down.
    Optional,
}

/// The health of one connection. The task that maintains the connection holds it and reports to it.
///
/// After it is dropped, the connection no longer counts in the status.
#[derive(Debug)]
pub struct Link {
    health: Health,
    connection: &'static str,
    requirement: Requirement,
    is_down: bool,
    was_up: bool,
}

impl Link {
    pub(super) fn new(health: Health, connection: &'static str, requirement: Requirement) -> Self {
        Self {
            health,
            connection,
            requirement,
            is_down: false,
            was_up: false,
        }
    }

    /// Reports that the connection works, and that its subscriptions are confirmed.
    pub fn up(&mut self) {
        let was_down = std::mem::take(&mut self.is_down);
        let was_up = std::mem::replace(&mut self.was_up, true);
        if !was_down {
            return;
        }
        if was_up {
            self.health
                .shared
                .reconnects
                .fetch_add(1, Ordering::Relaxed);
        }
        let (connection, requirement) = (self.connection, self.requirement);
        self.health.change(|connections| {
            *connections.down(requirement) -= 1;
            connections.send(&LifecycleEvent::Reconnected { connection });
        });
    }

    /// Reports that the connection was lost, or that a reconnect failed.
    pub fn down(&mut self, error: &Error) {
        let was_down = std::mem::replace(&mut self.is_down, true);
        let (connection, requirement) = (self.connection, self.requirement);
        let error = error.clone();
        self.health.change(|connections| {
            if !was_down {
                *connections.down(requirement) += 1;
            }
            connections.send(&LifecycleEvent::Disconnected { connection, error });
        });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.is_down {
            let requirement = self.requirement;
            self.health
                .change(|connections| *connections.down(requirement) -= 1);
        }
    }
}
