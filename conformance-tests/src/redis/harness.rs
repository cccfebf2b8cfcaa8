//! The harness of the Redis provider: each test has a namespace of its own on the shared server. A
//! second one reaches the same server through a sentinel, and a third one has a shared cluster.

use std::any::Any;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::Provider;
use pymq_core::{Connect, Result};
use pymq_provider_redis::RedisConfig;
use redis::aio::MultiplexedConnection;
use tokio::sync::OnceCell;

use url::{Position, Url};
use uuid::Uuid;

use super::leftovers::leftovers;
use super::{Cluster, Sentinel, Server, Source, app_url, app_user, shared};
use crate::harness::WRONG_PASSWORD;
use crate::proxy::Proxy;
use crate::{Clock, Failure, Fault, Harness};

/// What makes a server require a password.
const PASSWORD: [&str; 3] = ["default", "resetpass", ">sesame"];

/// What a user needs on a cluster, beside the rights on one server.
const CLUSTER_RIGHTS: [&str; 7] = [
    "+cluster|slots",
    "+cluster|nodes",
    "+asking",
    "+ssubscribe",
    "+sunsubscribe",
    "+spublish",
    "+pubsub|shardnumsub",
];

/// A namespace on the shared server, or on the shared cluster.
#[derive(Debug)]
pub struct RedisHarness {
    backend: Backend,
    namespace: String,
    /// The address of the handles: the backend itself, or the proxy in front of it.
    url: String,
    /// It names the servers, instead of the URL.
    sentinel: Option<&'static Sentinel>,
    /// Only for tests that cut connections, so that they cut only their own.
    proxy: Option<Proxy>,
    /// The servers of this test with a fault in their configuration.
    faulty: Mutex<Vec<Box<dyn Any + Send>>>,
}

/// What all tests share.
#[derive(Debug)]
enum Backend {
    Server(&'static Server),
    Cluster(&'static Cluster),
}

impl RedisHarness {
    /// Creates a namespace for the test of this name.
    ///
    /// # Errors
    ///
    /// If there is no server.
    pub async fn open(test: &str) -> Result<Self, Failure> {
        let server = shared().await?;
        let mut url = app_url().await?;
        let mut proxy = None;
        if test.starts_with("disruption") {
            let target = format!(
                "{}:{}",
                url.host_str().unwrap_or("127.0.0.1"),
                url.port().unwrap_or(6379)
            );
            let started = Proxy::start(target).await?;
            url.set_ip_host(started.address().ip())
                .map_err(|()| "the URL takes no host")?;
            url.set_port(Some(started.address().port()))
                .map_err(|()| "the URL takes no port")?;
            proxy = Some(started);
        }
        let namespace = Uuid::new_v4().simple().to_string();
        Ok(Self {
            backend: Backend::Server(server),
            namespace,
            url: url.into(),
            sentinel: None,
            proxy,
            faulty: Mutex::default(),
        })
    }

    /// Creates a namespace as [`open`](Self::open) does. Its handles ask a sentinel where the
    /// server is.
    ///
    /// # Errors
    ///
    /// If there is no server, or no sentinel can be started.
    pub async fn open_with_sentinel(test: &str) -> Result<Self, Failure> {
        static SENTINEL: OnceCell<Sentinel> = OnceCell::const_new();
        let mut harness = Self::open(test).await?;
        let sentinel = SENTINEL.get_or_try_init(Sentinel::start).await?;
        harness.sentinel = Some(sentinel);
        harness.url = harness.url_for(&harness.url).await?;
        Ok(harness)
    }

    /// Creates a namespace on a cluster of three masters with a replica each. Its handles have a
    /// user of their own there, so that a test cuts only its own connections.
    ///
    /// # Errors
    ///
    /// If no cluster can be started.
    pub async fn open_with_cluster(_test: &str) -> Result<Self, Failure> {
        static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
        let cluster = CLUSTER.get_or_try_init(start_cluster).await?;
        let namespace = Uuid::new_v4().simple().to_string();
        let user = |rights: &mut dyn Iterator<Item = &'static str>| {
            let mut user = redis::cmd("ACL");
            user.arg("SETUSER").arg(&namespace);
            rights.for_each(|word| {
                user.arg(word);
            });
            user
        };
        // The rights of the shared server, and those that a cluster needs.
        let mut rights = app_user().skip(1).chain(["&*"]).chain(CLUSTER_RIGHTS);
        if cluster.run::<()>(&user(&mut rights)).await.is_err() {
            // Redis 6.2 does not know all of them.
            let mut all = ["on", ">password", "~*", "&*", "+@all"].into_iter();
            cluster.run::<()>(&user(&mut all)).await?;
        }
        let login = format!("://{namespace}:password@");
        Ok(Self {
            backend: Backend::Cluster(cluster),
            url: cluster.url().replacen("://", &login, 1),
            namespace,
            sentinel: None,
            proxy: None,
            faulty: Mutex::default(),
        })
    }

    /// Returns the URL for the server of a URL: by a name at the sentinel, if there is one, or as a
    /// node of a cluster.
    async fn url_for(&self, url: &str) -> Result<String, Failure> {
        if let Backend::Cluster(_) = self.backend {
            return Ok(url.replacen("redis://", "redis-cluster://", 1));
        }
        let Some(sentinel) = self.sentinel else {
            return Ok(url.to_owned());
        };
        let url = Url::parse(url)?;
        let name = Uuid::new_v4().simple().to_string();
        let port = url.port().ok_or("the server has no port")?;
        sentinel.name_master(&name, port).await?;
        let user = &url[Position::BeforeUsername..Position::BeforeHost];
        Ok(format!("redis-sentinel://{user}{}/{name}", sentinel.host()))
    }

    /// Returns the namespace, for queries to the server without the provider.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Opens a connection to the server without the provider.
    ///
    /// # Errors
    ///
    /// If that fails, or if there is a cluster: its nodes have [`raw_for`](Self::raw_for).
    pub async fn raw(&self) -> Result<MultiplexedConnection, Failure> {
        match self.backend {
            Backend::Server(server) => raw(server).await,
            Backend::Cluster(_) => Err("a cluster has no server for every key".into()),
        }
    }

    /// Opens a connection to the server of a key without the provider.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub async fn raw_for(&self, key: &str) -> Result<MultiplexedConnection, Failure> {
        match self.backend {
            Backend::Server(server) => raw(server).await,
            Backend::Cluster(cluster) => cluster.owner(key).await?.raw().await,
        }
    }

    /// It starts like the namespace itself.
    fn elsewhere(&self) -> String {
        format!("{}.2", self.namespace)
    }

    async fn connect_to(&self, url: &str, namespace: &str) -> Result<Arc<dyn Provider>> {
        url.parse::<RedisConfig>()?
            .namespace(namespace)
            .connect()
            .await
    }

    /// Starts a server with this user, and connects as `login`, such as `name:password@`.
    async fn connect_to_own(&self, user: &[&str], login: &str) -> Result<Arc<dyn Provider>> {
        let mut rule = redis::cmd("ACL");
        rule.arg("SETUSER").arg(user);
        let url = match self.backend {
            Backend::Server(_) => self.own_server(&rule).await,
            Backend::Cluster(_) => self.own_cluster(&rule).await,
        };
        let url = url.expect("a test that runs on Redis can start a server of its own");
        let url = url.replacen("://", &format!("://{login}"), 1);
        self.connect_to_faulty(&url).await
    }

    async fn own_server(&self, rule: &redis::Cmd) -> Result<String, Failure> {
        let server = Server::start(&[]).await?;
        rule.exec_async(&mut raw(&server).await?).await?;
        let url = server.url().to_owned();
        self.keep(server);
        Ok(url)
    }

    async fn own_cluster(&self, rule: &redis::Cmd) -> Result<String, Failure> {
        let cluster = Cluster::start(1, 0, &[]).await?;
        cluster.run::<()>(rule).await?;
        let url = cluster.url();
        self.keep(cluster);
        Ok(url)
    }

    /// Keeps a server until the end of the test.
    fn keep(&self, server: impl Any + Send) {
        self.faulty
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(server));
    }

    async fn connect_to_faulty(&self, url: &str) -> Result<Arc<dyn Provider>> {
        let url = self.url_for(url).await;
        let url = url.expect("the sentinel takes every name");
        self.connect_to(&url, &self.namespace).await
    }
}

/// Starts a cluster in which no replica takes its master for down on a busy machine. With this
/// option from the start, the nodes would wait for longer until they take commands.
async fn start_cluster() -> Result<Cluster, Failure> {
    let cluster = Cluster::start(3, 1, &[]).await?;
    let mut patience = redis::cmd("CONFIG");
    patience.arg(&["SET", "cluster-node-timeout", "15000"]);
    cluster.run::<()>(&patience).await?;
    Ok(cluster)
}

/// Opens a connection with every right.
async fn raw(server: &Server) -> Result<MultiplexedConnection, Failure> {
    Ok(redis::Client::open(server.url())?
        .get_multiplexed_async_connection()
        .await?)
}

#[async_trait]
impl Harness for RedisHarness {
    async fn connect(&self) -> Result<Arc<dyn Provider>> {
        self.connect_to(&self.url, &self.namespace).await
    }

    async fn connect_elsewhere(&self) -> Result<Arc<dyn Provider>> {
        self.connect_to(&self.url, &self.elsewhere()).await
    }

    async fn connect_despite(&self, fault: Fault) -> Option<Result<Arc<dyn Provider>>> {
        Some(match fault {
            Fault::Down | Fault::Mute => {
                let listener =
                    TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
                let address = listener
                    .local_addr()
                    .expect("a bound socket has an address");
                // The system accepts connections for a listener that never does.
                let listener = (fault == Fault::Mute).then_some(listener);
                let connected = self.connect_to_faulty(&format!("redis://{address}")).await;
                drop(listener);
                connected
            }
            Fault::NoPassword => self.connect_to_own(&PASSWORD, "").await,
            Fault::WrongPassword => {
                self.connect_to_own(&PASSWORD, &format!(":{WRONG_PASSWORD}@"))
                    .await
            }
            Fault::NoRights => {
                let user = ["guest", "on", ">sesame", "+@connection"];
                self.connect_to_own(&user, "guest:sesame@").await
            }
        })
    }

    fn clock(&self) -> Clock {
        Clock::Real
    }

    async fn disrupt(&self) -> bool {
        if let Backend::Cluster(cluster) = self.backend {
            let mut cut = redis::cmd("CLIENT");
            cut.arg("KILL").arg("USER").arg(&self.namespace);
            let cut = cluster.run::<usize>(&cut).await;
            return cut
                .expect("the cluster of the test answers")
                .iter()
                .sum::<usize>()
                > 0;
        }
        match &self.proxy {
            Some(proxy) => proxy.cut().await > 0,
            None => false,
        }
    }

    async fn leftovers(&self) -> Vec<String> {
        let connections = match self.backend {
            Backend::Server(server) => raw(server).await.map(|raw| vec![raw]),
            Backend::Cluster(cluster) => cluster.raw().await,
        };
        let mut connections = connections.expect("the server of the test answers");
        let left = leftovers(&mut connections, &self.namespace).await;
        left.expect("the server of the test answers")
    }
}

/// The tests leave a server that they did not start as it was.
impl Drop for RedisHarness {
    fn drop(&mut self) {
        if let Backend::Server(server) = self.backend
            && server.source() == Source::Url
            && remove_keys(server.url(), &self.namespace).is_err()
        {
            eprintln!(
                "keys with `{}` in their names stay on {}",
                self.namespace,
                server.url()
            );
        }
    }
}

/// Removes every key of a namespace, until it finds none for a while: a task may still give back a
/// lease that the test dropped. It blocks, because a drop cannot wait in another way.
fn remove_keys(url: &str, namespace: &str) -> redis::RedisResult<()> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    for _ in 0..3 {
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS")
            .arg(format!("*{namespace}*"))
            .query(&mut connection)?;
        if !keys.is_empty() {
            redis::cmd("UNLINK").arg(keys).exec(&mut connection)?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
