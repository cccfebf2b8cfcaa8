//! The hash slots: which node has one, and how one moves to another node.

use futures_util::future::{join_all, select_ok};
use tokio::time::timeout;

use super::view::View;
use super::{Cluster, cluster};
use crate::Failure;
use crate::redis::Controlled;
use crate::redis::agreement::{ASK, until};

/// So many keys move at once.
const BATCH: usize = 100;

/// How long one batch may take, in milliseconds.
const MOVE: usize = 5_000;

impl Cluster {
    /// Returns the slot of a key.
    ///
    /// # Errors
    ///
    /// If no node answers.
    pub async fn slot(&self, key: &str) -> Result<u16, Failure> {
        let answers = self.nodes.iter().map(|node| {
            Box::pin(async move {
                let mut command = redis::cmd("CLUSTER");
                let command = command.arg("KEYSLOT").arg(key);
                Ok::<_, Failure>(command.query_async(&mut node.raw().await?).await?)
            })
        });
        // Each node says the same, and some may not answer.
        let (slot, _) = timeout(ASK, select_ok(answers)).await??;
        Ok(slot)
    }

    /// Returns the master that has the slot of a key.
    ///
    /// # Errors
    ///
    /// If no node answers, or none has the slot.
    pub async fn owner(&self, key: &str) -> Result<&Controlled, Failure> {
        self.owner_of(self.slot(key).await?).await
    }

    /// Returns the master that has a slot.
    ///
    /// # Errors
    ///
    /// As [`owner`](Self::owner).
    pub async fn owner_of(&self, slot: u16) -> Result<&Controlled, Failure> {
        self.node(self.newest_view().await?.owner(slot)?.port)
    }

    /// Moves a slot and its keys to the master on this port. Returns when each node that answers
    /// knows its new master.
    ///
    /// # Errors
    ///
    /// If a node refuses, or does not answer.
    pub async fn move_slot(&self, slot: u16, to: u16) -> Result<(), Failure> {
        self.begin_move(slot, to).await?;
        self.finish_move(slot, to).await
    }

    /// Begins to move a slot: from now on, its master answers ASK for keys that it does not have.
    /// All keys stay until [`move_keys`](Self::move_keys) or [`finish_move`](Self::finish_move).
    ///
    /// # Errors
    ///
    /// If a node refuses, or does not answer.
    pub async fn begin_move(&self, slot: u16, to: u16) -> Result<(), Failure> {
        let view = self.newest_view().await?;
        let (from, target) = (view.owner(slot)?, view.member(to)?);
        // In this order, the target is ready for what the other one sends to it.
        cluster(self.node(to)?, ("SETSLOT", slot, "IMPORTING", &from.id)).await?;
        let source = self.node(from.port)?;
        cluster(source, ("SETSLOT", slot, "MIGRATING", &target.id)).await
    }

    /// Moves at most so many keys of a slot, and returns how many it moved.
    ///
    /// # Errors
    ///
    /// If a node refuses, or does not answer.
    pub async fn move_keys(&self, slot: u16, to: u16, limit: usize) -> Result<usize, Failure> {
        let mut source = self.owner_of(slot).await?.raw().await?;
        let mut command = redis::cmd("CLUSTER");
        let command = command.arg("GETKEYSINSLOT").arg(slot).arg(limit);
        let keys: Vec<Vec<u8>> = command.query_async(&mut source).await?;
        if !keys.is_empty() {
            let mut command = redis::cmd("MIGRATE");
            let command = command
                .arg(("127.0.0.1", to, "", 0, MOVE, "KEYS"))
                .arg(&keys);
            command.exec_async(&mut source).await?;
        }
        Ok(keys.len())
    }

    /// Moves the rest of the keys, and gives the slot to the master on this port. Returns when each
    /// node that answers knows that.
    ///
    /// # Errors
    ///
    /// If a node refuses, or does not answer.
    pub async fn finish_move(&self, slot: u16, to: u16) -> Result<(), Failure> {
        while self.move_keys(slot, to, BATCH).await? > 0 {}
        let view = self.newest_view().await?;
        let (from, target) = (view.owner(slot)?.port, view.member(to)?);
        let give = ("SETSLOT", slot, "NODE", &target.id);
        // The target first: if it fails between the two, the slot still has a master.
        cluster(self.node(to)?, give).await?;
        cluster(self.node(from)?, give).await?;
        let others = view.members.iter().filter(|member| {
            member.is_master() && !member.is_down && member.port != to && member.port != from
        });
        let told = others.map(async |other| cluster(self.node(other.port)?, give).await);
        // A node that fails here learns it from the others, and the wait below is for that.
        drop(join_all(told).await);
        until("the nodes to agree on a slot", async || {
            let views = self.views().await;
            let knows = |view: &View| view.owner(slot).is_ok_and(|owner| owner.port == to);
            Ok(!views.is_empty() && views.iter().all(knows))
        })
        .await
    }
}
