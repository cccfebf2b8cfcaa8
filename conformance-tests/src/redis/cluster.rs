//! Redis Cluster: masters with an equal share of the hash slots each, and their replicas.

mod slots;
mod view;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{join_all, select_ok, try_join_all};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue};
use tokio::time::timeout;

use self::view::{Member, SLOTS, View};
use super::agreement::{ASK, has_replicas, until};
use super::{Controlled, Scratch, local};
use crate::Failure;

/// How long a node is silent before the others take it for down.
pub const NODE_TIMEOUT: Duration = Duration::from_secs(1);

/// The options of each node. A replica stays with its master.
const OPTIONS: [&str; 10] = [
    "--cluster-enabled",
    "yes",
    "--cluster-config-file",
    "nodes.conf",
    "--cluster-announce-ip",
    "127.0.0.1",
    "--cluster-allow-replica-migration",
    "no",
    "--repl-diskless-sync-delay",
    "0",
];

/// How long a failover on request may take. The server itself gives up after 5 s.
const FAILOVER: Duration = Duration::from_secs(6);

/// A cluster. Each node is controlled alone, and named by its port.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes in the order of their start: first those that started as masters.
    pub nodes: Vec<Controlled>,
    replicas_of_each: usize,
    _home: Scratch,
}

impl Cluster {
    /// Starts a cluster with so many masters, and so many replicas of each. The options are those
    /// of `redis.conf`, each with two dashes in front. A node takes another one for down after
    /// [`NODE_TIMEOUT`], unless the options set another `cluster-node-timeout`. Returns when the cluster
    /// [is whole](Self::wait_until_whole).
    ///
    /// # Errors
    ///
    /// If a node does not start, or does not find the others.
    pub async fn start(
        masters: usize,
        replicas_of_each: usize,
        options: &[&str],
    ) -> Result<Self, Failure> {
        let home = Scratch::new()?;
        let node_timeout = NODE_TIMEOUT.as_millis().to_string();
        let node_timeout = ["--cluster-node-timeout", &node_timeout];
        let options = [&OPTIONS, &node_timeout[..], options].concat();
        let nodes = (0..masters * (1 + replicas_of_each))
            .map(|n| Ok((home.dir(&n.to_string())?, local::node_port())))
            .collect::<Result<Vec<_>, Failure>>()?;
        let nodes = nodes.iter().map(async |(home, port)| {
            let port = port.ok_or("no port is free for a node")?;
            Controlled::start_member_on(port, home, &[], &options).await
        });
        let cluster = Self {
            nodes: try_join_all(nodes).await?,
            replicas_of_each,
            _home: home,
        };
        cluster.join(masters).await?;
        cluster.wait_until_whole().await?;
        Ok(cluster)
    }

    /// Spreads the slots, introduces the nodes to each other, and gives each replica its master.
    async fn join(&self, masters: usize) -> Result<(), Failure> {
        let share = |n: usize| n * SLOTS / masters..(n + 1) * SLOTS / masters;
        // A node takes an epoch only before it knows another node.
        let ids = self.nodes.iter().enumerate().map(async |(n, node)| {
            let mut setup = redis::pipe();
            setup.cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(n + 1);
            setup.ignore();
            if n < masters {
                let slots: Vec<usize> = share(n).collect();
                setup.cmd("CLUSTER").arg("ADDSLOTS").arg(slots).ignore();
            }
            setup.cmd("CLUSTER").arg("MYID");
            let (id,): (String,) = setup.query_async(&mut node.raw().await?).await?;
            Ok::<_, Failure>(id)
        });
        let ids = try_join_all(ids).await?;
        // Each pair, so that no node has to wait until another one tells it of the rest.
        let meetings = self.nodes.iter().enumerate().flat_map(|(n, node)| {
            let others = self.nodes[..n].iter();
            others.map(move |other| cluster(node, ("MEET", "127.0.0.1", other.port())))
        });
        try_join_all(meetings).await?;
        let know_each_other = async || {
            let views = try_join_all(self.nodes.iter().map(View::of)).await?;
            let known = |view: &View| view.members.iter().all(|member| ids.contains(&member.id));
            Ok(views
                .iter()
                .all(|view| view.members.len() == ids.len() && known(view)))
        };
        until("the nodes to find each other", know_each_other).await?;
        let replicas = self.nodes[masters..]
            .iter()
            .zip(ids[..masters].iter().cycle());
        let following = replicas.map(|(node, master)| cluster(node, ("REPLICATE", master)));
        try_join_all(following).await?;
        Ok(())
    }

    /// Returns the URL of the cluster, such as `redis-cluster://127.0.0.1:1,127.0.0.1:2`. It names
    /// all nodes, in their order.
    pub fn url(&self) -> String {
        let hosts = self.nodes.iter();
        let hosts = hosts.map(|node| format!("127.0.0.1:{}", node.port()));
        let hosts: Vec<_> = hosts.collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// Returns the node on this port.
    ///
    /// # Errors
    ///
    /// If it is none of the cluster.
    pub fn node(&self, port: u16) -> Result<&Controlled, Failure> {
        let found = self.nodes.iter().find(|node| node.port() == port);
        Ok(found.ok_or_else(|| format!("the cluster has no node on port {port}"))?)
    }

    /// Returns the masters: the nodes that have slots.
    ///
    /// # Errors
    ///
    /// If no node answers.
    pub async fn masters(&self) -> Result<Vec<&Controlled>, Failure> {
        let view = self.newest_view().await?;
        let masters = view.members.iter().filter(|member| member.is_master());
        masters.map(|master| self.node(master.port)).collect()
    }

    /// Returns the replicas of the master on this port which are not down.
    ///
    /// # Errors
    ///
    /// If no node answers, or none has this port.
    pub async fn replicas(&self, port: u16) -> Result<Vec<&Controlled>, Failure> {
        let view = self.newest_view().await?;
        let master = view.member(port)?;
        let replicas = view
            .members
            .iter()
            .filter(|member| member.master.as_ref() == Some(&master.id) && !member.is_down);
        replicas.map(|replica| self.node(replica.port)).collect()
    }

    /// Makes a replica of the master on this port the master, while the master runs. Returns as
    /// [`wait_for_promotion`](Self::wait_for_promotion) does.
    ///
    /// # Errors
    ///
    /// If no replica can be the master within a minute.
    pub async fn fail_over(&self, port: u16) -> Result<(), Failure> {
        let is_replaced = async || {
            let replicas = self.replicas(port).await?;
            // The former master is a replica by now if an earlier attempt was only late.
            if let Some(replica) = replicas.first() {
                cluster(replica, "FAILOVER").await?;
            }
            let waited = timeout(FAILOVER, self.wait_for_promotion(port)).await;
            Ok(matches!(waited, Ok(Ok(()))))
        };
        until("a failover", is_replaced).await
    }

    /// Waits until one of the nodes says that another one has the slots of the master on this port,
    /// and takes commands.
    ///
    /// # Errors
    ///
    /// If none does within a minute.
    pub async fn wait_for_naming(&self, port: u16) -> Result<(), Failure> {
        let named = self.nodes.iter().map(|node| {
            let is_named = move || async move { View::of(node).await?.is_without(port) };
            Box::pin(until("another master", is_named))
        });
        select_ok(named).await?;
        Ok(())
    }

    /// Waits until another node has the slots of the master on this port, and each node that
    /// answers says so and takes commands again.
    ///
    /// # Errors
    ///
    /// If that does not happen within a minute.
    pub async fn wait_for_promotion(&self, port: u16) -> Result<(), Failure> {
        let is_replaced = async || {
            let views = self.views().await;
            let without_it = views.iter().map(|view| view.is_without(port));
            let all = without_it.collect::<Result<Vec<_>, Failure>>()?;
            Ok(!all.is_empty() && all.into_iter().all(|without_it| without_it))
        };
        until("another master", is_replaced).await
    }

    /// Waits until every node runs and takes commands, all agree on the cluster, and every master
    /// has its replicas in step.
    ///
    /// # Errors
    ///
    /// If that does not happen within a minute.
    pub async fn wait_until_whole(&self) -> Result<(), Failure> {
        until("the cluster to be whole", async || {
            let views = try_join_all(self.nodes.iter().map(View::of)).await?;
            let agreed: BTreeSet<&[Member]> = views.iter().map(|view| &*view.members).collect();
            let (first, members) = (&views[0], &views[0].members);
            let is_whole = agreed.len() == 1
                && views.iter().all(View::is_ok)
                && members.iter().all(|member| !member.is_down)
                && members
                    .iter()
                    .all(|member| member.is_master() || member.master.is_some());
            if !is_whole {
                return Ok(false);
            }
            let masters = first.members.iter().filter(|member| member.is_master());
            let in_step = masters.map(async |master| {
                has_replicas(self.node(master.port)?, self.replicas_of_each).await
            });
            Ok(try_join_all(in_step)
                .await?
                .into_iter()
                .all(|in_step| in_step))
        })
        .await
    }

    /// Opens a connection to each node.
    pub(super) async fn raw(&self) -> Result<Vec<MultiplexedConnection>, Failure> {
        try_join_all(self.nodes.iter().map(Controlled::raw)).await
    }

    /// Sends a command to each node, and returns the answers.
    pub(super) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<Vec<T>, Failure> {
        let mut connections = self.raw().await?;
        let answers = connections.iter_mut().map(|raw| command.query_async(raw));
        Ok(try_join_all(answers).await?)
    }

    /// Asks all nodes for their views, and leaves out those that do not answer.
    async fn views(&self) -> Vec<View> {
        let views = join_all(self.nodes.iter().map(View::of)).await;
        views.into_iter().flatten().collect()
    }

    /// Returns the view with the last change. A node that was down or cut off has an older one.
    async fn newest_view(&self) -> Result<View, Failure> {
        let views = self.views().await.into_iter();
        let newest = views.max_by_key(|view| view.members.iter().map(|member| member.epoch).max());
        Ok(newest.ok_or("no node of the cluster answers")?)
    }
}

/// Sends a CLUSTER command to a node.
async fn cluster(node: &Controlled, words: impl redis::ToRedisArgs) -> Result<(), Failure> {
    let mut command = redis::cmd("CLUSTER");
    let command = command.arg(words);
    Ok(command.exec_async(&mut node.raw().await?).await?)
}
