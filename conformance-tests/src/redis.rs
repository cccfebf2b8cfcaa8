//! A Redis for the tests: one for each test binary. It starts when the first test needs it, and
//! ends with the process, however that ends.
//!
//! | Variable | Meaning |
//! |---|---|
//! | `PYMQ_TEST_REDIS` | `auto` (the URL if one is set, else a container, else a local server), `url`, `docker`, `local` |
//! | `PYMQ_TEST_REDIS_URL` | a server that may be written to; each test has a random namespace, and nothing is flushed |
//! | `PYMQ_TEST_REDIS_IMAGE` | the image for a container; by default `pymq-test-redis:7` if it exists, else `redis:7` |
//!
//! Without any of these, the tests fail at once and say what to do. No test is skipped.

mod agreement;
mod cluster;
mod controlled;
mod docker;
mod harness;
mod leftovers;
mod local;
mod scratch;
mod sentinels;
mod watchdog;

use std::env;
use std::iter;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

pub use self::cluster::{Cluster, NODE_TIMEOUT};
pub use self::controlled::Controlled;
pub use self::harness::RedisHarness;
pub use self::scratch::Scratch;
pub use self::sentinels::{DOWN_AFTER, Sentinel, SentinelGroup};
pub(crate) use self::watchdog::Watchdog;
use crate::Failure;

const HELP: &str = "no Redis for the tests: start a Docker Engine, or put `redis-server` on PATH, or \
                    name a server that may be written to in PYMQ_TEST_REDIS_URL (`./test.sh` sets \
                    all this up)";

/// The arguments of the `ACL SETUSER` in `docs/REDIS.md`. A test compares the two.
pub const RIGHTS: &str = include_str!("../data/redis-rights.txt");

/// The source of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// Named by `PYMQ_TEST_REDIS_URL`. The tests do not stop it.
    Url,
    /// A container that the tests started.
    Docker,
    /// A process that the tests started.
    Local,
}

/// A running Redis. A container or process of the tests stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    source: Source,
    url: String,
    /// Ends the server. `None` if the tests did not start it.
    _watchdog: Option<Watchdog>,
}

impl Server {
    /// Starts a server for one test with these options of `redis.conf`, each with two dashes in
    /// front.
    ///
    /// # Errors
    ///
    /// If neither a container nor a local process can be started.
    pub async fn start(options: &[&str]) -> Result<Self, Failure> {
        match source_of_own()? {
            Source::Docker => docker::start(None, options).await,
            _ => local::start(options).await,
        }
    }

    /// Starts a server on a loopback port that a server had before, as after an outage.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and if another process has the port by now.
    pub async fn start_on(port: u16, options: &[&str]) -> Result<Self, Failure> {
        match source_of_own()? {
            Source::Docker => docker::start(Some(port), options).await,
            _ => local::start_on(port, options).await,
        }
    }

    /// Starts a server on a port for [`start_on`](Self::start_on): no other server gets the port
    /// after this one has ended. It is below those that the system and Docker hand out.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_for_restarts() -> Result<Self, Failure> {
        let port = iter::repeat_with(|| {
            let [low, high, ..] = *Uuid::new_v4().as_bytes();
            20_000 + u16::from_le_bytes([low, high]) % 12_000
        })
        .find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
        Self::start_on(port.unwrap_or(20_000), &[]).await
    }

    /// Returns its source.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Returns the address, such as `redis://127.0.0.1:6379`. A client that connects there has
    /// every right.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Returns the address of the shared server for the user of `docs/REDIS.md`, so that a test fails
/// if the page forgets a right. On a server that the tests did not start, the user has the rights
/// that it has there.
///
/// # Errors
///
/// If there is no server.
pub async fn app_url() -> Result<Url, Failure> {
    let server = shared().await?;
    let mut url = Url::parse(server.url())?;
    if server.source() != Source::Url {
        url.set_username("app")
            .and_then(|()| url.set_password(Some("password")))
            .map_err(|()| "the URL takes no user")?;
    }
    Ok(url)
}

/// Returns the server that all tests of this process share.
///
/// # Errors
///
/// The same error for every test if there is none.
pub async fn shared() -> Result<&'static Server, Failure> {
    static SHARED: OnceCell<Result<Server, String>> = OnceCell::const_new();
    let server = SHARED
        .get_or_init(async || open().await.map_err(|error| error.to_string()))
        .await;
    Ok(server.as_ref().map_err(Clone::clone)?)
}

async fn open() -> Result<Server, Failure> {
    // Each pattern needs a channel rule of its own, and the patterns of the suite are in random
    // namespaces.
    let options: Vec<&str> = iter::once("--user")
        .chain(app_user())
        .chain(["&*"])
        .collect();
    let server = match source()? {
        Source::Url => named()?,
        Source::Docker => docker::start(None, &options).await?,
        Source::Local => local::start(&options).await?,
    };
    eprintln!("redis for the tests: {:?}, {}", server.source, server.url);
    Ok(server)
}

/// Returns the arguments of the `ACL SETUSER` in the documentation: `app on >password`, then the
/// rights.
pub(crate) fn app_user() -> impl Iterator<Item = &'static str> {
    RIGHTS.split_whitespace()
}

fn named() -> Result<Server, Failure> {
    let url =
        variable("PYMQ_TEST_REDIS_URL").ok_or("PYMQ_TEST_REDIS=url needs PYMQ_TEST_REDIS_URL")?;
    Ok(Server {
        source: Source::Url,
        url,
        _watchdog: None,
    })
}

/// Chooses the source of the shared server.
///
/// # Errors
///
/// If the environment names a source that is not available.
pub fn source() -> Result<Source, Failure> {
    match variable("PYMQ_TEST_REDIS").as_deref() {
        None | Some("auto") if variable("PYMQ_TEST_REDIS_URL").is_some() => Ok(Source::Url),
        None | Some("auto") => source_of_own(),
        Some("url") => Ok(Source::Url),
        Some("docker") => Ok(Source::Docker),
        Some("local") => Ok(Source::Local),
        Some(other) => {
            Err(format!("PYMQ_TEST_REDIS={other}: want auto, url, docker or local").into())
        }
    }
}

/// Chooses how a server is started. A server that is only named cannot be configured.
pub(crate) fn source_of_own() -> Result<Source, Failure> {
    match variable("PYMQ_TEST_REDIS").as_deref() {
        Some("docker") => Ok(Source::Docker),
        Some("local") => Ok(Source::Local),
        _ if answers("docker", &["version", "--format", "{{.Server.Version}}"]) => {
            Ok(Source::Docker)
        }
        _ if answers("redis-server", &["--version"]) => Ok(Source::Local),
        _ => Err(HELP.into()),
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Tells whether a program exists and succeeds.
fn answers(program: &str, arguments: &[&str]) -> bool {
    let run = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.is_ok_and(|status| status.success())
}
