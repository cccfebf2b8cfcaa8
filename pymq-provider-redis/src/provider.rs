//! [`RedisProvider`]: connects, delegates to the modules named after what they carry, and closes.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{
    Capabilities, Delivery, Filter, GetOptions, Health, Part, Provider, Put, PutOptions,
    QueueStats, Receipt, Redrive, Replies, RequestOptions, Requests, Requirement, Settle, Stored,
    Subscription,
};
use pymq_core::{ErrorKind, Message, Result};
use redis::InfoDict;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::RedisConfig;
use crate::connection::{Commands, Connector, Fault, Live, Remedy, Version};
use crate::core::{Core, LinkTo};
use crate::keys::Keys;
use crate::limits::Limits;
use crate::queues::Queues;
use crate::rpc::Rpc;
use crate::subscriptions::Subscriptions;
use crate::topics::Topics;

/// How long the end waits for what is left to send.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A connection to a Redis server, in one namespace of it.
///
/// Made by [`RedisConfig`] through [`Connect`](pymq_core::Connect). Dropped without a `close` it ends all the same, in the
/// background: what is left to send is sent if the runtime lives on for it.
pub struct RedisProvider {
    core: Core,
    /// The tasks that keep the connection for commands up, and end it after everything else has ended.
    supervisor: TaskTracker,
    topics: Topics,
    queues: Queues,
    rpc: Rpc,
}

impl RedisProvider {
    /// Connects, or says within the connect timeout why that cannot be.
    ///
    /// # Errors
    ///
    /// `Disconnected`, `Auth`, `Permission`, `Tls`, `Timeout`, `Unsupported` for a server older than 6.2, and
    /// `InvalidConfig`.
    pub async fn connect(config: &RedisConfig) -> Result<Self> {
        config.check()?;
        let connector = Connector::new(config)
            .map_err(|fault| fault.into_error("redis: connect", "no server"))?;
        let connecting = timeout(connector.connect_timeout(), first_connection(&connector)).await;
        let (live, version, limits) = connecting
            .unwrap_or_else(|_| Err(Fault::new(ErrorKind::Timeout, "no answer in time")))
            .map_err(|fault| fault.into_error("redis: connect", connector.address()))?;

        let hangup = CancellationToken::new();
        let health = Health::new();
        let link = LinkTo::new(&health, "commands", Requirement::Required, &connector);
        let (commands, keep_up) = Commands::new(connector.clone(), live, link, hangup.clone());
        let supervisor = TaskTracker::new();
        supervisor.spawn(keep_up);
        let core = Core {
            commands,
            connector,
            keys: Keys::new(config.namespace_name()),
            health,
            version,
            limits,
            close: CancellationToken::new(),
            hangup,
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            held: TaskTracker::new(),
        };
        supervisor.spawn(last_words(core.clone()));
        let subscriptions = Subscriptions::new(core.clone());
        Ok(Self {
            topics: Topics::new(core.clone(), subscriptions.clone()),
            queues: Queues::new(core.clone()),
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
        Capabilities::none()
            .with_patterns()
            .with_leases()
            .with_delays()
            .with_shared()
            .with_durable()
    }

    fn health(&self) -> &Health {
        &self.core.health
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
        // In this order: who still finds it open has what it began ended by those who are told next.
        self.core.tasks.close();
        self.core.close.cancel();
        self.supervisor.close();
        self.supervisor.wait().await;
        // Without the connection, what still runs is dropped where it waits.
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

/// Ends the connection for commands once all else has ended after a `close`: the tasks end by themselves, and may have
/// something left to send.
async fn last_words(core: Core) {
    core.close.cancelled().await;
    core.tasks.close();
    core.held.close();
    let all_else = async {
        // What is held becomes a task when it is dropped, hence the second look.
        while !(core.held.is_empty() && core.tasks.is_empty()) {
            core.held.wait().await;
            core.tasks.wait().await;
        }
    };
    if timeout(LAST_WORDS, all_else).await.is_err() {
        tracing::warn!("closed before everything was sent");
    }
    core.hangup.cancel();
}

impl fmt::Debug for RedisProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisProvider")
            .field("address", &self.core.connector.address())
            .field("calls", &self.rpc.calls_under_way())
            .finish_non_exhaustive()
    }
}

/// Dials and makes sure that the server is one we can work with, and ready. Does not retry: who configures a wrong
/// address wants to hear of it now.
async fn first_connection(connector: &Connector) -> Result<(Live, Version, Limits), Fault> {
    let live = connector.dial(drop).await?;
    let version = live.version().await?.check()?;
    wait_until_ready(&live).await?;
    warn_of_eviction(&live).await;
    let limits = Limits::ask(&live).await;
    Ok((live, version, limits))
}

/// A server that loads its data takes connections, but no commands yet.
async fn wait_until_ready(live: &Live) -> Result<(), Fault> {
    let mut connection = live.connection.clone();
    loop {
        let pong: Result<(), _> = redis::cmd("PING").query_async(&mut connection).await;
        match pong.map_err(Fault::of_command) {
            Err(fault) if fault.remedy == Remedy::Wait => sleep(Duration::from_millis(50)).await,
            // Not allowed to ask is not being refused.
            Err(fault) if fault.kind != ErrorKind::Permission => return Err(fault),
            Ok(()) | Err(_) => return Ok(()),
        }
    }
}

/// Warns when the server may throw away what is ours to make room. Says nothing where it may not be asked.
async fn warn_of_eviction(live: &Live) {
    let mut connection = live.connection.clone();
    let info: Result<InfoDict, _> = redis::cmd("INFO")
        .arg("memory")
        .query_async(&mut connection)
        .await;
    let policy: Option<String> = info.ok().and_then(|info| info.get("maxmemory_policy"));
    if let Some(policy) = policy
        && let Some(lost) = what_is_evicted(&policy)
    {
        tracing::warn!(
            policy,
            "when memory runs out, the server evicts {lost}; use `noeviction`"
        );
    }
}

/// Returns what of ours an eviction policy may take.
fn what_is_evicted(policy: &str) -> Option<&'static str> {
    if policy.starts_with("allkeys-") {
        Some("any key, whole queues included")
    } else if policy.starts_with("volatile-") {
        Some(
            "keys that expire: marks of `put_once`, so that an item may be put twice; claims, so that \
             a call may run twice; and inboxes, so that answers are lost",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_but_noeviction_is_warned_of() {
        assert!(what_is_evicted("allkeys-lru").unwrap().contains("queues"));
        assert!(what_is_evicted("volatile-ttl").unwrap().contains("marks"));
        assert_eq!(what_is_evicted("noeviction"), None);
    }
}
