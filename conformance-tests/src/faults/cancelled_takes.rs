//! F25: one consumer cancels its takes at random moments, also in the middle of a round trip, while
//! producers put.
//!
//! A cancelled take takes nothing. The messages that came for it go to the next take, or back to
//! the front and uncounted. No connection breaks, so a plain `get` has each item exactly once.

use std::time::Duration;

use futures_util::FutureExt;
use pymq_core::{Bus, Queue};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::ledger::Job;
use super::network::{Condition, Network};
use super::{Dice, Report, Setting};
use crate::{Failure, Outcome};

const QUEUE: &str = "jobs";
const PRODUCERS: u32 = 2;

/// The time between two puts of one producer.
const PACE: Duration = Duration::from_millis(4);

/// For how long takes are cancelled.
const CANCELLING: Duration = Duration::from_secs(10);

/// The delays of the network, one way, in milliseconds. Each lasts the same time.
const DELAYS: [u64; 4] = [0, 1, 5, 20];
const CONDITION_TIME: std::ops::RangeInclusive<u64> = 200..=600;

/// The longest time until a take is cancelled, in milliseconds and in round trips.
const LONGEST: u64 = 2;
const ROUND_TRIPS: u64 = 3;

/// The time limit of a take that is not cancelled, when everything was put.
const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// What the consumer has received.
#[derive(Debug, Default)]
struct Taken {
    jobs: Vec<Job>,
    /// The attempts of leases that were not the first attempt.
    again: Vec<(Job, u32)>,
    takes: u64,
    cancelled: u64,
}

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&[]).await?;
    let network = Network::start(server.url().replace("redis://", "")).await?;
    let bus = setting.bus(server.url().parse()?).await?;
    let consumer = setting.bus(network.url().parse()?).await?;
    let queue = consumer.queue::<Job>(QUEUE);
    let mut dice = setting.dice("takes");

    let (end, ended) = watch::channel(false);
    let producers = produce(&bus, &ended);
    let (start, mut taken) = (Instant::now(), Taken::default());
    while start.elapsed() < CANCELLING {
        let delay = DELAYS[usize::try_from(dice.roll() % 4)?];
        network.set(match delay {
            0 => Condition::Normal,
            delay => Condition::Delayed(Duration::from_millis(delay)),
        });
        let until = Instant::now() + dice.millis(CONDITION_TIME);
        while Instant::now() < until {
            taken.take(&queue, delay, &mut dice).await?;
        }
    }
    end.send_replace(true);
    let put: Vec<u32> = producers
        .join_all()
        .await
        .into_iter()
        .collect::<Result<_, _>>()?;
    network.set(Condition::Normal);
    // Takes the rest, and any message that a cancelled take wrongly kept.
    let all: usize = put
        .iter()
        .try_fold(0, |all, put| usize::try_from(*put).map(|put| all + put))?;
    while taken.jobs.len() < all {
        match queue.get_timeout(WAIT_LIMIT).await? {
            Some(job) => taken.jobs.push(job),
            None => break,
        }
    }
    let more = queue.try_get().await?;
    let stats = queue.stats().await?;

    let mut report = taken.judge(&put);
    report.demand(more.is_none() && stats.leased == 0, || {
        format!("more is there than was put: {more:?}, {stats:?}")
    });
    Ok(report)
}

/// Starts the producers. Each returns how many it put.
fn produce(bus: &Bus, ended: &watch::Receiver<bool>) -> JoinSet<Result<u32, pymq_core::Error>> {
    let mut producers = JoinSet::new();
    for producer in 0..PRODUCERS {
        let (queue, mut ended) = (bus.queue::<Job>(QUEUE), ended.clone());
        producers.spawn(async move {
            let mut ticks = interval(PACE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut seq = 0;
            loop {
                tokio::select! {
                    _ = ended.wait_for(|&ended| ended) => return Ok(seq),
                    _ = ticks.tick() => {}
                }
                queue.put(&Job { producer, seq }).await?;
                seq += 1;
            }
        });
    }
    producers
}

impl Taken {
    /// Takes in one of four ways, for a random time at most.
    async fn take(
        &mut self,
        queue: &Queue<Job>,
        delay: u64,
        dice: &mut Dice,
    ) -> Result<(), Failure> {
        // Half of them after only a few polls, or in the time that a fast server needs.
        let longest = if dice.percent(50) {
            LONGEST
        } else {
            LONGEST + 2 * delay * ROUND_TRIPS
        };
        let time = dice.millis(0..=longest);
        let is_polled_once = dice.percent(10);
        let kind = dice.within(0..=3);
        let max = usize::try_from(dice.within(1..=5))?;
        let wait = dice.millis(1..=20);
        let take = async {
            Ok::<_, Failure>(match kind {
                0 => vec![(queue.get().await?, None)],
                1 => match queue.get_timeout(wait).await? {
                    Some(job) => vec![(job, None)],
                    None => Vec::new(),
                },
                2 => {
                    let jobs = queue.get_many(max).await?;
                    let jobs = jobs.into_iter().map(|job| Ok((job?, None)));
                    jobs.collect::<Result<_, pymq_core::Error>>()?
                }
                _ => {
                    let lease = queue.lease().await?;
                    vec![(*lease, Some(lease))]
                }
            })
        };
        self.takes += 1;
        let taken = if is_polled_once {
            take.now_or_never()
        } else {
            timeout(time, take).await.ok()
        };
        let Some(taken) = taken else {
            self.cancelled += 1;
            return Ok(());
        };
        for (job, lease) in taken? {
            self.jobs.push(job);
            if let Some(lease) = lease {
                if lease.attempt() != 1 {
                    self.again.push((job, lease.attempt()));
                }
                lease.ack().await?;
            }
        }
        Ok(())
    }

    /// Compares the taken items with the number that each producer put.
    fn judge(&self, put: &[u32]) -> Report {
        let mut report = Report {
            sent: put.iter().map(|put| u64::from(*put)).sum(),
            worked: u64::try_from(self.jobs.len()).unwrap_or(u64::MAX),
            ..Report::default()
        };
        report.accepted = report.sent;
        for (producer, put) in (0..).zip(put) {
            let jobs = self.jobs.iter().filter(|job| job.producer == producer);
            let seqs: Vec<_> = jobs.map(|job| job.seq).collect();
            let mut sorted = seqs.clone();
            sorted.sort_unstable();
            sorted.dedup();
            report.duplicates += u64::try_from(seqs.len() - sorted.len()).unwrap_or(u64::MAX);
            report.lost += u64::from(*put) - u64::try_from(sorted.len()).unwrap_or(0);
            let wrong = seqs.windows(2).filter(|pair| pair[0] >= pair[1]).count();
            report.demand(wrong == 0, || {
                let first = seqs.windows(2).find(|pair| pair[0] >= pair[1]);
                format!("{wrong} items of producer {producer} came out of order, first {first:?}")
            });
        }
        let (lost, duplicates) = (report.lost, report.duplicates);
        report.demand(lost == 0, || format!("{lost} items are lost"));
        report.demand(duplicates == 0, || format!("{duplicates} items came twice"));
        report.demand(self.again.is_empty(), || {
            format!("a first attempt was counted as another: {:?}", self.again)
        });
        report.demand(self.cancelled > 0, || "no take was cancelled".to_owned());
        report.figure(format!(
            "{} of {} takes cancelled",
            self.cancelled, self.takes
        ));
        report
    }
}
