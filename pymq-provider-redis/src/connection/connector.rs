//! [`Connector`]: opens connections to one server. Each [`Connection`] tells when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use pymq_core::ErrorKind;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ProtocolVersion, PushInfo, Value};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::fault::{Fault, TOO_OLD};
use crate::RedisConfig;

/// How long a connection is silent before the kernel probes the other end.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// After a connection that was shorter than this, the next attempt waits.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// The address of the server and how to connect to it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    address: String,
    is_tls: bool,
    connect_timeout: Duration,
    op_timeout: Duration,
}

/// A connection, and a token that is cancelled when the connection is lost or abandoned.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) multiplexed: MultiplexedConnection,
    pub(crate) lost: CancellationToken,
    connected_at: Instant,
    timeouts: AtomicU32,
    /// The server accepted the connection but did not do what it was asked.
    was_unusable: AtomicBool,
    /// How many connections in a row before this one were unusable.
    unusable_before: u32,
}

/// What the next attempt needs to know about a lost connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History {
    was_short_lived: bool,
    /// How many connections in a row were unusable, up to this one.
    unusable_in_a_row: u32,
}

impl Connector {
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, Fault> {
        let server = config.server();
        // Nagle's algorithm would hold the second of two batches back until the first is
        // acknowledged. Commands of many tasks are gathered before they get here.
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE));
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(KEEPALIVE);
        // RESP3 for its push messages: they carry subscriptions, and the end of a connection.
        let settings = server
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let info = server
            .clone()
            .set_tcp_settings(tcp)
            .set_redis_settings(settings);
        let (connect_timeout, op_timeout) = config.timeouts();
        // An error means that the program has already installed a crypto provider.
        #[cfg(feature = "tls")]
        drop(rustls::crypto::ring::default_provider().install_default());
        let shared = Shared {
            address: info.addr().to_string(),
            is_tls: matches!(info.addr(), ConnectionAddr::TcpTls { .. }),
            client: Client::open(info).map_err(Fault::of_command)?,
            connect_timeout,
            op_timeout,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Returns the address of the server, for errors. It holds no secrets.
    pub(crate) fn address(&self) -> &str {
        &self.shared.address
    }

    /// Returns the time limit of a command.
    pub(crate) fn op_timeout(&self) -> Duration {
        self.shared.op_timeout
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.shared.connect_timeout
    }

    /// Connects once. `on_push` gets the push messages of the server. It runs in the task that
    /// reads the connection, so it must not block.
    pub(crate) async fn connect(
        &self,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Connection, Fault> {
        let lost = CancellationToken::new();
        // The reading task owns the closure and the guard in it, so the guard is dropped when that
        // task ends, for any reason.
        let guard = lost.clone().drop_guard();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.shared.connect_timeout))
            // Commands have a deadline of their own. A blocking command must not have one here: an
            // abandoned one would still take messages, and they would be lost.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(1_024)
            .set_push_sender(move |push| {
                let _alive = &guard;
                on_push(push);
                Ok::<(), ()>(())
            });
        let multiplexed = self
            .shared
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        match multiplexed {
            Ok(multiplexed) => Ok(Connection {
                multiplexed,
                lost,
                connected_at: Instant::now(),
                timeouts: AtomicU32::new(0),
                was_unusable: AtomicBool::new(false),
                unusable_before: 0,
            }),
            Err(error) => Err(Fault::of_connect(error, self.shared.is_tls)),
        }
    }

    /// Opens a connection for blocking commands: without a response timeout, and used by one task.
    pub(crate) async fn connect_for_blocking(&self) -> Result<Connection, Fault> {
        self.connect(drop).await
    }

    /// Connects, and tries again with growing pauses until it succeeds. `last` is the history of
    /// the connection that this one replaces. `report` gets each failure.
    pub(crate) async fn reconnect(
        &self,
        last: Option<History>,
        on_push: impl Fn(PushInfo) + Clone + Send + Sync + 'static,
        mut report: impl FnMut(Fault),
    ) -> Connection {
        let mut failures = 0;
        let unusable_before = last.map_or(0, |last| last.unusable_in_a_row);
        if last.is_some_and(|last| last.was_short_lived || last.unusable_in_a_row > 0) {
            sleep(backoff::pause(unusable_before.saturating_sub(1))).await;
        }
        loop {
            match self.connect(on_push.clone()).await {
                Ok(connection) => {
                    return Connection {
                        unusable_before,
                        ..connection
                    };
                }
                Err(fault) => {
                    tracing::warn!(
                        address = self.address(),
                        kind = ?fault.kind,
                        failures,
                        "cannot connect, retrying: {fault}"
                    );
                    report(fault);
                }
            }
            sleep(backoff::pause(failures)).await;
            failures = failures.saturating_add(1);
        }
    }
}

impl Connection {
    /// Notes that the server answered.
    pub(crate) fn note_answer(&self) {
        if self.timeouts.load(Ordering::Relaxed) != 0 {
            self.timeouts.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that the server did not answer in time. The second time in a row abandons the
    /// connection: on a half-open connection every command would time out.
    pub(crate) fn note_timeout(&self) {
        if self.timeouts.fetch_add(1, Ordering::Relaxed) >= 1 {
            self.lost.cancel();
        }
    }

    /// Abandons a connection that is up but unusable, in order to reach a better server. Pauses
    /// grow while connections stay unusable, as they do after failures.
    pub(crate) fn abandon(&self) {
        self.was_unusable.store(true, Ordering::Relaxed);
        self.lost.cancel();
    }

    /// Returns the history of this connection for the next one. Drop the connection itself: a
    /// half-open one could work again later, and take or repeat messages of its successor.
    pub(crate) fn history(&self) -> History {
        let age = self.connected_at.elapsed();
        let was_unusable = self.was_unusable.load(Ordering::Relaxed) && age < backoff::MAX_PAUSE;
        History {
            was_short_lived: age < SHORT_LIFE,
            unusable_in_a_row: if was_unusable {
                self.unusable_before.saturating_add(1)
            } else {
                0
            },
        }
    }

    /// Asks the server for its version, which needs no right.
    pub(crate) async fn version(&self) -> Result<Version, Fault> {
        let mut multiplexed = self.multiplexed.clone();
        let hello: Result<Value, _> = redis::cmd("HELLO")
            .arg(3)
            .query_async(&mut multiplexed)
            .await;
        let Value::Map(fields) = hello.map_err(Fault::of_command)? else {
            return Ok(Version(0, 0));
        };
        let version = fields.into_iter().find_map(|(name, value)| {
            let name: String = redis::from_redis_value(name).ok()?;
            if name == "version" {
                redis::from_redis_value::<String>(value).ok()
            } else {
                None
            }
        });
        Ok(Version::parse(&version.unwrap_or_default()))
    }
}

/// Major and minor version of a server.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    fn parse(text: &str) -> Self {
        let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
        Self(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Refuses a server that is too old.
    pub(crate) fn check(self) -> Result<Self, Fault> {
        if self < Self(6, 2) {
            Err(Fault::new(ErrorKind::Unsupported, TOO_OLD))
        } else {
            Ok(self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_6_2_are_refused() {
        assert_eq!(Version::parse("7.0.15"), Version(7, 0));
        assert!(Version::parse("6.2.0").check().is_ok());
        assert!(Version::parse("10.1").check().is_ok());
        assert!(Version::parse("6.0.16").check().is_err());
    }
}
