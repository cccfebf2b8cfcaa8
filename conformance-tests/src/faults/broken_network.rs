//! F7: the network between the bus and the server refuses, resets, drops, delays and throttles.
//! Connections are left half open, and replies are cut after every number of bytes.
//!
//! Leased messages are redelivered, missed events are announced, and a silent connection is found.

use std::time::Duration;

use pymq_core::Bus;
use pymq_provider_redis::RedisConfig;
use tokio::time::sleep;

use super::callers::{self, Caller, ECHO};
use super::cut_replies;
use super::half_open;
use super::ledger::now;
use super::network::{Condition, Network};
use super::setting::DURABLE;
use super::topic::{Listener, Publisher, judge};
use super::workshop::{Plan, Workshop};
use super::{Report, Setting};
use crate::redis::Controlled;
use crate::{Failure, Outcome};

const CONDITIONS: [Condition; 5] = [
    Condition::Refused,
    Condition::Reset,
    Condition::BlackHole,
    Condition::Delayed(Duration::from_millis(200)),
    Condition::Throttled(64_000),
];

/// The shortest time of each condition.
const TIME: u64 = 2_500;

/// The time limit of a command.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);

/// The longest time from the end of a condition until puts and work continue.
const RECOVERY: Duration = Duration::from_secs(6);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&DURABLE).await?;
    let (mut report, cuts) = tokio::try_join!(
        conditions(&setting, &server),
        cut_replies::experience(&setting, &server)
    )?;
    cut_replies::judge(&setting, &server, &cuts, &mut report).await?;
    half_open::judge(&setting, &server, &mut report).await?;
    Ok(report)
}

/// Starts a network in front of a server.
pub(super) async fn network(server: &Controlled) -> Result<Network, Failure> {
    let target = server.url().replace("redis://", "");
    Ok(Network::start(target).await?)
}

/// Connects through a network.
pub(super) async fn through(network: &Network, setting: &Setting) -> Result<Bus, Failure> {
    let config: RedisConfig = network.url().parse()?;
    setting.bus(config.op_timeout(TIMEOUT)).await
}

/// Lets one condition follow another while a queue, a topic and a remote are in use.
async fn conditions(setting: &Setting, server: &Controlled) -> Result<Report, Failure> {
    let network = network(server).await?;
    let (far, near) = (
        through(&network, setting).await?,
        setting.bus(server.url().parse()?).await?,
    );
    let plan = Plan {
        per_second: 200,
        consumers: 1,
        op_timeout: TIMEOUT,
        ..Plan::default()
    };
    let name = "conditions";
    let mut shop = Workshop::open_on(far.clone(), setting, &server.url(), &plan, name)?;
    shop.hire(format!("{}?op_timeout=1s", network.url()))?;
    let mut dice = setting.dice(name);
    callers::serve(&near, ECHO).await?;
    let caller = Caller::start(&far, ECHO, 50);
    let listener = Listener::start(&far, "news").await?;
    let publisher = Publisher::start(&near, "news", 100);

    let mut worst = Duration::ZERO;
    for condition in CONDITIONS {
        sleep(dice.millis(200..=600)).await;
        network.set(condition);
        if condition.lets_through() {
            // It continues, if slowly.
            worst = worst.max(shop.recovery(now()).await?);
        }
        sleep(dice.millis(TIME..=TIME + 500)).await;
        network.set(Condition::Normal);
        worst = worst.max(shop.recovery(now()).await?);
    }

    let (outcomes, heard) = publisher.finish(vec![listener]).await?;
    let (mut report, _) = shop.close().await?;
    judge(&mut report, &outcomes, &heard.concat());
    caller.finish(&mut report).await?;
    report.recovered(worst);
    report.demand(worst <= RECOVERY, || format!("took {worst:?} to recover"));
    Ok(report)
}
