//! The harness of the Redis provider: each test has a namespace of its own on the shared server. A
//! second one reaches the same server through a sentinel.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::Provider;
use pymq_core::{Connect, Result};
use pymq_provider_redis::RedisConfig;
use redis::aio::MultiplexedConnection;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use url::{Position, Url};
use uuid::Uuid;

use super::{Sentinel, Server, Source, app_url, shared};
use crate::harness::WRONG_PASSWORD;
use crate::proxy::Proxy;
use crate::{Clock, Failure, Fault, Harness};

/// How long a key may stay after its last use.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(3);

/// A namespace on the shared server.
#[derive(Debug)]
pub struct RedisHarness {
    server: &'static Server,
    namespace: String,
    /// The address of the handles: the server itself, or the proxy in front of it.
    url: String,
    /// It names the servers, instead of the URL.
    sentinel: Option<&'static Sentinel>,
    /// Only for tests that cut connections, so that they cut only their own.
    proxy: Option<Proxy>,
    /// The servers of this test with a fault in their configuration.
    faulty: Mutex<Vec<Server>>,
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
            server,
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
        harness.url = harness.url_by_sentinel(&harness.url).await?;
        Ok(harness)
    }

    /// Returns the URL with which the sentinel, if there is one, names the server of a URL.
    async fn url_by_sentinel(&self, url: &str) -> Result<String, Failure> {
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
    /// If that fails.
    pub async fn raw(&self) -> Result<MultiplexedConnection, Failure> {
        Ok(redis::Client::open(self.server.url())?
            .get_multiplexed_async_connection()
            .await?)
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

    /// Starts a server with these options and connects as `user`, such as `name:password@`.
    async fn connect_to_own(&self, options: &[&str], user: &str) -> Result<Arc<dyn Provider>> {
        let server = Server::start(options)
            .await
            .expect("a test that runs on Redis can start a server of its own");
        let url = server.url().replace("redis://", &format!("redis://{user}"));
        self.faulty
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(server);
        self.connect_to_faulty(&url).await
    }

    async fn connect_to_faulty(&self, url: &str) -> Result<Arc<dyn Provider>> {
        let url = self.url_by_sentinel(url).await;
        let url = url.expect("the sentinel takes every name");
        self.connect_to(&url, &self.namespace).await
    }
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
            Fault::NoPassword => self.connect_to_own(&["--requirepass", "sesame"], "").await,
            Fault::WrongPassword => {
                self.connect_to_own(&["--requirepass", "sesame"], &format!(":{WRONG_PASSWORD}@"))
                    .await
            }
            Fault::NoRights => {
                let user = ["--user", "guest", "on", ">sesame", "+@connection"];
                self.connect_to_own(&user, "guest:sesame@").await
            }
        })
    }

    fn clock(&self) -> Clock {
        Clock::Real
    }

    async fn disrupt(&self) -> bool {
        match &self.proxy {
            Some(proxy) => proxy.cut().await > 0,
            None => false,
        }
    }

    async fn leftovers(&self) -> Vec<String> {
        let mut connection = self.raw().await.expect("the server of the test answers");
        // A closed wait leaves a key until its blocking command ends.
        let until = Instant::now() + LEFTOVER_LIMIT;
        loop {
            let left = self.keys_and_channels(&mut connection).await;
            if left.is_empty() || Instant::now() >= until {
                return left;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl RedisHarness {
    /// Lists what the namespace holds now.
    async fn keys_and_channels(&self, connection: &mut MultiplexedConnection) -> Vec<String> {
        let ours = format!("*{}*", self.namespace);
        // KEYS blocks the server while it runs. With the keys of one test that takes almost no
        // time.
        let (keys, channels): (Vec<String>, Vec<String>) = redis::pipe()
            .cmd("KEYS")
            .arg(&ours)
            .cmd("PUBSUB")
            .arg("CHANNELS")
            .arg(&ours)
            .query_async(connection)
            .await
            .expect("the server of the test answers");
        let channels = channels
            .into_iter()
            .map(|channel| format!("channel {channel}"));
        let mut left: Vec<String> = keys.into_iter().chain(channels).collect();
        left.sort();
        left
    }
}

/// The tests leave a server that they did not start as it was.
impl Drop for RedisHarness {
    fn drop(&mut self) {
        if self.server.source() == Source::Url
            && remove_keys(self.server.url(), &self.namespace).is_err()
        {
            eprintln!(
                "keys with `{}` in their names stay on {}",
                self.namespace,
                self.server.url()
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
