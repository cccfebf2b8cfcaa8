//! F1: consumer processes are killed by signal 9, each in the middle of its work on a message.
//!
//! The messages of a killed process come back when their leases end, and another consumer processes
//! them: nothing is lost. A process that is killed after the work and before the ack leaves a
//! duplicate. A kill can do no more than that.

use std::time::Duration;

use pymq_core::Bus;
use tokio::time::{sleep, timeout};

use super::consumer::{Consumer, Order};
use super::ledger::{Job, Ledger};
use super::producers::{Load, Producers};
use super::setting::DURABLE;
use super::tally::Rest;
use super::{Dice, Report, Setting};
use crate::{Failure, Outcome};

const QUEUE: &str = "jobs";
const CONSUMERS: u32 = 8;
const KILLS: u32 = 1_000;

/// The lease. The messages of a killed process are back when it is over, and at most this much
/// later.
const LEASE: Duration = Duration::from_millis(500);
const REDELIVERY: Duration = Duration::from_secs(5);

/// The work on a message takes up to this many milliseconds. A kill comes within the same time.
const WORK: u64 = 20;

/// The time limit until everything is processed after the kills.
const DRAIN: Duration = Duration::from_secs(30);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&DURABLE).await?;
    let bus = setting.bus(server.url().parse()?).await?;
    let order = Order {
        url: server.url(),
        queue: QUEUE.to_owned(),
        lease: LEASE,
        work: (0, WORK),
        tasks: 1,
        announces: true,
    };
    let load = Load {
        queue: QUEUE.to_owned(),
        producers: 4,
        per_second: 100,
    };

    let ledger = setting.ledger(QUEUE)?;
    let producers = Producers::start(&ledger, &bus, &load)?;
    let slots = (0..CONSUMERS).map(|slot| kill_in_turn(&setting, &ledger, &order, slot));
    futures_util::future::try_join_all(slots).await?;
    producers.finish().await?;
    let survivors = (0..CONSUMERS).map(|slot| {
        let mut dice = setting.dice(&format!("survivor {slot}"));
        let order = Order {
            announces: false,
            ..order.clone()
        };
        Consumer::start(&ledger, &order, setting.breaks(), &mut dice)
    });
    let survivors: Vec<_> = survivors.collect::<Result<_, _>>()?;
    let is_drained = timeout(DRAIN, drained(&bus)).await.is_ok();
    for survivor in survivors {
        survivor.finish().await?;
    }

    let rest = Rest::of(&**bus.provider()?, QUEUE).await?;
    let tally = ledger.tally()?;
    let mut report = Report::of(&tally, &rest);
    let redelivery = tally.worst_redelivery();
    report.recovered(redelivery);
    report.demand(redelivery <= LEASE + REDELIVERY, || {
        format!("a message was redelivered after {redelivery:?}")
    });
    report.figure(format!("{KILLS} kills"));
    report.figure(format!("{} acks too late or unknown", tally.open_acks()));
    report.demand(is_drained, || {
        format!("not all was worked on within {DRAIN:?}")
    });
    let allowed = u64::from(KILLS) + tally.open_acks();
    report.demand(tally.duplicates() <= allowed, || {
        format!("{} duplicates of {allowed}", tally.duplicates())
    });
    Ok(report)
}

/// Starts a consumer, kills it, and so on. Each task does so for one of the consumers.
async fn kill_in_turn(
    setting: &Setting,
    ledger: &Ledger,
    order: &Order,
    slot: u32,
) -> Result<(), Failure> {
    let mut dice: Dice = setting.dice(&format!("consumer {slot}"));
    for _ in 0..KILLS / CONSUMERS {
        let mut consumer = Consumer::start(ledger, order, setting.breaks(), &mut dice)?;
        // It is killed while it works on its first, second or third message.
        for _ in 0..dice.within(1..=3) {
            consumer.begins().await?;
        }
        sleep(dice.millis(0..=WORK)).await;
        consumer.kill().await?;
    }
    Ok(())
}

/// Waits until nothing is ready, delayed or leased.
async fn drained(bus: &Bus) -> Result<(), Failure> {
    Ok(bus.queue::<Job>(QUEUE).join().await?)
}
