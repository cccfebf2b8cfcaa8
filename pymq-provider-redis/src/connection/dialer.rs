//! [`Dialer`]: opens connections to one server, and introduces them. Each [`Connection`] tells when
//! it is lost.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use pymq_core::ErrorKind;
use redis::{ConnectionInfo, RedisConnectionInfo};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::fault::{Fault, Remedy, TOO_OLD};
use super::from_reply::FromReply;
use super::pipeline::{Expected, Handler, Hold, Pending, Pipeline};
use super::resp::{Command, Reply};
use super::socket::Address;
use super::version::Version;

/// After a connection that was shorter than this, the next attempt waits.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// The host and the port of a server.
pub(super) type Place = (String, u16);

/// The address of a server and what is needed to use it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    address: Address,
    credentials: RedisConnectionInfo,
    kind: Kind,
    op_timeout: Duration,
}

/// What a server must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The server of the URL.
    Server,
    /// The master that a sentinel names.
    Master,
    Sentinel,
    /// Any node of a cluster.
    Member,
    /// A node of a cluster that owns slots.
    Owner,
}

/// A connection, and a token that is cancelled when the connection is lost or abandoned.
#[derive(Debug)]
pub(crate) struct Connection {
    pipeline: Pipeline,
    version: Version,
    pub(crate) lost: CancellationToken,
    connected_at: Instant,
    timeouts: AtomicU32,
    /// The server accepted the connection but did not do what it was asked.
    was_unusable: AtomicBool,
    /// How many connections in a row before this one were unusable.
    pub(super) unusable_before: u32,
}

/// What the next attempt needs to know about a lost connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History {
    pub(super) was_short_lived: bool,
    /// How many connections in a row were unusable, up to this one.
    pub(super) unusable_in_a_row: u32,
}

impl Dialer {
    pub(super) fn new(
        server: &ConnectionInfo,
        kind: Kind,
        op_timeout: Duration,
    ) -> Result<Self, Fault> {
        let address = server.addr().clone();
        let is_tls = matches!(address, redis::ConnectionAddr::TcpTls { .. });
        Ok(Self {
            address: Address::new(address).map_err(|error| Fault::of_connect(error, is_tls))?,
            credentials: server.redis_settings().clone(),
            kind,
            op_timeout,
        })
    }

    /// Returns the same dialer for what the server must be.
    pub(super) fn of_kind(&self, kind: Kind) -> Self {
        Self {
            kind,
            ..self.clone()
        }
    }

    /// Returns the dialer of another server with the same credentials.
    pub(super) fn elsewhere(&self, host: String, port: u16) -> io::Result<Self> {
        Ok(Self {
            address: self.address.elsewhere(host, port)?,
            ..self.clone()
        })
    }

    pub(super) fn op_timeout(&self) -> Duration {
        self.op_timeout
    }

    pub(super) fn is_tls(&self) -> bool {
        self.address.is_tls()
    }

    /// Returns the address of the server. It holds no secrets.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns the host of the server.
    pub(super) fn host(&self) -> &str {
        self.address.host()
    }

    /// Connects once. `lost` is cancelled when the connection is lost, and abandons it when it is
    /// cancelled. `on_push` gets the push messages of the server. It runs in the task that reads
    /// the connection, so it must not block.
    pub(super) async fn dial(
        &self,
        lost: CancellationToken,
        on_push: impl Fn(Vec<Reply>) + Send + Sync + 'static,
    ) -> Result<Connection, Fault> {
        let is_tls = self.is_tls();
        let socket = self.address.open().await;
        let socket = socket.map_err(|error| Fault::of_connect(error, is_tls))?;
        let pipeline = Pipeline::start(socket, Box::new(on_push), lost.clone(), self.op_timeout);
        let connection = Connection {
            pipeline,
            version: Version(0, 0),
            lost,
            connected_at: Instant::now(),
            timeouts: AtomicU32::new(0),
            was_unusable: AtomicBool::new(false),
            unusable_before: 0,
        };
        let version = self.greet(&connection).await;
        version
            .map(|version| Connection {
                version,
                ..connection
            })
            .map_err(|fault| fault.while_connecting(is_tls))
    }

    /// Introduces a new connection to the server, and returns the server's version.
    async fn greet(&self, connection: &Connection) -> Result<Version, Fault> {
        let credentials = &self.credentials;
        // RESP3 for its push messages, which carry subscriptions.
        let mut hello = vec!["HELLO", "3"];
        if let Some(password) = credentials.password() {
            let user = credentials.username().unwrap_or("default");
            hello.extend(["AUTH", user, password]);
        }
        let db = credentials.db().to_string();
        let select = async {
            if credentials.db() == 0 {
                return Ok(());
            }
            connection.query(Command::new(["SELECT", &db])).await
        };
        // Servers before 7.2 do not know this.
        let set = |name, value| Command::new(["CLIENT", "SETINFO", name, value]);
        let name = connection.query::<()>(set("LIB-NAME", "pymq"));
        let number = connection.query::<()>(set("LIB-VER", env!("CARGO_PKG_VERSION")));
        let hello = connection.query(Command::new(hello));
        // All in one round trip.
        let (hello, selected, ..) = tokio::join!(hello, select, name, number);
        let hello: HashMap<String, Reply> = match hello {
            Err(fault) if fault.is_unknown_command() => {
                return Err(Fault::new(ErrorKind::Unsupported, TOO_OLD));
            }
            answer => answer?,
        };
        let text = |name| String::from_reply(hello.get(name)?.clone());
        // Before the database: a sentinel and a cluster have only one.
        self.kind
            .check(text("mode").as_deref(), text("role").as_deref())?;
        selected.map_err(Fault::while_selecting)?;
        Ok(Version::parse(&text("version").unwrap_or_default()))
    }
}

impl Kind {
    /// Refuses a server of another kind, by what `HELLO` says of it.
    fn check(self, mode: Option<&str>, role: Option<&str>) -> Result<(), Fault> {
        const IS_SENTINEL: &str = "the server is a sentinel: write \
            `redis-sentinel://host:port/name-of-the-master`";
        const IS_NO_SENTINEL: &str = "the server is not a sentinel: write `redis://host:port`";
        const IS_CLUSTER: &str = "the server is part of a cluster: write \
            `redis-cluster://host:port`";
        const IS_NO_CLUSTER: &str =
            "the server is not part of a cluster: write `redis://host:port`";
        const IS_NO_MASTER: &str = "the sentinels name a server that is not the master";
        const IS_NO_OWNER: &str = "the node of the cluster is a replica";
        let refused = |kind, cause| Err(Fault::new(kind, cause));
        match (self, mode) {
            (Self::Sentinel, Some("sentinel")) => Ok(()),
            (Self::Sentinel, Some(_)) => refused(ErrorKind::InvalidConfig, IS_NO_SENTINEL),
            (_, Some("sentinel")) => refused(ErrorKind::InvalidConfig, IS_SENTINEL),
            (Self::Owner, Some("cluster")) if role != Some("master") => {
                refused(ErrorKind::Disconnected, IS_NO_OWNER)
            }
            (Self::Owner | Self::Member, Some("cluster")) => Ok(()),
            (Self::Owner | Self::Member, _) => refused(ErrorKind::InvalidConfig, IS_NO_CLUSTER),
            (_, Some("cluster")) => refused(ErrorKind::InvalidConfig, IS_CLUSTER),
            (Self::Master, _) if role != Some("master") => {
                refused(ErrorKind::Disconnected, IS_NO_MASTER)
            }
            _ => Ok(()),
        }
    }
}

impl Connection {
    /// Notes whether the server answered a command in time.
    pub(super) fn note(&self, outcome: &Result<Reply, Fault>) {
        match outcome {
            Ok(_) => self.note_answer(),
            Err(fault) if fault.kind == ErrorKind::Timeout => self.note_timeout(),
            Err(_) => {}
        }
    }

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

    /// Ends a connection for this reason. If the server is up but refuses what it is asked, that is
    /// [`abandon`](Self::abandon).
    pub(crate) fn end(&self, fault: &Fault) {
        if fault.remedy == Remedy::Lost {
            self.lost.cancel();
        } else {
            self.abandon();
        }
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

    /// Returns the version of the server.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Gathers commands until the hold is dropped. `None` if they are gathered already.
    pub(super) fn hold(&self) -> Option<Hold> {
        self.pipeline.hold()
    }

    /// Sends a command. It fails with a timeout at `until`.
    pub(super) fn send(&self, command: Command, until: Instant) -> Result<Pending<'_>, Fault> {
        let expected = Expected {
            until: Some(until),
            confirmations: 0,
        };
        self.pipeline.send(command, expected)
    }

    /// Runs a command for which no caller waits. If it is refused, the handler is dropped.
    pub(crate) fn start(
        &self,
        command: Command,
        until: Instant,
        handler: Handler,
    ) -> Result<(), Fault> {
        let expected = Expected {
            until: Some(until),
            confirmations: 0,
        };
        self.pipeline.start_command(command, expected, handler)
    }

    /// Sends a command without a time limit. The answer can still come after the connection was
    /// abandoned.
    pub(super) fn send_without_limit(&self, command: Command) -> Result<Pending<'_>, Fault> {
        let expected = Expected {
            until: None,
            confirmations: 0,
        };
        self.pipeline.send(command, expected)
    }

    /// Runs a command without a time limit, and reads its answer.
    pub(crate) async fn query<T: FromReply>(&self, command: Command) -> Result<T, Fault> {
        read(self.send_without_limit(command)?.await?)
    }

    /// Runs a command with confirmations in place of an answer, and waits for all of them.
    pub(crate) async fn query_confirmed(
        &self,
        command: Command,
        confirmations: usize,
    ) -> Result<(), Fault> {
        let expected = Expected {
            until: None,
            confirmations,
        };
        read(self.pipeline.send(command, expected)?.await?)
    }

    /// Fails the commands in flight. An answer that must not be lost can still come.
    pub(super) fn fail_commands(&self) {
        self.pipeline.abandon();
    }
}

/// Reads the answer of the server as the requested type.
pub(crate) fn read<T: FromReply>(reply: Reply) -> Result<T, Fault> {
    match reply {
        Reply::Error(text) => Err(Fault::of_reply(&text)),
        reply => T::from_reply(reply).ok_or_else(Fault::unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_another_kind_is_refused() {
        let check = |kind: Kind, mode, role| kind.check(Some(mode), Some(role)).is_ok();

        assert!(check(Kind::Server, "standalone", "master"));
        // It may become a master behind the same name.
        assert!(check(Kind::Server, "standalone", "replica"));
        assert!(check(Kind::Master, "standalone", "master"));
        assert!(!check(Kind::Master, "standalone", "replica"));
        assert!(check(Kind::Sentinel, "sentinel", ""));
        assert!(!check(Kind::Sentinel, "standalone", "master"));
        assert!(!check(Kind::Server, "sentinel", ""));
        assert!(!check(Kind::Server, "cluster", "master"));
        assert!(!check(Kind::Master, "cluster", "master"));
        assert!(check(Kind::Owner, "cluster", "master"));
        assert!(!check(Kind::Owner, "cluster", "replica"));
        assert!(check(Kind::Member, "cluster", "replica"));
        assert!(!check(Kind::Member, "standalone", "master"));
        // What does not say is what it was before `HELLO` said it.
        assert!(Kind::Server.check(None, None).is_ok());
    }
}
