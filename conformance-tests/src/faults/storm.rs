//! All faults mixed: one after the other, each chosen at random, while queues, topics and remotes
//! are in use.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use pymq_core::Bus;
use pymq_provider_redis::RedisConfig;
use tokio::time::{Instant, sleep};

use super::callers::{self, Caller, ECHO};
use super::ledger::now;
use super::setting::DURABLE;
use super::tally::Tally;
use super::topic::{Listener, Publisher, judge};
use super::workshop::{Plan, Workshop};
use super::{Dice, Report, Setting};
use crate::proxy::Proxy;
use crate::redis::Controlled;
use crate::{Failure, Outcome};

/// The time limit from the end of a fault until puts and work continue.
const RECOVERY: Duration = Duration::from_secs(6);

/// What can happen.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Blow {
    KilledConsumer,
    KilledConnections,
    CutProxy,
    KilledServer,
    StoppedServer,
    LongOutage,
}

/// A server, buses that live through every round, and the faults.
#[derive(Debug)]
pub struct Storm {
    setting: Setting,
    server: Controlled,
    /// Between the server and [`bus`](Self::bus).
    proxy: Proxy,
    bus: Bus,
    /// Exposes the remote, and subscribes too.
    serving: Bus,
    dice: Dice,
    blows: BTreeMap<Blow, u32>,
    rounds: u32,
}

impl Storm {
    /// Starts a server and connects.
    pub async fn brew(setting: Setting) -> Result<Self, Failure> {
        let server = setting.server(&DURABLE).await?;
        let target = server.url().replace("redis://", "");
        let proxy = Proxy::start(target).await?;
        let through: RedisConfig = format!("redis://{}", proxy.address()).parse()?;
        let (bus, serving) = (
            setting.bus(through).await?,
            setting.bus(server.url().parse()?).await?,
        );
        callers::serve(&serving, ECHO).await?;
        Ok(Self {
            dice: setting.dice("storm"),
            setting,
            server,
            proxy,
            bus,
            serving,
            blows: BTreeMap::new(),
            rounds: 0,
        })
    }

    /// Runs faults for a while, then waits until everything is idle, and reports.
    ///
    /// # Errors
    ///
    /// If something failed that no fault explains.
    pub async fn round(&mut self, time: Duration) -> Result<(Report, Tally), Failure> {
        let plan = Plan {
            producers: 8,
            lease: Duration::from_secs(3),
            ..Plan::default()
        };
        self.rounds += 1;
        let round = format!("round-{}", self.rounds);
        // However many faults the earlier rounds had time for.
        self.dice = self.setting.dice(&format!("storm of {round}"));
        let (bus, setting) = (self.bus.clone(), &self.setting);
        let mut shop = Workshop::open_on(bus, setting, &self.server.url(), &plan, &round)?;
        let listeners = vec![
            Listener::start(&self.bus, "news").await?,
            Listener::start(&self.serving, "news").await?,
        ];
        let publisher = Publisher::start(&self.bus, "news", 100);
        let caller = Caller::start(&self.bus, ECHO, 50);

        let (end, mut worst) = (Instant::now() + time, Duration::ZERO);
        let mut slow = None;
        while Instant::now() < end {
            sleep(self.dice.millis(200..=2_000)).await;
            let blow = self.blow();
            self.strike(blow, &mut shop).await?;
            let after = shop.recovery(now()).await?;
            if after > RECOVERY {
                slow = Some(format!("took {after:?} to recover from: {blow}"));
            }
            worst = worst.max(after);
        }

        let (outcomes, heard) = publisher.finish(listeners).await?;
        let memory = shop.memory_of_consumers();
        let (mut report, tally) = shop.close().await?;
        caller.finish(&mut report).await?;
        for heard in &heard {
            judge(&mut report, &outcomes, heard);
        }
        report.recovered(worst);
        report.demand(slow.is_none(), || slow.unwrap_or_default());
        report.memory = Some(memory);
        Ok((report, tally))
    }

    /// Returns how often each fault happened.
    pub fn blows(&self) -> BTreeMap<String, u32> {
        let named = |(blow, count): (&Blow, &u32)| (blow.to_string(), *count);
        self.blows.iter().map(named).collect()
    }

    /// Chooses the next fault: the short ones often, the long ones rarely.
    fn blow(&mut self) -> Blow {
        match self.dice.within(1..=100) {
            1..=35 => Blow::KilledConsumer,
            36..=60 => Blow::KilledConnections,
            61..=70 => Blow::CutProxy,
            71..=85 => Blow::KilledServer,
            86..=96 => Blow::StoppedServer,
            _ => Blow::LongOutage,
        }
    }

    /// Returns when it is over, except for its consequences.
    async fn strike(&mut self, blow: Blow, shop: &mut Workshop) -> Outcome {
        *self.blows.entry(blow).or_default() += 1;
        match blow {
            Blow::KilledConsumer => shop.kill_a_consumer().await,
            Blow::KilledConnections => self.server.cut_connections().await,
            Blow::CutProxy => {
                self.proxy.cut().await;
                Ok(())
            }
            Blow::KilledServer => self.outage(0..=2_000).await,
            Blow::LongOutage => self.outage(5_000..=12_000).await,
            Blow::StoppedServer => {
                self.server.stop().await?;
                sleep(self.dice.millis(100..=8_000)).await;
                self.server.resume().await
            }
        }
    }

    async fn outage(&mut self, millis: std::ops::RangeInclusive<u64>) -> Outcome {
        self.server.kill().await?;
        sleep(self.dice.millis(millis)).await;
        self.server.start_again().await?;
        self.server.ready().await?;
        Ok(())
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KilledConsumer => "killed consumer",
            Self::KilledConnections => "killed connections",
            Self::CutProxy => "cut proxy",
            Self::KilledServer => "killed server",
            Self::StoppedServer => "stopped server",
            Self::LongOutage => "long outage",
        })
    }
}
