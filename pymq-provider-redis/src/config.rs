//! [`RedisConfig`]: the address of the server and the time limits. [`Redis`]: the URL schemes of a
//! Redis server. Passwords are never printed.

mod cluster;
mod sentinels;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{MAX_DURATION, Provider};
use pymq_core::{Connect, Error, ErrorKind, Parameters, ProviderUrl, Result, Scheme, name};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use serde::de::{self, Deserialize, Deserializer};
use url::{Position, Url};

use self::cluster::ClusterConfig;
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

/// Refuses a URL with parts that have no meaning, or that are a password in the wrong place.
fn check_parts(url: &ProviderUrl) -> Result<()> {
    let text: &Url = url.as_url();
    let is_socket = is_socket(url);
    let what = if !is_socket && text[Position::AfterPort..].contains('@') {
        "an `@` after the host; in a password, write `%2F` for `/`, `%3F` for `?`, `%23` for `#`"
    } else if text.fragment().is_some() {
        "a fragment (`#..`) has no meaning here, remove it"
    } else if is_socket && Path::new(text.path()).parent().is_none() {
        "the path of the socket is missing"
    } else if ![sentinels::SCHEME, cluster::SCHEME].contains(&url.scheme()) && url.hosts().len() > 1
    {
        "it has several hosts; those of sentinels are written `redis-sentinel://one,two/master`, \
         those of a cluster `redis-cluster://one,two`"
    } else {
        return Ok(());
    };
    Err(unusable(url, what))
}

/// Reads the part of the URL that the redis crate parses.
fn server(url: &ProviderUrl) -> Result<ConnectionInfo> {
    // The error of the redis crate names the wrong part of the URL and never quotes a secret.
    let fault = |error| unusable(url, "it cannot be used").with_source(error);
    if url.scheme() != "rediss" {
        return url.as_url().clone().into_connection_info().map_err(fault);
    }
    check_tls("rediss")?;
    // The redis crate reads this scheme only with its own TLS, which ours does not need.
    let plain = url.as_url().as_str().replacen("rediss", "redis", 1);
    let info = plain.into_connection_info().map_err(fault)?;
    let ConnectionAddr::Tcp(host, port) = info.addr().clone() else {
        return Err(unusable(url, "it cannot be used"));
    };
    Ok(info.set_addr(address(host, port, true)))
}

fn address(host: String, port: u16, is_tls: bool) -> ConnectionAddr {
    if is_tls {
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

/// Reads the hosts of a URL with several.
fn servers(url: &ProviderUrl, port: u16, is_tls: bool) -> Result<Vec<ConnectionInfo>> {
    let hosts = url.hosts();
    let servers = hosts.iter().map(|(host, own_port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = address(host.to_owned(), own_port.unwrap_or(port), is_tls);
        let server = address.into_connection_info();
        server.map_err(|error| unusable(url, "a host cannot be used").with_source(error))
    });
    servers.collect()
}

/// Reads a parameter that turns TLS on.
fn read_tls(url: &ProviderUrl, parameters: &Parameters, name: &str) -> Result<bool> {
    let is_tls = read_flag(url, parameters, name)?;
    if is_tls {
        check_tls(url.scheme())?;
    }
    Ok(is_tls)
}

fn read_flag(url: &ProviderUrl, parameters: &Parameters, name: &str) -> Result<bool> {
    match parameters.get(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(unusable(
            url,
            &format!("`{name}` is neither `true` nor `false`"),
        )),
    }
}

/// Refuses TLS where it is not compiled in.
fn check_tls(scheme: &str) -> Result<()> {
    if cfg!(feature = "tls") {
        return Ok(());
    }
    let what = format!(
        "redis: TLS of `{scheme}://` needs the feature `redis-tls` of the crate `pymq`, \
         or `tls` of `pymq-provider-redis`"
    );
    Err(Error::new(ErrorKind::Tls, what))
}

fn is_socket(url: &ProviderUrl) -> bool {
    matches!(url.scheme(), "unix" | "redis+unix")
}

fn unusable(url: &ProviderUrl, what: &str) -> Error {
    let text = format!("redis: URL `{url}`: {what}");
    Error::new(ErrorKind::InvalidConfig, text)
}
