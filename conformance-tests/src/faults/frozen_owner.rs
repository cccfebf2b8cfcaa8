//! F32: the process of a master of a Redis Cluster is stopped for 10 s, so neither the clients nor
//! the other nodes hear from it. Its connections stay open. Its replica takes its place meanwhile,
//! and it comes back as a replica.
//!
//! A command that it has not read stays in its connection. If that is a `PUBLISH`, it runs it when
//! it continues, and the other nodes carry the event to their subscribers. So the event that was
//! being published when it was stopped comes after later ones. Its publish has failed with an
//! unknown outcome.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::cluster_work::ClusterWork;
use super::failovers::End;
use super::ledger::now;
use super::{Report, Setting};
use crate::Outcome;

const STOP: Duration = Duration::from_secs(10);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let mut work = ClusterWork::start(&setting).await?;
    let mut dice = setting.dice("stops");
    let (mut back, mut worst) = (Vec::new(), Duration::ZERO);
    let stops = work.queues.len();
    // One of them has the topics too.
    for queue in work.queues.clone() {
        sleep(dice.millis(100..=600)).await;
        let port = work.cluster.owner(&queue).await?.port();
        let (begun, end) = (now(), Instant::now() + STOP);
        work.cluster.node(port)?.stop().await?;
        work.fail_over(End::Stop, port, begun).await?;
        sleep_until(end).await;
        work.cluster.node(port)?.resume().await?;
        worst = worst.max(work.recovery(now()).await?);
        work.cluster.wait_until_whole().await?;
        let masters = work.cluster.masters().await?;
        if masters.iter().any(|master| master.port() == port) {
            back.push(queue);
        }
    }
    let mut report = work.judge(stops).await?;
    report.figure(format!(
        "work at most {} ms after a node was back",
        worst.as_millis()
    ));
    report.demand(back.is_empty(), || {
        format!("the master of {back:?} is a master again")
    });
    Ok(report)
}
