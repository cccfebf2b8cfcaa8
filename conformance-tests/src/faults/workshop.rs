//! A queue in use: producers in this process, consumers in processes of their own, and the ledger
//! of both.

use std::time::Duration;

use pymq_core::Bus;
use pymq_provider_redis::RedisConfig;
use tokio::time::timeout;

use super::consumer::{Consumer, Order};
use super::ledger::{Job, Ledger};
use super::producers::{Load, Producers};
use super::tally::{Rest, Tally};
use super::{Dice, Report, Rule, Setting, memory};
use crate::Failure;

/// The time after which a recovery counts as failed.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// The time limit for the remaining work after the last fault.
const DRAIN: Duration = Duration::from_secs(30);

/// How much a workshop does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The queue.
    pub queue: String,
    /// How many tasks put.
    pub producers: u32,
    /// How many messages they put in a second.
    pub per_second: u32,
    /// How many processes work, each on four messages at a time.
    pub consumers: u32,
    /// The duration of their leases.
    pub lease: Duration,
    /// The time limit of a command of the producers.
    pub op_timeout: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            queue: "jobs".to_owned(),
            producers: 4,
            per_second: 400,
            consumers: 4,
            lease: Duration::from_secs(2),
            op_timeout: Duration::from_secs(5),
        }
    }
}

/// What is known of a queue at the end.
#[derive(Debug)]
pub struct Finished {
    /// The journals.
    pub tally: Tally,
    /// What is left.
    pub rest: Rest,
    /// Whether the time was enough for the remaining messages.
    pub is_drained: bool,
}

/// The running queue.
#[derive(Debug)]
pub struct Workshop {
    /// The bus of the producers.
    pub bus: Bus,
    consumers: Vec<Consumer>,
    order: Order,
    breaks: Option<Rule>,
    dice: Dice,
    /// How many consumers were killed.
    kills: u64,
    ledger: Ledger,
    tally: Tally,
    producers: Producers,
}

impl Workshop {
    /// Starts the work on a bus of its own.
    pub async fn open(setting: &Setting, url: &str, plan: &Plan) -> Result<Self, Failure> {
        let config: RedisConfig = url.parse()?;
        let bus = setting.bus(config.op_timeout(plan.op_timeout)).await?;
        Self::open_on(bus, setting, url, plan, &plan.queue)
    }

    /// Starts the work on an existing bus. `round` is the name of the ledger.
    pub fn open_on(
        bus: Bus,
        setting: &Setting,
        url: &str,
        plan: &Plan,
        round: &str,
    ) -> Result<Self, Failure> {
        let ledger = setting.ledger(round)?;
        let load = Load {
            queue: plan.queue.clone(),
            producers: plan.producers,
            per_second: plan.per_second,
        };
        let mut shop = Self {
            consumers: Vec::new(),
            order: Order {
                url: url.to_owned(),
                queue: plan.queue.clone(),
                lease: plan.lease,
                work: (0, 5),
                tasks: 4,
                announces: false,
            },
            breaks: setting.breaks(),
            dice: setting.dice(&format!("consumers of {round}")),
            kills: 0,
            tally: Tally::default(),
            producers: Producers::start(&ledger, &bus, &load)?,
            bus,
            ledger,
        };
        for _ in 0..plan.consumers {
            shop.hire(url.to_owned())?;
        }
        Ok(shop)
    }

    /// Starts one more consumer, which connects to this address.
    pub fn hire(&mut self, url: String) -> Result<(), Failure> {
        let order = Order {
            url,
            ..self.order.clone()
        };
        let consumer = Consumer::start(&self.ledger, &order, self.breaks, &mut self.dice)?;
        self.consumers.push(consumer);
        Ok(())
    }

    /// Kills a consumer and starts another one. It may hold as many messages as it has tasks, and
    /// each may be done and not acked.
    ///
    /// # Errors
    ///
    /// If it had ended by itself.
    pub async fn kill_a_consumer(&mut self) -> Result<(), Failure> {
        let victim = self.dice.roll() % u64::try_from(self.consumers.len())?;
        let victim = self.consumers.swap_remove(usize::try_from(victim)?);
        victim.kill().await?;
        self.kills += u64::from(self.order.tasks);
        self.hire(self.order.url.clone())
    }

    /// Returns the most memory that a consumer has.
    pub fn memory_of_consumers(&self) -> u64 {
        let ids = self.consumers.iter().filter_map(Consumer::id);
        ids.filter_map(|id| memory::resident(Some(id)).ok())
            .max()
            .unwrap_or(0)
    }

    /// Waits until a put was accepted and work was done after a moment. Returns how long after it.
    ///
    /// # Errors
    ///
    /// If that does not happen for a long time.
    pub async fn recovery(&mut self, from: Duration) -> Result<Duration, Failure> {
        self.tally
            .await_recovery(&self.ledger, from, WAIT_LIMIT)
            .await
    }

    /// Stops the producers, waits until the remaining messages are processed, and reports.
    ///
    /// # Errors
    ///
    /// If a producer or a consumer has failed.
    pub async fn close(self) -> Result<(Report, Tally), Failure> {
        let kills = self.kills;
        let Finished {
            tally,
            rest,
            is_drained,
        } = self.finish().await?;
        let mut report = Report::of(&tally, &rest);
        report.demand(is_drained, || {
            format!("not all was worked on within {DRAIN:?}")
        });
        let allowed = kills + tally.open_acks();
        report.figure(format!("{} acks too late or unknown", tally.open_acks()));
        report.demand(tally.duplicates() <= allowed, || {
            format!("{} duplicates, {allowed} explained", tally.duplicates())
        });
        Ok((report, tally))
    }

    /// Stops the producers and waits until the remaining messages are processed.
    ///
    /// # Errors
    ///
    /// If a producer or a consumer has failed.
    pub async fn finish(mut self) -> Result<Finished, Failure> {
        self.producers.finish().await?;
        let drained = self.bus.queue::<Job>(&self.order.queue);
        let is_drained = matches!(timeout(DRAIN, drained.join()).await, Ok(Ok(())));
        for consumer in self.consumers {
            consumer.finish().await?;
        }
        self.tally.read_on(&self.ledger)?;

        let rest = Rest::of(&**self.bus.provider()?, &self.order.queue).await?;
        self.ledger.remove()?;
        Ok(Finished {
            tally: self.tally,
            rest,
            is_drained,
        })
    }
}
