//! [`RedisProvider`]: connects, delegates to `topics`, `queues` and `rpc`, and closes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{
    Capabilities, Delivery, Filter, GetOptions, Health, Part, Provider, Put, PutOptions,
    QueueStats, Receipt, Redrive, Replies, RequestOptions, Requests, Requirement, Settle, Stored,
    Subscription,
};
use pymq_core::{Message, Result};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::RedisConfig;
use crate::connection::{Connector, Purpose, Replicas};
use crate::core::{Core, HealthReporter};
use crate::first_connections::connect_first;
use crate::keys::Keys;
use crate::queues::Queues;
use crate::rpc::Rpc;
use crate::subscriptions::Subscriptions;
use crate::topics::Topics;

/// How long `close` waits for data that is left to send.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// A connection to a Redis server, in one namespace of it.
///
/// Created by [`RedisConfig`] through [`Connect`](pymq_core::Connect). If it is dropped without a
/// `close`, it ends in the background: data that is left is sent if the runtime runs on.
pub struct RedisProvider {
    core: Core,
    /// The tasks that keep the connection for commands up, and that end it last.
    supervisor: TaskTracker,
    /// The counts of subscriptions are exact.
    has_counts: bool,
    topics: Topics,
    queues: Queues,
    rpc: Rpc,
}

impl RedisProvider {
    /// Connects, or fails with the cause within the connect timeout.
    ///
    /// # Errors
    ///
    /// `Disconnected`, `Auth`, `Permission`, `Tls`, `Timeout`, `Unsupported` for a server older
    /// than 6.2, and `InvalidConfig`.
    pub async fn connect(config: &RedisConfig) -> Result<Self> {
        config.check()?;
        let keys = Keys::new(config.namespace_name(), config.is_cluster());
        let connector = Connector::new(config, keys.home())
            .map_err(|fault| fault.into_error("redis: connect", "no server"))?;
        let replicas = config.required_replicas();
        let first = connect_first(&connector, keys.home(), replicas)
            .await
            .map_err(|fault| fault.into_error("redis: connect", connector.address()))?;

        let disconnect = CancellationToken::new();
        let health = Health::new();
        let supervisor = TaskTracker::new();
        let start = |purpose, first| {
            connector.commands(purpose, first, &health, disconnect.clone(), &supervisor)
        };
        let commands = start(Purpose::Commands, first.for_commands);
        let mut puts = commands.clone();
        if let (Some((count, timeout)), Some(connection)) = (replicas, first.for_puts) {
            let op_timeout = connector.op_timeout();
            let (replicas, send) = Replicas::new(count, timeout, op_timeout, disconnect.clone());
            supervisor.spawn(send);
            puts = start(Purpose::Puts, connection).with_replicas(replicas);
        }
        let core = Core {
            commands,
            puts,
            connector,
            keys,
            health,
            version: first.version,
            limits: first.limits,
            close: CancellationToken::new(),
            disconnect,
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            held: TaskTracker::new(),
        };
        supervisor.spawn(flush_on_close(core.clone()));
        if core.connector.sentinels().is_some() {
            supervisor.spawn(watch_sentinels(core.clone()));
        }
        if core.connector.cluster().is_some() {
            supervisor.spawn(watch_cluster(core.clone()));
        }
        let of_topics = if config.has_spread_topics() {
            core.of(&Uuid::new_v4().to_string())
        } else {
            core.clone()
        };
        let subscriptions = Subscriptions::new(of_topics.clone());
        Ok(Self {
            has_counts: !config.has_spread_topics(),
            topics: Topics::new(of_topics, subscriptions.clone()),
            queues: Queues::new(core.clone(), subscriptions.clone()),
            rpc: Rpc::new(core.clone(), subscriptions),
            core,
            supervisor,
        })
    }
}

#[async_trait]
impl Provider for RedisProvider {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = Capabilities::none()
            .with_patterns()
            .with_leases()
            .with_delays()
            .with_shared()
            .with_durable()
            .with_exact_stats()
            .with_front()
            .with_fenced()
            .with_atomic_batches();
        if self.has_counts {
            capabilities.with_counted()
        } else {
            capabilities
        }
    }

    fn health(&self) -> &Health {
        &self.core.health
    }

    async fn publish_all(&self, messages: Vec<(Arc<str>, Message)>) -> Vec<Result<usize>> {
        self.topics.publish_all(messages).await
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<usize> {
        self.core
            .check_open(|| format!("redis: publish to `{topic}`"))?;
        self.topics.publish(topic, &message).await
    }

    async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        self.core
            .check_open(|| format!("redis: subscribe to `{}`", filter.as_str()))?;
        self.topics.subscribe(filter).await
    }

    async fn queue_put(
        &self,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        self.core
            .check_open(|| format!("redis: put to `{queue}`"))?;
        self.queues.put(queue, messages, opts).await
    }

    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        self.core
            .check_open(|| format!("redis: get from `{queue}`"))?;
        self.queues.get(queue, opts).await
    }

    async fn queue_settle(
        &self,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        self.core
            .check_open(|| format!("redis: settle in `{queue}`"))?;
        self.queues.settle(queue, settlements).await
    }

    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        self.core
            .check_open(|| format!("redis: peek into `{queue}`"))?;
        self.queues.peek(queue, part, max).await
    }

    async fn queue_redrive(&self, queue: &str, which: Redrive) -> Result<usize> {
        self.core
            .check_open(|| format!("redis: redrive in `{queue}`"))?;
        self.queues.redrive(queue, which).await
    }

    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize> {
        self.core.check_open(|| format!("redis: clear `{queue}`"))?;
        self.queues.clear(queue, part).await
    }

    async fn queue_stats(&self, queue: &str) -> Result<QueueStats> {
        self.core
            .check_open(|| format!("redis: stats of `{queue}`"))?;
        self.queues.stats(queue).await
    }

    async fn rpc_listen(&self, channel: &str) -> Result<Requests> {
        self.core
            .check_open(|| format!("redis: serve `{channel}`"))?;
        self.rpc.listen(channel).await
    }

    async fn rpc_request(
        &self,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        self.core
            .check_open(|| format!("redis: call `{channel}`"))?;
        self.rpc.request(channel, &request, &opts).await
    }

    async fn close(&self) -> Result<()> {
        // The order matters. An operation that still finds the provider open starts something that
        // `close` then ends.
        self.core.tasks.close();
        self.core.close.cancel();
        self.supervisor.close();
        self.supervisor.wait().await;
        // Without the connection, the tasks that still run are dropped.
        self.core.tasks.wait().await;
        self.core.health.close();
        Ok(())
    }
}

impl Drop for RedisProvider {
    fn drop(&mut self) {
        self.core.close.cancel();
        self.core.health.close();
    }
}

/// Ends the connection for commands after a `close`, once everything else has ended. The tasks end
/// by themselves, and may have data left to send.
async fn flush_on_close(core: Core) {
    core.close.cancelled().await;
    core.tasks.close();
    core.held.close();
    let all_else = async {
        // What a caller holds becomes a task when it is dropped, so check both again.
        while !(core.held.is_empty() && core.tasks.is_empty()) {
            core.held.wait().await;
            core.tasks.wait().await;
        }
    };
    if timeout(FLUSH_LIMIT, all_else).await.is_err() {
        tracing::warn!(
            "closed before all data was sent: messages may come back late, answers may be lost"
        );
    }
    core.disconnect.cancel();
}

impl fmt::Debug for RedisProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisProvider")
            .field("address", &self.core.connector.address())
            .field("calls", &self.rpc.calls_in_flight())
            .finish_non_exhaustive()
    }
}

/// Watches the sentinels until the provider is closed.
async fn watch_sentinels(core: Core) {
    let Some(sentinels) = core.connector.sentinels() else {
        return;
    };
    let reporter = |sentinel: &_| {
        HealthReporter::new(&core.health, "sentinel", Requirement::Optional, sentinel)
    };
    tokio::select! {
        () = core.close.cancelled() => {}
        () = sentinels.watch(reporter) => {}
    }
}

/// Watches the nodes of the cluster until the connections for commands end.
async fn watch_cluster(core: Core) {
    let Some(cluster) = core.connector.cluster() else {
        return;
    };
    tokio::select! {
        () = core.disconnect.cancelled() => {}
        () = cluster.watch() => {}
    }
}
