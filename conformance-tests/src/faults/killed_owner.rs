//! F30: a master of a Redis Cluster is killed by signal 9 under load, many times. Its replica takes
//! its place, and it starts again as a replica.

use tokio::time::sleep;

use super::cluster_work::ClusterWork;
use super::failovers::End;
use super::ledger::now;
use super::{Report, Setting};
use crate::Outcome;

/// How often, and how often in a long run.
const KILLS: (u32, u32) = (10, 20);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let mut work = ClusterWork::start(&setting).await?;
    let mut dice = setting.dice("kills");
    for _ in 0..setting.length(KILLS) {
        sleep(dice.millis(100..=600)).await;
        let queue = dice.one_of(&work.queues);
        let port = work.cluster.owner(queue).await?.port();
        let begun = now();
        work.cluster.node(port)?.kill().await?;
        work.fail_over(End::Kill, port, begun).await?;
        work.cluster.node(port)?.start_again().await?;
        work.cluster.wait_until_whole().await?;
    }
    work.judge(0).await
}
