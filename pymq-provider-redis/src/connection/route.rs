//! [`Route`]: the server that commands go to.

use std::sync::Arc;

use futures_util::future::FutureExt;
use pymq_core::ErrorKind;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::clock::Clock;
use super::cluster::NO_OWNER;
use super::dialer::{Connection, Place};
use super::fault::Fault;
use super::node::Node;
use super::nodes::Nodes;
use crate::slot::Slot;

/// Which server commands go to. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// The only server.
    Server(Arc<Node>),
    /// The node of a cluster that owns a slot.
    Slot(Arc<Nodes>, Slot),
}

/// Where a command goes that a node has refused.
#[derive(Clone, Debug)]
pub(super) enum Redirect {
    /// To the owner of the slot, as is known now.
    Moved,
    /// To this node, which must be told that it is asked.
    Ask(Place),
}

impl Route {
    /// Returns the route of commands about a key.
    pub(super) fn of(&self, key: impl FnOnce() -> String) -> Self {
        match self {
            Self::Server(_) => self.clone(),
            Self::Slot(nodes, _) => Self::Slot(Arc::clone(nodes), Slot::of(&key())),
        }
    }

    /// Returns the server, if it is known now.
    fn node(&self) -> Option<Arc<Node>> {
        match self {
            Self::Server(node) => Some(Arc::clone(node)),
            Self::Slot(nodes, slot) => nodes.owner(*slot),
        }
    }

    /// Returns the address of the server or the cluster, for errors.
    pub(super) fn address(&self) -> &str {
        match self {
            Self::Server(node) => node.connector().address(),
            Self::Slot(nodes, _) => nodes.connector().address(),
        }
    }

    /// Returns what is known of the server's clock.
    pub(super) fn clock(&self) -> Arc<Clock> {
        match self {
            Self::Server(node) => Arc::clone(node.clock()),
            Self::Slot(..) => self
                .node()
                .map(|node| Arc::clone(node.clock()))
                .unwrap_or_default(),
        }
    }

    /// Returns the current connection.
    pub(super) fn current(&self) -> Option<Arc<Connection>> {
        match self {
            Self::Server(node) => node.current(),
            Self::Slot(..) => self.node()?.current(),
        }
    }

    /// Waits for a connection until the deadline: to the owner, or to the node of a redirect.
    pub(super) async fn next(
        &self,
        redirect: Option<&Redirect>,
        deadline: Instant,
    ) -> Result<Arc<Connection>, Fault> {
        let (nodes, slot) = match self {
            Self::Server(node) => return node.next(deadline).await,
            Self::Slot(nodes, slot) => (nodes, *slot),
        };
        if let Some(Redirect::Ask(place)) = redirect {
            let member = nodes.cluster.member(place)?;
            let connected = nodes.node(&member).next(deadline).await;
            return connected.map_err(|fault| fault.at(&member.dialer.address()));
        }
        let mut changes = nodes.cluster.changes();
        loop {
            let next = async {
                let Some(node) = nodes.owner(slot) else {
                    nodes.cluster.note_trouble();
                    sleep_until(deadline).await;
                    return Err(Fault::new(ErrorKind::Disconnected, NO_OWNER));
                };
                let next = node.next(deadline).await;
                next.map_err(|fault| fault.at(node.connector().address()))
            };
            let ended = tokio::select! {
                biased;
                next = next => next,
                // An error means that the provider is gone.
                _ = changes.changed() => continue,
            };
            match ended {
                Err(_) if self.is_closed() => return Err(Fault::closed()),
                // The node has lost its last slot, and another owner is known soon.
                Err(fault) if fault.kind == ErrorKind::Closed => {
                    if timeout_at(deadline, changes.changed()).await.is_err() {
                        return Err(Fault::no_connection());
                    }
                }
                ended => return ended,
            }
        }
    }

    /// Returns why there is no connection now, or `None` if there is one.
    pub(super) fn why_down(&self) -> Option<Fault> {
        match self.node() {
            Some(node) => node.why_down().map(|fault| self.locate(fault)),
            None => Some(Fault::new(ErrorKind::Disconnected, NO_OWNER)),
        }
    }

    /// Waits until the current connection is lost, or the next one if there is none now.
    pub(super) fn loss(&self) -> impl Future<Output = ()> + Send + use<> {
        match self.node() {
            Some(node) => node.loss().left_future(),
            None => std::future::ready(()).right_future(),
        }
    }

    /// Tells whether the provider is closed: there will be no connection any more.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Server(node) => node.is_closed(),
            Self::Slot(nodes, _) => nodes.disconnect.is_cancelled(),
        }
    }

    /// Waits until the provider is closed.
    pub(super) async fn closed(&self) {
        match self {
            Self::Server(node) => node.closed().await,
            Self::Slot(nodes, _) => nodes.disconnect.cancelled().await,
        }
    }

    /// Notes that the server is not ready.
    pub(super) fn note_trouble(&self) {
        if let Self::Slot(nodes, _) = self {
            nodes.cluster.note_trouble();
        }
    }

    /// Returns where to send a command that a node has refused for its slot.
    pub(super) fn redirect(&self, fault: &Fault) -> Option<Redirect> {
        let Self::Slot(nodes, slot) = self else {
            return None;
        };
        let redirection = nodes.cluster.redirected(*slot, fault)?;
        Some(if redirection.must_ask {
            Redirect::Ask(redirection.to)
        } else {
            Redirect::Moved
        })
    }

    /// Returns the same fault with the address of the node of a cluster.
    pub(super) fn locate(&self, fault: Fault) -> Fault {
        match self {
            Self::Server(_) => fault,
            Self::Slot(..) => match self.node() {
                Some(node) => fault.at(node.connector().address()),
                None => fault,
            },
        }
    }
}
