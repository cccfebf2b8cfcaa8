//! F2: the server is killed by signal 9 under load and started again, many times. It writes
//! acknowledged data to its disk first, so every message with a put that returned `Ok` is there
//! afterwards.

use std::time::Duration;

use tokio::time::sleep;

use super::ledger::now;
use super::setting::DURABLE;
use super::topic::{Listener, Publisher, judge};
use super::workshop::{Plan, Workshop};
use super::{Report, Setting};
use crate::Outcome;

const KILLS: u32 = 20;

/// The time limit from a ready server until puts and work continue. The longest pause between two
/// attempts to connect is 5 s.
const RECOVERY: Duration = Duration::from_secs(6);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&DURABLE).await?;
    let mut shop = Workshop::open(&setting, &server.url(), &Plan::default()).await?;
    let listener = Listener::start(&shop.bus, "news").await?;
    let publisher = Publisher::start(&shop.bus, "news", 100);

    let (mut dice, mut worst) = (setting.dice("kills"), Duration::ZERO);
    for _ in 0..KILLS {
        sleep(dice.millis(100..=600)).await;
        server.kill().await?;
        sleep(dice.millis(0..=300)).await;
        server.start_again().await?;
        server.ready().await?;
        worst = worst.max(shop.recovery(now()).await?);
    }

    let (outcomes, heard) = publisher.finish(vec![listener]).await?;
    let (mut report, _) = shop.close().await?;
    judge(&mut report, &outcomes, &heard.concat());
    report.figure(format!("{KILLS} kills"));
    report.recovered(worst);
    report.demand(worst <= RECOVERY, || format!("took {worst:?} to recover"));
    Ok(report)
}
