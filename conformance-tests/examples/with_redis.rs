//! Runs a command with `PYMQ_URL` naming a throw-away Redis, found as the tests find theirs.
//!
//!     cargo run -p pymq-conformance --example with_redis -- cargo run -p pymq --features redis --example quickstart
//!
//! With `--sentinels` or `--cluster` before the command, the URL names a Sentinel group or a Redis
//! Cluster, and puts wait for a replica. The master is replaced on request 2 s after the command has
//! stored something. Later its successor is killed, and started again when there is another master.
//! It is a failure if the command ends before that.

use std::process::ExitCode;
use std::time::Duration;

use pymq_conformance::Failure;
use pymq_conformance::redis::{Cluster, Controlled, SentinelGroup, Server};
use tokio::time::sleep;

/// The time before each failover.
const PAUSE: Duration = Duration::from_secs(2);

/// What the command uses.
enum Backend {
    Server(Server),
    Sentinels(SentinelGroup),
    Cluster(Cluster),
}

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let mut words = std::env::args().skip(1).peekable();
    let kind = words.next_if(|word| word.starts_with("--"));
    let program = words
        .next()
        .ok_or("usage: with_redis [--sentinels | --cluster] PROGRAM [ARGUMENT ...]")?;
    let backend = Backend::start(kind.as_deref()).await?;

    let mut command = tokio::process::Command::new(program)
        .args(words)
        .env("PYMQ_URL", backend.url())
        .spawn()?;
    let status = tokio::select! {
        biased;
        failed_over = backend.fail_over() => {
            failed_over?;
            command.wait().await?
        }
        status = command.wait() => {
            let status = status?;
            if status.success() {
                return Err("the command has ended before the last failover".into());
            }
            status
        }
    };

    Ok(ExitCode::from(
        u8::try_from(status.code().unwrap_or(1)).unwrap_or(1),
    ))
}

impl Backend {
    async fn start(kind: Option<&str>) -> Result<Self, Failure> {
        Ok(match kind {
            None => Self::Server(Server::start(&[]).await?),
            Some("--sentinels") => Self::Sentinels(SentinelGroup::start(1, &[]).await?),
            Some("--cluster") => Self::Cluster(Cluster::start(3, 1, &[]).await?),
            Some(word) => return Err(format!("{word} is not known").into()),
        })
    }

    fn url(&self) -> String {
        match self {
            Self::Server(server) => server.url().to_owned(),
            Self::Sentinels(group) => format!("{}?replicas=1", group.url()),
            Self::Cluster(cluster) => format!("{}?replicas=1", cluster.url()),
        }
    }

    async fn fail_over(&self) -> Result<(), Failure> {
        match self {
            Self::Server(_) => Ok(()),
            Self::Sentinels(group) => fail_over_group(group).await,
            Self::Cluster(cluster) => fail_over_cluster(cluster).await,
        }
    }
}

async fn fail_over_group(group: &SentinelGroup) -> Result<(), Failure> {
    until_used(&group.servers).await?;
    sleep(PAUSE).await;
    println!("-- SENTINEL FAILOVER");
    group.fail_over().await?;
    println!("-- the sentinels name another master");
    group.wait_for_agreement(1).await?;

    sleep(PAUSE).await;
    let master = group.master().await?;
    println!("-- the master is killed");
    master.kill().await?;
    // Before that, it would come back as an empty master.
    group.wait_for_another_than(master.port()).await?;
    println!("-- the sentinels name another master, the killed one is started again");
    master.start_again().await?;
    group.wait_for_agreement(1).await?;
    println!("-- it is a replica");
    Ok(())
}

/// Replaces the master with the most keys, as the command uses this one.
async fn fail_over_cluster(cluster: &Cluster) -> Result<(), Failure> {
    until_used(&cluster.nodes).await?;
    sleep(PAUSE).await;
    let master = busiest(cluster).await?;
    println!("-- CLUSTER FAILOVER");
    cluster.fail_over(master.port()).await?;
    println!("-- a replica is the master");
    cluster.wait_until_whole().await?;

    sleep(PAUSE).await;
    let master = busiest(cluster).await?;
    println!("-- the master is killed");
    master.kill().await?;
    cluster.wait_for_promotion(master.port()).await?;
    println!("-- its replica is the master, it is started again");
    master.start_again().await?;
    cluster.wait_until_whole().await?;
    println!("-- it is a replica");
    Ok(())
}

async fn busiest(cluster: &Cluster) -> Result<&Controlled, Failure> {
    let mut found = None;
    for master in cluster.masters().await? {
        found = found.max(Some((keys(master).await?, master.port())));
    }
    let (_, port) = found.ok_or("the cluster has no master")?;
    cluster.node(port)
}

/// Waits until one of the servers has a key: the command may be compiled first.
async fn until_used(servers: &[Controlled]) -> Result<(), Failure> {
    loop {
        for server in servers {
            if keys(server).await? > 0 {
                return Ok(());
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn keys(server: &Controlled) -> Result<usize, Failure> {
    let mut raw = server.raw().await?;
    Ok(redis::cmd("DBSIZE").query_async(&mut raw).await?)
}
