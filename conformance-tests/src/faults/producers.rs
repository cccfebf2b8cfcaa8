//! Producers: tasks that put messages at a steady pace and record the outcome of each put.

use std::sync::Arc;
use std::time::Duration;

use pymq_core::{Bus, ErrorKind, Queue};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ledger::{Entry, Job, Journal, Ledger};
use crate::{Failure, Outcome};

/// The task of the producers.
#[derive(Clone, Debug)]
pub struct Load {
    /// The queue that they put to.
    pub queue: String,
    /// How many there are.
    pub producers: u32,
    /// How many messages all of them put in a second. A producer that was delayed catches up.
    pub per_second: u32,
}

/// Running producers.
#[derive(Debug)]
pub struct Producers {
    tasks: JoinSet<Outcome<Duration>>,
    end: watch::Sender<bool>,
}

impl Producers {
    /// Starts them on a bus.
    pub fn start(ledger: &Ledger, bus: &Bus, load: &Load) -> Result<Self, Failure> {
        let (end, ended) = watch::channel(false);
        let journal = Arc::new(ledger.journal("producers")?);
        let pace = Duration::from_secs(1) * load.producers / load.per_second;
        let mut tasks = JoinSet::new();
        for producer in 0..load.producers {
            let queue = bus.queue(&load.queue);
            tasks.spawn(produce(
                producer,
                queue,
                pace,
                Arc::clone(&journal),
                ended.clone(),
            ));
        }
        Ok(Self { tasks, end })
    }

    /// Lets each finish its put. Returns the longest time that one put took.
    ///
    /// # Errors
    ///
    /// If a put failed for a reason that no fault explains.
    pub async fn finish(mut self) -> Result<Duration, Failure> {
        self.end.send_replace(true);
        let mut longest = Duration::ZERO;
        while let Some(task) = self.tasks.join_next().await {
            longest = longest.max(task??);
        }
        Ok(longest)
    }
}

async fn produce(
    producer: u32,
    queue: Queue<Job>,
    pace: Duration,
    journal: Arc<Journal>,
    mut ended: watch::Receiver<bool>,
) -> Outcome<Duration> {
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut longest = Duration::ZERO;
    for seq in 0.. {
        tokio::select! {
            _ = ended.wait_for(|&ended| ended) => break,
            _ = ticks.tick() => {}
        }
        let job = Job { producer, seq };
        journal.write(job, Entry::Sent)?;
        let start = Instant::now();
        let outcome = queue.put(&job).await;
        longest = longest.max(start.elapsed());
        let entry = match outcome {
            Ok(()) => Entry::Accepted,
            Err(error) if error.outcome_unknown() => Entry::Unknown,
            Err(error) if matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Timeout) => {
                Entry::Refused
            }
            Err(error) => return Err(error.into()),
        };
        journal.write(job, entry)?;
    }
    Ok(longest)
}
