//! Servers of remotes in processes of their own, so that they can be stopped. The same program is a
//! server if its first argument is [`ROLE`]. It ends with its parent process.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pymq_core::{Bus, Connect};
use pymq_provider_redis::RedisConfig;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::command::orphaned;
use super::ledger::{Entry, Job, Journal, Ledger};
use crate::Failure;

/// The first argument of a server.
pub const ROLE: &str = "remote";

/// The remotes that each server exposes. One takes a time that depends on the call, and both return
/// the number of the call.
pub const TO_ONE: &str = "one";
/// As [`TO_ONE`], for calls of all servers.
pub const TO_ALL: &str = "all";

/// The journal of all servers: a line for each run, with the server as the producer and the call as
/// the number.
const RUNS: &str = "runs";

/// What a server prints when its remotes are exposed, and a stopper when the process is stopped.
const READY: &str = "ready";

/// Stops a process until its own standard input ends, however the process that holds it ends.
const STOP: &str = r#"kill -STOP "$0" && echo ready && cat && kill -CONT "$0""#;

/// The whole task of a server, as its second argument.
#[derive(Debug, Deserialize, Serialize)]
struct Orders {
    url: String,
    journal: PathBuf,
    number: u32,
}

/// A server of remotes. It is killed when this is dropped.
#[derive(Debug)]
pub struct RemoteServer(Child);

/// A stopped server. It continues when this is dropped.
#[derive(Debug)]
pub struct Stopped(Child);

impl RemoteServer {
    /// Starts a server with this number, and returns when it serves.
    pub async fn start(ledger: &Ledger, url: String, number: u32) -> Result<Self, Failure> {
        let orders = Orders {
            url,
            journal: ledger.path(RUNS),
            number,
        };
        let mut process = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .arg(serde_json::to_string(&orders)?)
            // It reads this until the parent is gone.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        ready(process.stdout.take()).await?;
        Ok(Self(process))
    }

    /// Stops its process by `SIGSTOP`, and returns when it is stopped.
    pub async fn stop(&self) -> Result<Stopped, Failure> {
        let id = self.0.id().ok_or("a server ended by itself")?;
        let mut stopper = Command::new("sh")
            .args(["-c", STOP, &id.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        ready(stopper.stdout.take()).await?;
        Ok(Stopped(stopper))
    }

    /// Lets it shut down, and returns when it is gone.
    ///
    /// # Errors
    ///
    /// If it has ended by itself, or fails.
    pub async fn finish(mut self) -> Result<(), Failure> {
        if let Some(status) = self.0.try_wait()? {
            return Err(format!("a server ended by itself: {status}").into());
        }
        // This also ends its standard input.
        let status = self.0.wait().await?;
        if !status.success() {
            return Err(format!("a server failed: {status}").into());
        }
        Ok(())
    }
}

impl Stopped {
    /// Lets the process continue by `SIGCONT`.
    pub async fn resume(mut self) -> Result<(), Failure> {
        let status = self.0.wait().await?;
        if !status.success() {
            return Err(format!("a server could not be resumed: {status}").into());
        }
        Ok(())
    }
}

/// Waits until a process says that it is ready.
async fn ready(output: Option<impl AsyncRead + Unpin>) -> Result<(), Failure> {
    let output = output.ok_or("this process says nothing")?;
    match BufReader::new(output).lines().next_line().await? {
        Some(line) if line == READY => Ok(()),
        other => Err(format!("a process ended: {other:?}").into()),
    }
}

/// Returns when each call ran, and on which server.
pub fn runs(ledger: &Ledger) -> Result<Vec<(Duration, Job)>, Failure> {
    ledger.begins(RUNS)
}

/// Runs as a server until the parent process closes its standard input or is gone.
pub(super) async fn run(orders: &str) -> Result<(), Failure> {
    let orders: Orders = serde_json::from_str(orders)?;
    let journal = Arc::new(Journal::open(&orders.journal)?);
    let bus = Bus::new(orders.url.parse::<RedisConfig>()?.connect().await?);
    for (name, longest) in [(TO_ONE, 20), (TO_ALL, 1)] {
        let (journal, producer) = (Arc::clone(&journal), orders.number);
        let work = move |seq: u32| {
            // Before anything else: the call begins now.
            let noted = journal.write(Job { producer, seq }, Entry::Begun(1));
            async move {
                noted.expect("the journal can be written");
                sleep(Duration::from_millis(u64::from(seq % longest))).await;
                seq
            }
        };
        bus.expose(name, work).await?.keep();
    }
    writeln!(std::io::stdout(), "{READY}")?;
    orphaned().await;
    Ok(bus.shutdown(Duration::from_secs(5)).await?)
}
