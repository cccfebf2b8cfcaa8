//! Consumers in processes of their own, so that they can be killed. The same program is a consumer
//! if its first argument is [`ROLE`]. It ends with its parent process.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use futures_util::FutureExt;
use pymq_core::{Bus, Connect, ErrorKind, Lease};
use pymq_provider_redis::RedisConfig;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::sleep;

use super::command::orphaned;
use super::ledger::{Entry, Job, Journal, Ledger};
use super::{Dice, Rule};
use crate::Failure;

/// The first argument of a consumer.
pub const ROLE: &str = "consumer";

/// What a consumer prints when it begins to work on a message.
const BEGINS: &str = "begins";

/// The task of a consumer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Order {
    /// The server.
    pub url: String,
    /// The queue that it leases from.
    pub queue: String,
    /// The duration of its leases.
    pub lease: Duration,
    /// The shortest and the longest work on one message, in milliseconds.
    pub work: (u64, u64),
    /// How many messages it works on at once.
    pub tasks: u32,
    /// Whether it prints when it begins with a message.
    pub announces: bool,
}

/// The whole task of a consumer, as its second argument.
#[derive(Debug, Deserialize, Serialize)]
struct Orders {
    order: Order,
    journal: std::path::PathBuf,
    seed: u64,
    breaks: Option<Rule>,
}

/// A running consumer. It is killed when this is dropped.
#[derive(Debug)]
pub struct Consumer {
    process: Child,
    said: Option<Lines<BufReader<ChildStdout>>>,
}

impl Consumer {
    /// Starts a consumer. `dice` decides how long its work takes.
    pub fn start(
        ledger: &Ledger,
        order: &Order,
        breaks: Option<Rule>,
        dice: &mut Dice,
    ) -> Result<Self, Failure> {
        let orders = Orders {
            order: order.clone(),
            journal: ledger.path("consumers"),
            seed: dice.roll(),
            breaks,
        };
        let output = if order.announces {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let mut process = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .arg(serde_json::to_string(&orders)?)
            // It reads this until the parent is gone.
            .stdin(Stdio::piped())
            .stdout(output)
            .kill_on_drop(true)
            .spawn()?;
        let said = process
            .stdout
            .take()
            .map(|output| BufReader::new(output).lines());
        Ok(Self { process, said })
    }

    /// Waits until it begins to work on a message.
    ///
    /// # Errors
    ///
    /// If it ends before that.
    pub async fn begins(&mut self) -> Result<(), Failure> {
        let said = self
            .said
            .as_mut()
            .ok_or("this consumer announces nothing")?;
        match said.next_line().await? {
            Some(line) if line == BEGINS => Ok(()),
            other => Err(format!("a consumer ended: {other:?}").into()),
        }
    }

    /// Kills it with signal 9, and returns when it is gone.
    ///
    /// # Errors
    ///
    /// If it has ended by itself, which it must not.
    pub async fn kill(mut self) -> Result<(), Failure> {
        self.check()?;
        Ok(self.process.kill().await?)
    }

    /// Lets it finish its messages, and returns when it is gone. Then each of its acks is recorded,
    /// with its outcome.
    ///
    /// # Errors
    ///
    /// If it has ended by itself, or fails.
    pub async fn finish(mut self) -> Result<(), Failure> {
        self.check()?;
        // This also ends its standard input.
        let status = self.process.wait().await?;
        if !status.success() {
            return Err(format!("a consumer failed: {status}").into());
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), Failure> {
        match self.process.try_wait()? {
            Some(status) => Err(format!("a consumer ended by itself: {status}").into()),
            None => Ok(()),
        }
    }

    /// Returns the id of its process.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }
}

/// Runs as a consumer until the parent process closes its standard input or is gone. It finishes
/// its current messages.
pub(super) async fn run(orders: &str) -> Result<(), Failure> {
    let orders: Orders = serde_json::from_str(orders)?;
    let provider = orders.order.url.parse::<RedisConfig>()?.connect().await?;
    let provider = match orders.breaks {
        Some(rule) => rule.broken_in(provider),
        None => provider,
    };
    let bus = Bus::new(provider);
    let end = orphaned().shared();
    let works = (0..orders.order.tasks).map(|task| work(&orders, &bus, task, end.clone()));
    futures_util::future::try_join_all(works).await?;
    Ok(())
}

async fn work(
    orders: &Orders,
    bus: &Bus,
    task: u32,
    mut end: impl Future + Unpin,
) -> Result<(), Failure> {
    let journal = Journal::open(&orders.journal)?;
    let mut dice = Dice::new(orders.seed, &task.to_string());
    let queue = bus
        .queue::<Job>(&orders.order.queue)
        .lease_time(orders.order.lease)
        // The schedule of the kills decides how often a message meets a killed process.
        .unlimited_attempts();
    loop {
        let lease = tokio::select! {
            lease = queue.lease() => lease?,
            _ = &mut end => return Ok(()),
        };
        let (job, attempt) = (*lease, lease.attempt());
        journal.write(job, Entry::Begun(attempt))?;
        if orders.order.announces {
            writeln!(std::io::stdout(), "{BEGINS}")?;
        }
        let time = dice.millis(orders.order.work.0..=orders.order.work.1);
        if orders.breaks == Some(Rule::AckBeforeWork) {
            ack(lease, job, &journal).await?;
            sleep(time).await;
            journal.write(job, Entry::Worked(attempt))?;
        } else {
            sleep(time).await;
            journal.write(job, Entry::Worked(attempt))?;
            ack(lease, job, &journal).await?;
        }
    }
}

async fn ack(lease: Lease<Job>, job: Job, journal: &Journal) -> Result<(), Failure> {
    match lease.ack().await {
        Ok(()) => Ok(journal.write(job, Entry::Acked)?),
        Err(error) if error.kind() == ErrorKind::LeaseLost => Ok(journal.write(job, Entry::Lost)?),
        Err(error) if matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Timeout) => {
            Ok(journal.write(job, Entry::Unsettled)?)
        }
        Err(error) => Err(error.into()),
    }
}
