//! A Redis server for one test. It ends with the test, however the test ends.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{FromRedisValue, RedisResult};
use pymq_conformance::redis;
use pymq_core::Connect;
use pymq_core::provider::Provider;
use pymq_provider_redis::RedisConfig;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server(redis::Server);

impl Server {
    /// Starts a server with further options, such as `["--requirepass", "x"]`.
    pub(crate) async fn start(options: &[&str]) -> Self {
        Self(redis::Server::start(options).await.unwrap())
    }

    /// Starts a server after which another one can start on its port.
    pub(crate) async fn start_for_restarts() -> Self {
        Self(redis::Server::start_for_restarts().await.unwrap())
    }

    /// Starts a server on the port of an earlier one, as after an outage.
    pub(crate) async fn start_on(port: u16) -> Self {
        Self(redis::Server::start_on(port, &[]).await.unwrap())
    }

    pub(crate) fn port(&self) -> u16 {
        let (_, port) = self.0.url().rsplit_once(':').unwrap();
        port.parse().unwrap()
    }

    /// Returns the URL with a prefix before the host, such as `user:password@`.
    pub(crate) fn url(&self, user: &str) -> String {
        self.0.url().replace("://", &format!("://{user}"))
    }

    pub(crate) fn config(&self) -> RedisConfig {
        self.url("").parse().unwrap()
    }

    pub(crate) async fn connect(&self) -> Arc<dyn Provider> {
        self.config().connect().await.unwrap()
    }

    /// Stops this server from answering for some seconds. Returns when that has begun.
    pub(crate) async fn silence(&self, seconds: &'static str) -> JoinHandle<()> {
        let mut raw = self.raw().await;
        let asleep = tokio::spawn(async move {
            let _: () = raw.run(&["DEBUG", "SLEEP", seconds]).await;
        });
        sleep(Duration::from_millis(200)).await;
        asleep
    }

    /// Connects without the provider.
    pub(crate) async fn raw(&self) -> Raw {
        let client = ::redis::Client::open(self.url("")).unwrap();
        let config = ::redis::AsyncConnectionConfig::new()
            .set_response_timeout(Some(Duration::from_secs(20)));
        Raw(client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap())
    }
}

/// A connection without the provider.
#[derive(Clone)]
pub(crate) struct Raw(MultiplexedConnection);

impl Raw {
    /// Runs a command of these arguments.
    pub(crate) async fn run<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        self.try_run(words).await.unwrap()
    }

    /// Runs a command that may fail.
    pub(crate) async fn try_run<T: FromRedisValue>(&mut self, words: &[&str]) -> RedisResult<T> {
        let mut cmd = ::redis::Cmd::new();
        cmd.arg(words);
        cmd.query_async(&mut self.0).await
    }

    /// Returns a number of `INFO`.
    pub(crate) async fn info(&mut self, field: &str) -> u64 {
        let info: ::redis::InfoDict = self.run(&["INFO"]).await;
        info.get(field).unwrap()
    }
}

/// Awaits a future that must resolve soon.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("this must end soon")
}
