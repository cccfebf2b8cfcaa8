//! [`RedisConfig`]: the address of the server and the time limits. [`Redis`]: the URL schemes of a
//! Redis server. Passwords are never printed.

mod cluster;
mod parts;
mod sentinels;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{MAX_DURATION, Provider};
use pymq_core::{Connect, Error, ErrorKind, ProviderUrl, Result, Scheme, name};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use serde::de::{self, Deserialize, Deserializer};

use self::cluster::ClusterConfig;
use self::parts::{check_parts, read_flag, server, unusable};
use self::sentinels::SentinelConfig;
use crate::RedisProvider;

/// How long a put waits for replicas, if a URL says how many and not how long.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);

/// How to reach a Redis server, and which namespace of it to use.
///
/// It parses from a URL, deserializes from a string with a URL, or starts from
/// [`default`](Self::default), which is `redis://127.0.0.1:6379` and Python PyMQ's namespace
/// `global`.
///
/// | URL | meaning |
/// |---|---|
/// | `redis://user:password@host:6379/2` | TCP, database 2 |
/// | `rediss://host` | TLS, needs the feature `tls`; certificates are always checked |
/// | `unix:///run/redis.sock?db=2&user=u&pass=p` | a Unix socket; `redis+unix://` is the same |
/// | `redis-sentinel://user:password@one,two/orders/2` | the master `orders` of two sentinels |
/// | `?tls=true`, `?sentinel_tls=true` | TLS to that master, TLS to its sentinels |
/// | `?sentinel_user=u&sentinel_pass=p` | the credentials for the sentinels themselves |
/// | `redis-cluster://user:password@one,two:6380` | a cluster, found by some of its nodes |
/// | `?tls=true`, `?spread_topics=true` | TLS to all its nodes, topics at all nodes |
/// | `?namespace=shop` | the namespace that all members of one bus share |
/// | `?connect_timeout=2s` | the time limit of the first connection, 5 s by default |
/// | `?op_timeout=500ms` | the time limit of a command, 5 s by default; waiting takes have none |
/// | `?replicas=1` | a put waits for so many [`replicas`](Self::replicas), 0 by default |
/// | `?replica_timeout=500ms` | how long it waits for them, 1 s by default |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use pymq_provider_redis::RedisConfig;
///
/// let config: RedisConfig = "redis://:secret@localhost:6380?namespace=shop".parse()?;
/// let config = config.op_timeout(Duration::from_secs(1));
///
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<(), pymq::Error>(())
/// ```
#[derive(Clone)]
pub struct RedisConfig {
    server: ServerConfig,
    namespace: String,
    connect_timeout: Duration,
    op_timeout: Duration,
    spread_topics: bool,
    /// How many replicas must have a put, and how long it waits for them.
    replicas: Option<(usize, Duration)>,
}

/// Where the server is.
#[derive(Clone)]
pub(crate) enum ServerConfig {
    One(ConnectionInfo),
    /// The master that sentinels name.
    Sentinels(SentinelConfig),
    Cluster(ClusterConfig),
}

impl RedisConfig {
    /// Sets the namespace: the part of every Redis name that keeps buses on one server apart. It
    /// has 1 to 64 characters of `A-Za-z0-9._-`. `connect` refuses another one with
    /// `InvalidConfig`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Sets the ACL user.
    #[must_use]
    pub fn username(mut self, username: impl AsRef<str>) -> Self {
        self.server.set(|settings| settings.set_username(&username));
        self
    }

    /// Sets the password.
    #[must_use]
    pub fn password(mut self, password: impl AsRef<str>) -> Self {
        self.server.set(|settings| settings.set_password(&password));
        self
    }

    /// Sets the database number, which callers and servers must share. A cluster has only 0:
    /// `connect` refuses another one with `InvalidConfig`.
    #[must_use]
    pub fn database(mut self, database: u32) -> Self {
        self.server.set(|settings| settings.set_db(database.into()));
        self
    }

    /// Sets the time limit of the first connection. `connect` refuses zero with `InvalidConfig`.
    /// More than 100 years counts as 100 years.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the time limit of a command, including the wait for a lost connection. `connect`
    /// refuses zero with `InvalidConfig`. More than 100 years counts as 100 years.
    #[must_use]
    pub fn op_timeout(mut self, timeout: Duration) -> Self {
        self.op_timeout = timeout;
        self
    }

    /// Makes each put wait until so many replicas have acknowledged it, so that it survives the end
    /// of the master if one of them takes over. 0 turns this off, as it is by default.
    ///
    /// If fewer replicas acknowledge the put within the timeout, it fails with
    /// [`Timeout`](ErrorKind::Timeout) and
    /// [`outcome_unknown`](Error::outcome_unknown). It is in the queue then, and not yet safe. The
    /// time limit of a put is the `op_timeout` and this timeout together. `connect` refuses a
    /// timeout of zero with `InvalidConfig`. More than 100 years counts as 100 years.
    ///
    /// The user needs the right to `WAIT`. A put goes through a second connection. Other operations
    /// do not wait for replicas: acks, nacks, redrives, events and calls.
    #[must_use]
    pub fn replicas(mut self, count: usize, timeout: Duration) -> Self {
        self.replicas = (count > 0).then_some((count, timeout));
        self
    }

    /// Spreads the topics of a namespace over the nodes of a cluster: each process publishes and
    /// subscribes at the node of a random slot. `publish` then returns the number of subscriptions
    /// at its own node, which is not all of them, and `Capabilities::counted` is not set.
    ///
    /// Without it, one node carries all topics of the namespace, and the counts are exact. With it,
    /// every node still gets every event, as the nodes pass them on, but each one serves only its own
    /// clients. An event that is on its way between two nodes when their connection breaks is lost,
    /// and no gap tells that.
    ///
    /// All processes of one bus may choose differently. `connect` refuses it with `InvalidConfig`
    /// where there is no cluster.
    #[must_use]
    pub fn spread_topics(mut self, is_spread: bool) -> Self {
        self.spread_topics = is_spread;
        self
    }

    pub(crate) fn has_spread_topics(&self) -> bool {
        self.spread_topics
    }

    pub(crate) fn server(&self) -> &ServerConfig {
        &self.server
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.server, ServerConfig::Cluster(_))
    }

    pub(crate) fn timeouts(&self) -> (Duration, Duration) {
        (
            self.connect_timeout.min(MAX_DURATION),
            self.op_timeout.min(MAX_DURATION),
        )
    }

    /// Returns how many replicas must have a put, and how long it waits for them, if it does.
    pub(crate) fn required_replicas(&self) -> Option<(usize, Duration)> {
        let (count, timeout) = self.replicas?;
        Some((count, timeout.min(MAX_DURATION)))
    }

    /// Refuses an unusable configuration.
    pub(crate) fn check(&self) -> Result<()> {
        name::check_namespace(&self.namespace)?;
        match &self.server {
            ServerConfig::Cluster(cluster) => cluster.check()?,
            _ if self.spread_topics => {
                let text = "redis: `spread_topics` needs a cluster, `redis-cluster://one,two`";
                return Err(Error::new(ErrorKind::InvalidConfig, text));
            }
            _ => {}
        }
        let replica_timeout = self
            .replicas
            .map_or(REPLICA_TIMEOUT, |(_, timeout)| timeout);
        for (name, timeout) in [
            ("connect_timeout", self.connect_timeout),
            ("op_timeout", self.op_timeout),
            ("replica_timeout", replica_timeout),
        ] {
            if timeout.is_zero() {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("redis: `{name}` is zero, set a time above zero"),
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn namespace_name(&self) -> &str {
        &self.namespace
    }
}

impl ServerConfig {
    /// Changes the credentials or the database.
    fn set(&mut self, change: impl Fn(RedisConnectionInfo) -> RedisConnectionInfo) {
        let servers = match self {
            Self::One(server) => std::slice::from_mut(server),
            Self::Sentinels(sentinels) => std::slice::from_mut(&mut sentinels.of_master),
            Self::Cluster(cluster) => &mut cluster.servers,
        };
        for server in servers {
            let settings = change(server.redis_settings().clone());
            *server = server.clone().set_redis_settings(settings);
        }
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        let address = ConnectionAddr::Tcp("127.0.0.1".to_owned(), 6379);
        let server = address
            .into_connection_info()
            .expect("an address is always a connection info");
        let five_seconds = Duration::from_secs(5);
        Self {
            server: ServerConfig::One(server),
            namespace: "global".to_owned(),
            connect_timeout: five_seconds,
            op_timeout: five_seconds,
            spread_topics: false,
            replicas: None,
        }
    }
}

#[async_trait]
impl Connect for RedisConfig {
    /// Connects, or fails with the cause within the connect timeout.
    async fn connect(self) -> Result<Arc<dyn Provider>> {
        Ok(Arc::new(RedisProvider::connect(&self).await?))
    }
}

impl TryFrom<&ProviderUrl> for RedisConfig {
    type Error = Error;

    fn try_from(url: &ProviderUrl) -> Result<Self> {
        let mut known = vec!["namespace", "connect_timeout", "op_timeout"];
        known.extend(["replicas", "replica_timeout"]);
        match url.scheme() {
            "redis" | "rediss" => {}
            sentinels::SCHEME => known.extend(sentinels::PARAMETERS),
            cluster::SCHEME => known.extend(cluster::PARAMETERS),
            _ => known.extend(["db", "user", "pass"]),
        }
        let parameters = url.parameters(&known)?;
        let mut config = Self::default();
        check_parts(url)?;
        config.server = match url.scheme() {
            sentinels::SCHEME => ServerConfig::Sentinels(SentinelConfig::read(url, &parameters)?),
            cluster::SCHEME => {
                config.spread_topics = read_flag(url, &parameters, "spread_topics")?;
                ServerConfig::Cluster(ClusterConfig::read(url, &parameters)?)
            }
            _ => ServerConfig::One(server(url)?),
        };
        if let Some(namespace) = parameters.get("namespace") {
            config = config.namespace(namespace);
        }
        if let Some(timeout) = parameters.duration("connect_timeout")? {
            config.connect_timeout = timeout;
        }
        if let Some(timeout) = parameters.duration("op_timeout")? {
            config.op_timeout = timeout;
        }
        let timeout = parameters.duration("replica_timeout")?;
        if let Some(count) = parameters.get("replicas") {
            let count = count.parse();
            let count = count.map_err(|_| unusable(url, "`replicas` is not a number"))?;
            config = config.replicas(count, timeout.unwrap_or(REPLICA_TIMEOUT));
        } else if timeout.is_some() {
            return Err(unusable(
                url,
                "`replica_timeout` has no `replicas` beside it",
            ));
        }
        config.check()?;
        Ok(config)
    }
}

impl FromStr for RedisConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        Self::try_from(&url.parse::<ProviderUrl>()?)
    }
}

impl<'de> Deserialize<'de> for RedisConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(&ProviderUrl::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match &self.server {
            ServerConfig::One(server) => server.addr().to_string(),
            ServerConfig::Sentinels(sentinels) => sentinels.to_string(),
            ServerConfig::Cluster(cluster) => cluster.to_string(),
        };
        f.debug_struct("RedisConfig")
            .field("server", &server)
            .field("namespace", &self.namespace)
            .field("connect_timeout", &self.connect_timeout)
            .field("op_timeout", &self.op_timeout)
            .field("replicas", &self.required_replicas())
            .finish_non_exhaustive()
    }
}

/// The schemes `redis`, `rediss`, `redis-sentinel`, `redis-cluster`, `unix` and `redis+unix` of a
/// [`Registry`](pymq_core::Registry).
///
/// # Examples
///
/// ```
/// let registry = pymq::provider::Registry::new().with(pymq_provider_redis::Redis);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Redis;

#[async_trait]
impl Scheme for Redis {
    fn schemes(&self) -> &'static [&'static str] {
        &[
            "redis",
            "rediss",
            sentinels::SCHEME,
            cluster::SCHEME,
            "unix",
            "redis+unix",
        ]
    }

    async fn connect(&self, url: &ProviderUrl) -> Result<Arc<dyn Provider>> {
        RedisConfig::try_from(url)?.connect().await
    }
}
