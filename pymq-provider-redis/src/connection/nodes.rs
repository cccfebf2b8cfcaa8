//! [`Nodes`]: the connections for commands to the nodes of a cluster. Each one is opened at its
//! first use, and ends a moment after its node has lost the last slot.

use std::sync::Arc;

use pymq_core::provider::{Health, Requirement};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cluster::{Cluster, Member};
use super::connector::Connector;
use super::node::Node;
use crate::core::HealthReporter;
use crate::slot::Slot;

/// The connections of one purpose to the nodes of a cluster.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) purpose: Purpose,
    pub(super) cluster: Arc<Cluster>,
    pub(super) connector: Connector,
    pub(super) health: Health,
    pub(super) disconnect: CancellationToken,
    pub(super) supervisor: TaskTracker,
    pub(super) runtime: Handle,
}

/// What a connection for commands is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Commands,
    /// Puts that replicas must acknowledge.
    Puts,
}

impl Purpose {
    /// Returns the name of the connection, for the health.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Puts => "replicated puts",
        }
    }
}

impl Nodes {
    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Returns the node that owns a slot, if one is known.
    pub(super) fn owner(&self, slot: Slot) -> Option<Arc<Node>> {
        let member = self.cluster.owner(slot)?;
        Some(self.node(&member))
    }

    /// Returns a node of the cluster. Starts its connection if it has none.
    pub(super) fn node(&self, member: &Member) -> Arc<Node> {
        let node = match self.purpose {
            Purpose::Commands => &member.node,
            Purpose::Puts => &member.node_for_puts,
        };
        let node = node.get_or_init(|| {
            let connector = self.connector.to_member(member);
            let required = Requirement::Required;
            let health =
                HealthReporter::new(&self.health, self.purpose.name(), required, &connector);
            let (disconnect, ended) = (self.disconnect.clone(), member.ended.clone());
            let end = async move {
                tokio::select! {
                    () = disconnect.cancelled() => {}
                    () = ended.cancelled() => {}
                }
            };
            let (node, supervisor) = Node::start(connector, None, health, end);
            self.supervisor.spawn_on(supervisor, &self.runtime);
            node
        });
        Arc::clone(node)
    }
}
