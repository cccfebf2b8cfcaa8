//! F29: the master of Redis Sentinel is replaced under load, many times. It is killed by signal 9,
//! it is stopped and continued, or the sentinels are asked for a failover.
//!
//! Replication is asynchronous, so a put with `Ok` may be lost, and an ack as well. What is lost
//! must have been accepted around a failover. Everything else holds as without one.

use std::time::Duration;

use tokio::time::sleep;

use super::ledger::now;
use super::setting::DURABLE;
use super::topic::{Listener, Publisher, judge};
use super::workshop::{Plan, Workshop};
use super::{Report, Setting};
use crate::Outcome;
use crate::redis::{DOWN_AFTER, SentinelGroup};

const FAILOVERS: usize = 20;

/// With two, the next failover need not wait until the former master is back.
const REPLICAS: usize = 2;

/// The time limit from the end of a master until puts and work continue.
const RECOVERY: Duration = DOWN_AFTER.saturating_add(Duration::from_secs(3));

/// The time limit after a sentinel has named the next master. The sentinels may need longer than
/// [`RECOVERY`] to agree on it.
const AFTER_NAMING: Duration = Duration::from_secs(2);

/// How long before the end of a master, and after the sentinels agree on the next one, a put may be
/// accepted and lost.
const MARGIN: Duration = Duration::from_secs(1);

/// What ends a master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Kill,
    Stop,
    Request,
}

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let group = SentinelGroup::start(REPLICAS, &DURABLE).await?;
    let mut shop = Workshop::open(&setting, &group.url(), &Plan::default()).await?;
    let listener = Listener::start(&shop.bus, "news").await?;
    let publisher = Publisher::start(&shop.bus, "news", 100);

    let mut dice = setting.dice("failovers");
    let (mut windows, mut late) = (Vec::new(), Vec::new());
    let (mut worst, mut worst_own) = (Duration::ZERO, Duration::ZERO);
    for end in [End::Kill, End::Request, End::Stop]
        .into_iter()
        .cycle()
        .take(FAILOVERS)
    {
        sleep(dice.millis(100..=600)).await;
        let master = group.master().await?;
        let begin = now();
        let ended = match end {
            End::Kill => master.kill().await.map(|()| now())?,
            End::Stop => master.stop().await.map(|()| now())?,
            // It works on until the other one is the master.
            End::Request => group.fail_over().await.map(|()| now())?,
        };
        let named = async { group.wait_for_naming(master.port()).await.map(|()| now()) };
        let (recovered, named) = tokio::join!(shop.recovery(ended), named);
        let (recovered, named) = (recovered?, named?.saturating_sub(ended));
        let own = recovered.saturating_sub(named);
        if recovered > RECOVERY && own > AFTER_NAMING {
            late.push(recovered);
        }
        (worst, worst_own) = (worst.max(recovered), worst_own.max(own));
        group.wait_for_another_than(master.port()).await?;
        windows.push((end, begin.saturating_sub(MARGIN)..=now() + MARGIN));
        worst = worst.max(recovered);
        match end {
            End::Kill => master.start_again().await?,
            End::Stop => master.resume().await?,
            End::Request => {}
        }
        group.wait_for_agreement(1).await?;
    }

    let (outcomes, heard) = publisher.finish(vec![listener]).await?;
    let (tally, rest, is_drained) = shop.finish().await?;
    let cause = |at: &Duration| windows.iter().rfind(|(_, window)| window.contains(at));
    let causes = tally
        .lost_at(&rest)
        .map(|at| cause(&at).map(|(end, _)| *end));
    let causes: Vec<Option<End>> = causes.collect();
    let lost_by = |end| causes.iter().filter(|cause| **cause == end).count();
    let unexplained = lost_by(None);
    let mut report = Report {
        sent: tally.sent(),
        accepted: tally.accepted(),
        worked: tally.worked(),
        duplicates: tally.duplicates(),
        lost: tally.lost(&rest),
        ..Report::default()
    };
    judge(&mut report, &outcomes, &heard.concat());
    report.figure(format!(
        "{FAILOVERS} failovers; lost after a kill {}, a stop {}, a request {}",
        lost_by(Some(End::Kill)),
        lost_by(Some(End::Stop)),
        lost_by(Some(End::Request))
    ));
    report.figure(format!(
        "work at most {worst_own:?} after a sentinel named the next master"
    ));
    report.recovered(worst);
    report.demand(late.is_empty(), || format!("took {late:?} to recover"));
    report.demand(is_drained, || "not all was worked on".to_owned());
    report.demand(unexplained == 0, || {
        format!("{unexplained} accepted messages are lost, and no failover explains it")
    });
    report.demand(tally.ghosts() == 0, || {
        format!("{} messages were refused and worked on", tally.ghosts())
    });
    Ok(report)
}
