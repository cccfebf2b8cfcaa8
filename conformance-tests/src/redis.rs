//! A Redis for the tests: one for each test binary, started when the first test asks and gone with the process,
//! however that ends.
//!
//! | Variable | Meaning |
//! |---|---|
//! | `PYMQ_TEST_REDIS` | `auto` (default: what the next variable names, else a container, else a local server), `url`, `docker`, `local` |
//! | `PYMQ_TEST_REDIS_URL` | a server that may be written to; each test has a random namespace, nothing is flushed |
//! | `PYMQ_TEST_REDIS_IMAGE` | the image for a container; default `pymq-test-redis:7` where it exists, else `redis:7` |
//!
//! Without any of these the tests fail at once and say what to do; none is ever skipped.

mod controlled;
mod docker;
mod harness;
mod local;
mod watchdog;

use std::env;
use std::iter;
use std::process::{Command, Stdio};

use tokio::sync::OnceCell;
use url::Url;

pub use self::controlled::Controlled;
pub use self::harness::RedisHarness;
pub(crate) use self::watchdog::Watchdog;
use crate::Failure;

const HELP: &str = "no Redis for the tests: start a Docker Engine, or put `redis-server` on PATH, or name a server that \
                    may be written to in PYMQ_TEST_REDIS_URL (`./test.sh` sets all this up)";

/// The words of the `ACL SETUSER` in `docs/REDIS.md`. A test compares the two.
pub const RIGHTS: &str = include_str!("../data/redis-rights.txt");

/// Where a server comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// Named by `PYMQ_TEST_REDIS_URL`; not ours to stop.
    Url,
    /// A container of ours.
    Docker,
    /// A process of ours.
    Local,
}

/// A running Redis. One of ours stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    source: Source,
    url: String,
    /// Ends the server; absent for one that is not ours.
    _watchdog: Option<Watchdog>,
}

impl Server {
    /// Starts a server of the test's own with these words of `redis.conf`, each directive with two dashes before it.
    ///
    /// # Errors
    ///
    /// When neither a container nor a local process can be had.
    pub async fn start(options: &[&str]) -> Result<Self, Failure> {
        match source_of_own()? {
            Source::Docker => docker::start(None, options).await,
            _ => local::start(options).await,
        }
    }

    /// Starts a server on a port of the loopback that had one before, as after an outage.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and when somebody else has the port by now.
    pub async fn start_on(port: u16, options: &[&str]) -> Result<Self, Failure> {
        match source_of_own()? {
            Source::Docker => docker::start(Some(port), options).await,
            _ => local::start_on(port, options).await,
        }
    }

    /// Returns where it came from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Returns the address, such as `redis://127.0.0.1:6379`; whoever connects there may do everything.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Returns the address of the shared server for the user of `docs/REDIS.md`, so that a right the page forgets fails a
/// test. A server that is not ours has the rights it has.
///
/// # Errors
///
/// When there is no server.
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
/// The same for every test when there is none.
pub async fn shared() -> Result<&'static Server, Failure> {
    static SHARED: OnceCell<Result<Server, String>> = OnceCell::const_new();
    let server = SHARED
        .get_or_init(async || open().await.map_err(|error| error.to_string()))
        .await;
    Ok(server.as_ref().map_err(Clone::clone)?)
}

async fn open() -> Result<Server, Failure> {
    // Each pattern needs a channel rule of its own, and those of the suite are in random namespaces.
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

/// Returns the words of the `ACL SETUSER` in the documentation: `app on >password`, then the rights.
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

/// Chooses where the shared server comes from.
///
/// # Errors
///
/// When the environment asks for what is not there.
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

/// Chooses how a server is started; one that is only named cannot be configured.
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

/// Tells whether a program is there and succeeds.
fn answers(program: &str, arguments: &[&str]) -> bool {
    let run = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.is_ok_and(|status| status.success())
}
