//! Redis Sentinel: one sentinel that names what the tests want, and a master with replicas and the
//! sentinels that watch it.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::time::{sleep, timeout};

use super::agreement::{AGREEMENT, ASK, has_replicas, until};
use super::{Controlled, Scratch};
use crate::Failure;

/// The name of the master at the sentinels.
const NAME: &str = "orders";

const SENTINELS: usize = 3;

/// How long a server is silent before a sentinel takes it for down.
pub const DOWN_AFTER: Duration = Duration::from_secs(1);

/// The words that make a server a sentinel.
const WORDS: [&str; 2] = ["sentinel.conf", "--sentinel"];

/// A sentinel without a group. It names each server that it is told as the master.
#[derive(Debug)]
pub struct Sentinel {
    server: Controlled,
    _home: Scratch,
}

impl Sentinel {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub async fn start() -> Result<Self, Failure> {
        let home = Scratch::new()?;
        Ok(Self {
            server: Controlled::start_member(home.path(), &WORDS, &[]).await?,
            _home: home,
        })
    }

    /// Returns its host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.server.port())
    }

    /// Makes it name a server as the master of this name. It never takes the server for down.
    ///
    /// # Errors
    ///
    /// If it refuses that.
    pub async fn name_master(&self, name: &str, port: u16) -> Result<(), Failure> {
        const NEVER: &str = "1000000000";
        let port = port.to_string();
        self.run(&["MONITOR", name, "127.0.0.1", &port, "1"])
            .await?;
        self.run(&["SET", name, "down-after-milliseconds", NEVER])
            .await
    }

    /// Makes it require a password.
    ///
    /// # Errors
    ///
    /// If it refuses that.
    pub async fn require(&self, password: &str) -> Result<(), Failure> {
        let user = ["SETUSER", "default", "resetpass", &format!(">{password}")];
        let mut raw = self.server.raw().await?;
        redis::cmd("ACL").arg(&user).exec_async(&mut raw).await?;
        Ok(())
    }

    async fn run(&self, words: &[&str]) -> Result<(), Failure> {
        let mut raw = self.server.raw().await?;
        redis::cmd("SENTINEL")
            .arg(words)
            .exec_async(&mut raw)
            .await?;
        Ok(())
    }
}

/// A master with replicas, watched by three sentinels. Each member is controlled alone.
#[derive(Debug)]
pub struct SentinelGroup {
    /// The master and the replicas, in the order of their start.
    pub servers: Vec<Controlled>,
    /// The sentinels.
    pub sentinels: Vec<Controlled>,
    _home: Scratch,
}

impl SentinelGroup {
    /// Starts a master with so many replicas, and the sentinels. Returns when all know each other.
    ///
    /// # Errors
    ///
    /// If a member does not start, or does not find the others.
    pub async fn start(replicas: usize, options: &[&str]) -> Result<Self, Failure> {
        let home = Scratch::new()?;
        let options = [options, &["--repl-diskless-sync-delay", "0"]].concat();
        let master = Controlled::start_member(&home.dir("0")?, &[], &options).await?;
        let port = master.port().to_string();
        let mut servers = vec![master];
        let replica = [&options[..], &["--replicaof", "127.0.0.1", &port]].concat();
        for n in 1..=replicas {
            let home = home.dir(&n.to_string())?;
            servers.push(Controlled::start_member(&home, &[], &replica).await?);
        }
        let homes = (0..SENTINELS).map(|n| home.dir(&format!("sentinel-{n}")));
        let homes = homes.collect::<Result<Vec<_>, _>>()?;
        let sentinels = homes
            .iter()
            .map(|home| Controlled::start_member(home, &WORDS, &[]));
        let group = Self {
            sentinels: try_join_all(sentinels).await?,
            servers,
            _home: home,
        };
        group.wait_for_replicas(replicas).await?;
        for sentinel in &group.sentinels {
            let mut raw = sentinel.raw().await?;
            let down_after = DOWN_AFTER.as_millis().to_string();
            let monitor = ["MONITOR", NAME, "127.0.0.1", &port, "2"];
            let set = [
                "SET",
                NAME,
                "down-after-milliseconds",
                &down_after,
                "failover-timeout",
                "3000",
            ];
            for words in [&monitor[..], &set] {
                redis::cmd("SENTINEL")
                    .arg(words)
                    .exec_async(&mut raw)
                    .await?;
            }
        }
        group.wait_for_agreement(replicas).await?;
        Ok(group)
    }

    /// Returns the URL of the group, such as `redis-sentinel://127.0.0.1:1,127.0.0.1:2/orders`.
    pub fn url(&self) -> String {
        let hosts = self.sentinels.iter();
        let hosts = hosts.map(|sentinel| format!("127.0.0.1:{}", sentinel.port()));
        let hosts: Vec<_> = hosts.collect();
        format!("redis-sentinel://{}/{NAME}", hosts.join(","))
    }

    /// Returns the server that the first sentinel which answers names as the master.
    ///
    /// # Errors
    ///
    /// If none answers.
    pub async fn master(&self) -> Result<&Controlled, Failure> {
        for sentinel in &self.sentinels {
            let named = timeout(ASK, named_by(sentinel)).await;
            if let Ok(Ok(port)) = named {
                let found = self.servers.iter().find(|server| server.port() == port);
                return Ok(found.ok_or("a sentinel names a server of another group")?);
            }
        }
        Err("no sentinel answers".into())
    }

    /// Makes a replica the master, while the master runs.
    ///
    /// # Errors
    ///
    /// If the sentinels refuse it for a minute.
    pub async fn fail_over(&self) -> Result<(), Failure> {
        let former = self.master().await?.port();
        let asked = async {
            loop {
                // Refused while an earlier failover is not complete.
                let mut raw = self.sentinels[0].raw().await?;
                let command = redis::cmd("SENTINEL").arg(&["FAILOVER", NAME]).to_owned();
                if command.exec_async(&mut raw).await.is_ok() {
                    return Ok::<_, Failure>(());
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(AGREEMENT, asked).await??;
        self.wait_for_another_than(former).await
    }

    /// Waits until one of the sentinels names another master than this.
    ///
    /// # Errors
    ///
    /// If none does within a minute.
    pub async fn wait_for_naming(&self, port: u16) -> Result<(), Failure> {
        let is_named = || async move {
            let named = join_all(self.sentinels.iter().map(named_by)).await;
            Ok(named.iter().flatten().any(|named| *named != port))
        };
        until("another master", is_named).await
    }

    /// Waits until every sentinel names another master than this.
    ///
    /// # Errors
    ///
    /// If they do not within a minute.
    pub async fn wait_for_another_than(&self, port: u16) -> Result<(), Failure> {
        for sentinel in &self.sentinels {
            let is_named = || async move { Ok(named_by(sentinel).await? != port) };
            until("another master", is_named).await?;
        }
        Ok(())
    }

    /// Waits until the sentinels can replace the master again: each knows so many replicas that are
    /// in step, and the other sentinels.
    ///
    /// # Errors
    ///
    /// If that does not happen within a minute.
    pub async fn wait_for_agreement(&self, replicas: usize) -> Result<(), Failure> {
        self.wait_for_replicas(replicas).await?;
        for sentinel in &self.sentinels {
            until("the sentinels to agree", || knows(sentinel, replicas)).await?;
        }
        Ok(())
    }

    /// Waits until so many replicas of a master are in step, by its own word.
    async fn wait_for_replicas(&self, replicas: usize) -> Result<(), Failure> {
        let is_ready = || async move {
            for server in &self.servers {
                // A stopped one does not answer.
                if matches!(has_replicas(server, replicas).await, Ok(true)) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        until("the replicas", is_ready).await
    }
}

/// Tells whether a sentinel knows so many replicas that are in step, and the other sentinels.
async fn knows(sentinel: &Controlled, replicas: usize) -> Result<bool, Failure> {
    type Members = Vec<HashMap<String, String>>;
    let mut raw = sentinel.raw().await?;
    let mut command = redis::cmd("SENTINEL");
    let found: Members = command
        .arg(&["REPLICAS", NAME])
        .query_async(&mut raw)
        .await?;
    let mut command = redis::cmd("SENTINEL");
    let others: Members = command
        .arg(&["SENTINELS", NAME])
        .query_async(&mut raw)
        .await?;
    let says = |replica: &HashMap<String, String>, field, value: &str| {
        replica.get(field).is_some_and(|said| said == value)
    };
    let in_step = found.iter().filter(|replica| {
        says(replica, "flags", "slave") && says(replica, "master-link-status", "ok")
    });
    Ok(in_step.count() >= replicas && others.len() == SENTINELS - 1)
}

/// Asks a sentinel for the port of the master.
async fn named_by(sentinel: &Controlled) -> Result<u16, Failure> {
    let mut command = redis::cmd("SENTINEL");
    let command = command.arg(&["GET-MASTER-ADDR-BY-NAME", NAME]);
    let (_, port): (String, u16) = command.query_async(&mut sentinel.raw().await?).await?;
    Ok(port)
}
