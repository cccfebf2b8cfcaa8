//! A Redis server of a test's own, gone when the test is, however it ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pymq::Connect;
use pymq::provider::Provider;
use pymq_provider_redis::RedisConfig;
use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;

/// The shell ends the server when its standard input ends, and that ends with the process of the test.
const SCRIPT: &str = r#"
    dir=$(mktemp -d)
    redis-server --dir "$dir" "$@" 2>&1 & server=$!
    cat >/dev/null
    kill -9 $server
    rm -r "$dir"
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    shell: Child,
    port: u16,
}

impl Server {
    /// Starts a server with further options, such as `["--requirepass", "x"]`.
    pub(crate) fn start(options: &[&str]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        Self::start_on(port, options)
    }

    /// Starts a server on a port, as after an outage.
    pub(crate) fn start_on(port: u16, options: &[&str]) -> Self {
        let mut shell = Command::new("sh")
            .args([
                "-c",
                SCRIPT,
                "sh",
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--port",
            ])
            .arg(port.to_string())
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
        let ready = lines.any(|line| line.unwrap().contains("eady to accept connections"));
        assert!(ready, "redis-server does not start");
        // Whatever it prints later must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { shell, port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL with this before the host, such as `user:password@`.
    pub(crate) fn url(&self, user: &str) -> String {
        format!("redis://{user}127.0.0.1:{}", self.port)
    }

    pub(crate) fn config(&self) -> RedisConfig {
        self.url("").parse().unwrap()
    }

    pub(crate) async fn connect(&self) -> Arc<dyn Provider> {
        self.config().connect().await.unwrap()
    }

    /// Connects past the provider.
    pub(crate) async fn raw(&self) -> Raw {
        let client = redis::Client::open(self.url("")).unwrap();
        let config =
            redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
        Raw(client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().unwrap();
    }
}

/// A connection past the provider.
#[derive(Clone)]
pub(crate) struct Raw(MultiplexedConnection);

impl Raw {
    /// Runs a command given as words.
    pub(crate) async fn run<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut cmd = redis::Cmd::new();
        cmd.arg(words);
        cmd.query_async(&mut self.0).await.unwrap()
    }
}

/// Awaits what must happen, and soon.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("this must end soon")
}
