//! A Redis Cluster in use: a queue on each master, calls of remotes, and a topic with subscribers.

use std::time::Duration;

use futures_util::future::try_join_all;
use pymq_core::Bus;

use super::callers::{self, Caller, TIMEOUT};
use super::failovers::{End, Failover, Failovers};
use super::ledger::now;
use super::topic::{Listener, Publisher, judge_but_late, longest_silence};
use super::workshop::{Plan, Workshop};
use super::{Report, Setting};
use crate::redis::{Cluster, NODE_TIMEOUT};
use crate::{Failure, Outcome};

/// The key of the namespace. Its node carries the topics.
const HOME: &str = "__eventbus:global:";

/// Three masters, each with a replica.
const MASTERS: usize = 3;

/// The remotes. Each is on another master at first.
const REMOTES: [&str; MASTERS] = ["echo-0", "echo-1", "echo-2"];

/// The time limit from the end of a master until puts and work continue. It includes the election
/// of a replica, which takes 0.5 s to 1 s.
const RECOVERY: Duration = NODE_TIMEOUT.saturating_add(Duration::from_secs(3));

/// The cluster and its load.
#[derive(Debug)]
pub struct ClusterWork {
    /// The cluster.
    pub cluster: Cluster,
    /// The keys of the queues.
    pub queues: Vec<String>,
    failovers: Failovers,
    /// The longest time from the end of a master until each remote worked again.
    answered: Duration,
    shops: Vec<Workshop>,
    serving: Bus,
    callers: Vec<Caller>,
    publisher: Publisher,
    listeners: Vec<Listener>,
}

/// The end of the load: all but the queues.
#[derive(Debug)]
pub struct Ended {
    /// The numbers of the calls and the topic.
    pub report: Report,
    /// How many calls found no server.
    pub unserved: u64,
    /// How many events came after a later one, at the subscriber with the most. Their publish has
    /// an unknown outcome.
    pub late: usize,
    /// The longest time without an answer to a call.
    pub without_answer: Duration,
    /// The longest time without an event of the topic.
    pub without_event: Duration,
    /// The queues, which still work.
    pub shops: Vec<Workshop>,
    /// Serves the remotes.
    pub serving: Bus,
    /// The cluster.
    pub cluster: Cluster,
}

impl ClusterWork {
    /// Starts a cluster, and the load on it.
    ///
    /// # Errors
    ///
    /// If a node does not start, or the provider does not connect.
    pub async fn start(setting: &Setting) -> Result<Self, Failure> {
        let cluster = Cluster::start(MASTERS, 1, &[]).await?;
        let queues = a_queue_on_each(&cluster).await?;
        let url = cluster.url();
        let plans = queues.iter().map(|queue| Plan {
            queue: queue.clone(),
            producers: 2,
            per_second: 150,
            consumers: 2,
            ..Plan::default()
        });
        let mut shops = Vec::new();
        for plan in plans {
            shops.push(Workshop::open(setting, &url, &plan).await?);
        }
        let serving = setting.bus(url.parse()?).await?;
        let bus = &shops[0].bus;
        for remote in REMOTES {
            callers::serve(&serving, remote).await?;
        }
        Ok(Self {
            listeners: vec![
                Listener::start(bus, "news").await?,
                Listener::start(&serving, "news").await?,
            ],
            publisher: Publisher::start(bus, "news", 100),
            callers: REMOTES.map(|remote| Caller::start(bus, remote, 50)).into(),
            queues: queues.iter().map(|queue| key(queue)).collect(),
            failovers: Failovers::within(RECOVERY),
            answered: Duration::ZERO,
            cluster,
            shops,
            serving,
        })
    }

    /// Returns the keys of which each decides about the node of a queue or of a remote.
    ///
    /// # Errors
    ///
    /// If a master does not answer.
    pub async fn keys(&self) -> Result<Vec<String>, Failure> {
        let mut keys = self.queues.clone();
        for master in self.cluster.masters().await? {
            let mut command = redis::cmd("PUBSUB");
            let command = command.arg(&["SHARDCHANNELS", "__eventbus:*"]);
            let channels: Vec<String> = command.query_async(&mut master.raw().await?).await?;
            keys.extend(channels);
        }
        Ok(keys)
    }

    /// Waits until the replica of a master that has just ended has its place, and each queue and
    /// each remote works again.
    ///
    /// # Errors
    ///
    /// If that does not happen for a long time.
    pub async fn fail_over(&mut self, end: End, port: u16, begun: Duration) -> Outcome {
        let ended = now();
        let named = async { self.cluster.wait_for_naming(port).await.map(|()| now()) };
        let recovered = all_recovered(&mut self.shops, ended);
        let answered = self.callers.iter_mut().map(|caller| caller.recovery(ended));
        let (recovered, answered, named) = tokio::join!(recovered, try_join_all(answered), named);
        let (recovered, answered, named) = (recovered?, answered?, named?);
        self.answered = answered.into_iter().fold(self.answered, Duration::max);
        self.cluster.wait_for_promotion(port).await?;
        self.failovers.add(Failover {
            end,
            begun,
            ended,
            named,
            agreed: now(),
            recovered,
        });
        Ok(())
    }

    /// Ends the load. Asserts what a failover may not break. At most so many events may come late.
    ///
    /// # Errors
    ///
    /// If a part of the load failed for a reason that no failover explains.
    pub async fn judge(self, most_late: usize) -> Outcome<Report> {
        let (failovers, answered) = (self.failovers.clone(), self.answered);
        let ended = self.end().await?;
        let mut queues = Vec::new();
        for shop in ended.shops {
            queues.push(shop.finish().await?);
        }
        let mut report = Report::default();
        let again = failovers.judge(&mut report, &queues);
        report.demand(again == 0, || {
            format!("{again} messages were given again after an ack that no failover explains")
        });
        report.add(ended.report);
        report.figure(format!("{} events came late", ended.late));
        report.demand(ended.late <= most_late, || {
            format!("{} events came late, and {most_late} may", ended.late)
        });
        let pause = failovers.longest_pause();
        report.demand(ended.without_event <= pause, || {
            format!("no event for {:?}", ended.without_event)
        });
        // A call that meets the end of a master fails at its time limit, before the next one.
        report.figure(format!(
            "calls answered at most {} ms after the end of a master",
            answered.as_millis()
        ));
        report.demand(answered <= pause + TIMEOUT, || {
            format!("no answer for {answered:?}")
        });
        Ok(report)
    }

    /// Waits until each queue works again, as [`Workshop::recovery`] does. The slowest counts.
    ///
    /// # Errors
    ///
    /// If that does not happen for a long time.
    pub async fn recovery(&mut self, from: Duration) -> Result<Duration, Failure> {
        all_recovered(&mut self.shops, from).await
    }

    /// Ends the calls and the topic.
    ///
    /// # Errors
    ///
    /// If one failed for a reason that no fault explains.
    pub async fn end(self) -> Result<Ended, Failure> {
        let (outcomes, heard) = self.publisher.finish(self.listeners).await?;
        let mut ended = Ended {
            report: Report::default(),
            unserved: 0,
            late: 0,
            without_answer: Duration::ZERO,
            without_event: Duration::ZERO,
            shops: self.shops,
            serving: self.serving,
            cluster: self.cluster,
        };
        for caller in self.callers {
            let calls = caller.finish(&mut ended.report).await?;
            ended.unserved += calls.unserved;
            ended.without_answer = ended.without_answer.max(calls.pause);
        }
        for heard in heard {
            let late = judge_but_late(&mut ended.report, &outcomes, &heard);
            ended.late = ended.late.max(late);
            ended.without_event = ended.without_event.max(longest_silence(&heard));
        }
        ended.report.figure(format!(
            "at most {} ms without an answer, {} ms without an event; {} calls found no server",
            ended.without_answer.as_millis(),
            ended.without_event.as_millis(),
            ended.unserved
        ));
        Ok(ended)
    }
}

async fn all_recovered(shops: &mut [Workshop], from: Duration) -> Result<Duration, Failure> {
    let recovered = shops.iter_mut().map(|shop| shop.recovery(from));
    let recovered = try_join_all(recovered).await?;
    Ok(recovered.into_iter().max().unwrap_or_default())
}

/// Finds names of queues such that each master has one.
async fn a_queue_on_each(cluster: &Cluster) -> Result<Vec<String>, Failure> {
    let (mut queues, mut owners) = (Vec::new(), Vec::new());
    for number in 0.. {
        let queue = format!("jobs-{number}");
        let owner = cluster.owner(&key(&queue)).await?.port();
        if !owners.contains(&owner) {
            owners.push(owner);
            queues.push(queue);
        }
        if queues.len() == MASTERS {
            break;
        }
    }
    Ok(queues)
}

/// Returns the key of a queue.
fn key(queue: &str) -> String {
    format!("{HOME}{queue}")
}
