//! F31: the slots of queues and of remotes move between the masters of a Redis Cluster under load,
//! all the time. No node fails, so nothing is lost and no call finds no server.
//!
//! The slot of the topics stays. While it moves, events cross between nodes and may come out of
//! order.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::cluster_work::ClusterWork;
use super::ledger::now;
use super::{Dice, Report, Setting};
use crate::redis::Cluster;
use crate::{Failure, Outcome};

/// For how many seconds slots move, and for how many in a long run.
const MOVES: (u64, u64) = (20, 60);

/// Half of the moves take longer than they must, up to so many milliseconds between two steps.
const SLOW: u64 = 300;

/// The time limit of a put.
const PUT: Duration = Duration::from_secs(2);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let mut work = ClusterWork::start(&setting).await?;
    let keys = work.keys().await?;
    let mut dice = setting.dice("moves");
    let (end, mut moves) = (
        Instant::now() + Duration::from_secs(setting.length(MOVES)),
        0,
    );
    while Instant::now() < end {
        let key = dice.one_of(&keys);
        move_away(&work.cluster, key, &mut dice).await?;
        moves += 1;
    }
    let worst = work.recovery(now()).await?;

    let ended = work.end().await?;
    let (mut report, mut slowest) = (Report::default(), Duration::ZERO);
    for shop in ended.shops {
        let (one, tally) = shop.close().await?;
        report.add(one);
        slowest = slowest.max(tally.slowest_put());
    }
    report.add(ended.report);
    report.recovered(worst);
    report.figure(format!(
        "{moves} moves of {} slots; the slowest put took {} ms",
        keys.len(),
        slowest.as_millis()
    ));
    let (sent, accepted) = (report.sent, report.accepted);
    report.demand(sent == accepted, || {
        format!("{} puts failed", sent - accepted)
    });
    let duplicates = report.duplicates;
    report.demand(duplicates == 0, || {
        format!("{duplicates} messages were worked on twice")
    });
    report.demand(slowest <= PUT, || format!("a put took {slowest:?}"));
    report.demand(ended.late == 0, || {
        format!("{} events came late", ended.late)
    });
    report.demand(ended.unserved == 0, || {
        format!("{} calls found no server", ended.unserved)
    });
    Ok(report)
}

/// Moves the slot of a key to another master.
async fn move_away(cluster: &Cluster, key: &str, dice: &mut Dice) -> Result<(), Failure> {
    let slot = cluster.slot(key).await?;
    let from = cluster.owner_of(slot).await?.port();
    let mut others = cluster.masters().await?;
    others.retain(|master| master.port() != from);
    let to = dice.one_of(&others).port();
    if dice.percent(50) {
        return cluster.move_slot(slot, to).await;
    }
    cluster.begin_move(slot, to).await?;
    sleep(dice.millis(0..=SLOW)).await;
    cluster.move_keys(slot, to, 1).await?;
    sleep(dice.millis(0..=SLOW)).await;
    cluster.finish_move(slot, to).await
}
