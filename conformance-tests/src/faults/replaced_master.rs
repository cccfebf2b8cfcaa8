//! F29: the master of Redis Sentinel is replaced under load, many times. It is killed by signal 9,
//! it is stopped and continued, or the sentinels are asked for a failover.

use std::time::Duration;

use tokio::time::sleep;

use super::failovers::{End, Failover, Failovers};
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

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let group = SentinelGroup::start(REPLICAS, &DURABLE).await?;
    let mut shop = Workshop::open(&setting, &group.url(), &Plan::default()).await?;
    let listener = Listener::start(&shop.bus, "news").await?;
    let publisher = Publisher::start(&shop.bus, "news", 100);

    let mut dice = setting.dice("failovers");
    let mut failovers = Failovers::within(RECOVERY);
    for end in [End::Kill, End::Request, End::Stop]
        .into_iter()
        .cycle()
        .take(FAILOVERS)
    {
        sleep(dice.millis(100..=600)).await;
        let master = group.master().await?;
        let begun = now();
        let ended = match end {
            End::Kill => master.kill().await.map(|()| now())?,
            End::Stop => master.stop().await.map(|()| now())?,
            // It works on until the other one is the master.
            End::Request => group.fail_over().await.map(|()| now())?,
        };
        let named = async { group.wait_for_naming(master.port()).await.map(|()| now()) };
        let (recovered, named) = tokio::join!(shop.recovery(ended), named);
        let (recovered, named) = (recovered?, named?);
        group.wait_for_another_than(master.port()).await?;
        failovers.add(Failover {
            end,
            begun,
            ended,
            named,
            agreed: now(),
            recovered,
        });
        match end {
            End::Kill => master.start_again().await?,
            End::Stop => master.resume().await?,
            End::Request => {}
        }
        group.wait_for_agreement(1).await?;
    }

    let (outcomes, heard) = publisher.finish(vec![listener]).await?;
    let mut report = Report::default();
    failovers.judge(&mut report, &[shop.finish().await?]);
    judge(&mut report, &outcomes, &heard.concat());
    Ok(report)
}
