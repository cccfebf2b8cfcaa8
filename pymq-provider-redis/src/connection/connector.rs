//! [`Connector`]: dials connections to one server, each with the news of its end.

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

/// So long a connection is silent before the kernel asks whether the other end is there.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A connection that ended sooner than this is not dialed again at once.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// The server and how to reach it. Cheap to clone.
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

/// A connection, and a token that is cancelled when it is gone or given up.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) lost: CancellationToken,
    born: Instant,
    timeouts: AtomicU32,
    /// It led to a server that takes connections and does not do what we need.
    was_useless: AtomicBool,
    /// How many connections in a row before this one were useless.
    useless_before: u32,
}

/// What is known of a connection that is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    was_short: bool,
    /// How many connections in a row, it the last of them, were of no use.
    useless_in_a_row: u32,
}

impl Connector {
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, Fault> {
        let server = config.server();
        // Nagle's algorithm would hold the second of two batches back until the first is answered. What many tasks send
        // at once is gathered before it comes here.
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE));
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(KEEPALIVE);
        // RESP3 for its push messages: they carry subscriptions, and the news that a connection has ended.
        let settings = server
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let info = server
            .clone()
            .set_tcp_settings(tcp)
            .set_redis_settings(settings);
        let (connect_timeout, op_timeout) = config.timeouts();
        // An error says that the program has chosen its own cryptography already.
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

    /// Returns where the server is, for errors; without secrets.
    pub(crate) fn address(&self) -> &str {
        &self.shared.address
    }

    /// Returns how long a command may take.
    pub(crate) fn op_timeout(&self) -> Duration {
        self.shared.op_timeout
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.shared.connect_timeout
    }

    /// Dials once. `on_push` gets what the server sends unasked; it runs in the task that reads the connection, so it
    /// must not block.
    pub(crate) async fn dial(
        &self,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Live, Fault> {
        let lost = CancellationToken::new();
        // The reading task owns the closure and with it the guard: whatever ends the one drops the other.
        let guard = lost.clone().drop_guard();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.shared.connect_timeout))
            // Commands have a deadline of their own, and a blocking command must not have one (an abandoned one
            // would go on and take what nobody then reads).
            .set_response_timeout(None)
            .set_pipeline_buffer_size(1_024)
            .set_push_sender(move |push| {
                let _alive = &guard;
                on_push(push);
                Ok::<(), ()>(())
            });
        let connection = self
            .shared
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        match connection {
            Ok(connection) => Ok(Live {
                connection,
                lost,
                born: Instant::now(),
                timeouts: AtomicU32::new(0),
                was_useless: AtomicBool::new(false),
                useless_before: 0,
            }),
            Err(error) => Err(Fault::of_connect(error, self.shared.is_tls)),
        }
    }

    /// Dials a connection for blocking commands: it has no response timeout, and nothing else runs on it.
    pub(crate) async fn dial_waiting(&self) -> Result<Live, Fault> {
        self.dial(drop).await
    }

    /// Dials until it works, pausing ever longer. `last` is what is known of the connection this one replaces, if any;
    /// `report` hears of each failure.
    pub(crate) async fn dial_again(
        &self,
        last: Option<Past>,
        on_push: impl Fn(PushInfo) + Clone + Send + Sync + 'static,
        mut report: impl FnMut(Fault),
    ) -> Live {
        let mut failures = 0;
        let useless_before = last.map_or(0, |last| last.useless_in_a_row);
        if last.is_some_and(|last| last.was_short || last.useless_in_a_row > 0) {
            sleep(backoff::pause(useless_before.saturating_sub(1))).await;
        }
        loop {
            match self.dial(on_push.clone()).await {
                Ok(live) => {
                    return Live {
                        useless_before,
                        ..live
                    };
                }
                Err(fault) => {
                    tracing::warn!(address = self.address(), kind = ?fault.kind, failures, "cannot connect: {fault}");
                    report(fault);
                }
            }
            sleep(backoff::pause(failures)).await;
            failures = failures.saturating_add(1);
        }
    }
}

impl Live {
    /// Notes that the server answered.
    pub(crate) fn answered(&self) {
        if self.timeouts.load(Ordering::Relaxed) != 0 {
            self.timeouts.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that it did not in time. The second time in a row the connection is given up: one that is half open
    /// would time out for ever.
    pub(crate) fn timed_out(&self) {
        if self.timeouts.fetch_add(1, Ordering::Relaxed) >= 1 {
            self.lost.cancel();
        }
    }

    /// Gives the connection up for one that may lead to a better server: this one is up, and of no use to us. Dialing
    /// again pauses ever longer while that goes on, as it does after failures.
    pub(crate) fn give_up(&self) {
        self.was_useless.store(true, Ordering::Relaxed);
        self.lost.cancel();
    }

    /// Returns what is to be known of it when it is gone. The connection itself must go: one that was half open could
    /// come to life again, and eat or double what is meant for its successor.
    pub(crate) fn past(&self) -> Past {
        let age = self.born.elapsed();
        let was_useless = self.was_useless.load(Ordering::Relaxed) && age < backoff::LONGEST;
        Past {
            was_short: age < SHORT_LIFE,
            useless_in_a_row: if was_useless {
                self.useless_before.saturating_add(1)
            } else {
                0
            },
        }
    }

    /// Asks the server for its version, which needs no right.
    pub(crate) async fn version(&self) -> Result<Version, Fault> {
        let mut connection = self.connection.clone();
        let hello: Result<Value, _> = redis::cmd("HELLO")
            .arg(3)
            .query_async(&mut connection)
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

    /// Refuses a server we cannot work with.
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
