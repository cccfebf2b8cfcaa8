//! F4: the server closes every connection, 200 times in 10 s, at 1,000 messages a second.
//!
//! Leased messages are redelivered, missed events are announced, and a plain `get` loses only the
//! messages in the answer that was cut.

use std::time::Duration;

use pymq_core::Bus;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ledger::{Entry, Job, Ledger};
use super::producers::{Load, Producers};
use super::setting::DURABLE;
use super::tally::{Rest, Tally};
use super::topic::{Heard, Listener, Publisher, judge};
use super::workshop::{Plan, Workshop};
use super::{Report, Setting};
use crate::redis::Controlled;
use crate::{Failure, Outcome};

const KILLS: u32 = 200;
const TIME: Duration = Duration::from_secs(10);

/// The queue that is taken from without leases.
const PLAIN: &str = "plain";

/// The time limit, in 90 % of the cases, until a topic is received again after its connection was
/// cut. A young connection that is cut is dialed again after up to 50 ms.
const BACK: Duration = Duration::from_millis(100);

/// The time limit on a busy machine.
const AT_MOST: Duration = Duration::from_secs(1);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&DURABLE).await?;
    let plan = Plan {
        producers: 8,
        per_second: 500,
        consumers: 2,
        ..Plan::default()
    };
    let shop = Workshop::open(&setting, &server.url(), &plan).await?;
    let gets = Plain::start(&setting, &server).await?;
    let listener = Listener::start(&shop.bus, "news").await?;
    let publisher = Publisher::start(&shop.bus, "news", 250);

    let kills = cut(&setting, &server).await?;

    let (outcomes, heard) = publisher.finish(vec![listener]).await?;
    let heard = heard.concat();
    let (mut report, _) = shop.close().await?;
    judge(&mut report, &outcomes, &heard);
    gets.finish(&mut report, kills.len()).await?;
    let silences = silences(&kills, &heard);
    let usual = silences.get(silences.len() * 9 / 10).copied();
    let (usual, worst) = (usual.unwrap_or_default(), silences.last().copied());
    let worst = worst.ok_or("no kill was followed by an event before the next")?;
    report.figure(format!(
        "{} kills, {} of them measured, 90 % back within {} ms",
        kills.len(),
        silences.len(),
        usual.as_millis()
    ));
    report.recovered(worst);
    report.demand(usual <= BACK && worst <= AT_MOST, || {
        format!("a topic was back after {usual:?}, and {worst:?} at worst")
    });
    Ok(report)
}

/// Cuts all connections repeatedly, and returns the times.
async fn cut(setting: &Setting, server: &Controlled) -> Result<Vec<Instant>, Failure> {
    let mut dice = setting.dice("kills");
    let last = u64::try_from(TIME.as_millis())?;
    let mut times: Vec<_> = (0..KILLS).map(|_| dice.millis(0..=last)).collect();
    times.sort_unstable();
    let (start, mut kills) = (Instant::now(), Vec::new());
    for time in times {
        sleep_until(start + time).await;
        server.cut_connections().await?;
        kills.push(Instant::now());
    }
    Ok(kills)
}

/// Returns the times from each cut until the first event on a new connection, in ascending order. A
/// cut with another one before that event is left out.
fn silences(kills: &[Instant], heard: &[Heard]) -> Vec<Duration> {
    let mut silences = Vec::new();
    for (at, kill) in kills.iter().enumerate() {
        let mut after = heard.iter().filter(|heard| heard.at >= *kill);
        let noticed = after.find(|heard| heard.seq.is_none());
        let Some(back) = noticed.and_then(|_| after.find(|heard| heard.seq.is_some())) else {
            continue;
        };
        if kills.get(at + 1).is_none_or(|next| back.at < *next) {
            silences.push(back.at - *kill);
        }
    }
    silences.sort_unstable();
    silences
}

/// A queue that is taken from by plain `get`.
struct Plain {
    bus: Bus,
    ledger: Ledger,
    producers: Producers,
    taker: JoinHandle<Result<(), Failure>>,
}

impl Plain {
    async fn start(setting: &Setting, server: &Controlled) -> Result<Self, Failure> {
        let bus = setting.bus(server.url().parse()?).await?;
        let ledger = setting.ledger(PLAIN)?;
        let load = Load {
            queue: PLAIN.to_owned(),
            producers: 4,
            per_second: 250,
        };
        let producers = Producers::start(&ledger, &bus, &load)?;
        // A connection of its own, so that a cut loses at most the answer to one take.
        let taking = setting.bus(server.url().parse()?).await?;
        let journal = ledger.journal("taker")?;
        let taker = tokio::spawn(async move {
            let queue = taking.queue::<Job>(PLAIN);
            loop {
                journal.write(queue.get().await?, Entry::Worked(1))?;
            }
        });
        Ok(Self {
            bus,
            ledger,
            producers,
            taker,
        })
    }

    /// Asserts that no more takes were lost than connections were cut.
    async fn finish(self, report: &mut Report, kills: usize) -> Outcome {
        self.producers.finish().await?;
        // The only taker takes in order. Once it has recorded this message, it has recorded all
        // others.
        let (journal, end) = (
            self.ledger.journal("end")?,
            Job {
                producer: u32::MAX,
                seq: 0,
            },
        );
        journal.write(end, Entry::Sent)?;
        self.bus.queue::<Job>(PLAIN).put(&end).await?;
        journal.write(end, Entry::Accepted)?;
        let mut tally = Tally::default();
        let taken = async {
            while !tally.has_worked(end) && !self.taker.is_finished() {
                sleep(Duration::from_millis(10)).await;
                tally.read_on(&self.ledger)?;
            }
            Ok::<(), Failure>(())
        };
        timeout(Duration::from_secs(30), taken).await??;
        if self.taker.is_finished() {
            return self.taker.await?;
        }
        self.taker.abort();
        let rest = Rest::of(&**self.bus.provider()?, PLAIN).await?;
        let (lost, doubled) = (tally.lost(&rest), tally.doubled());
        report.figure(format!(
            "plain get: {} accepted, {lost} lost",
            tally.accepted()
        ));
        report.demand(usize::try_from(lost)? <= kills, || {
            format!("{lost} lost by plain get in {kills} cuts")
        });
        report.demand(doubled == 0 && tally.ghosts() == 0, || {
            format!(
                "{doubled} taken twice, {} refused and taken",
                tally.ghosts()
            )
        });
        Ok(())
    }
}
