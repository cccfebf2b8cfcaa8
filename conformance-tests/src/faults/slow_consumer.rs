//! F8: 200 MB are published to a topic, and one subscriber does not read.
//!
//! Its buffer is bounded, missed messages are counted exactly, and no other subscriber notices.

use std::time::Duration;

use pymq_core::{Bus, Events, Received};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::report::mebibytes;
use super::{Report, Setting, memory};
use crate::{Failure, Outcome};

const TOPIC: &str = "firehose";
const EVENTS: u32 = 3_200;

/// The size of an event, and how many make 200 MB.
const SIZE: usize = 64 << 10;

/// The limit for the growth of the process.
const MEMORY: u64 = 64 << 20;

/// How far the readers may be behind: less than their buffers hold.
const AHEAD: u32 = 64;

const WAIT_LIMIT: Duration = Duration::from_secs(20);

#[derive(Deserialize, Serialize)]
struct Splash {
    number: u32,
    filling: String,
}

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&[]).await?;
    let connect = || async { setting.bus(server.url().parse()?).await };
    let (publisher, shared, other) = (connect().await?, connect().await?, connect().await?);
    let mut sleeper = shared.topic(TOPIC).stream::<Splash>().await?;
    // One beside it on the same connection, and one elsewhere.
    let readers = [Reader::start(&shared).await?, Reader::start(&other).await?];

    let rest = memory::resident(None)?;
    let start = Instant::now();
    let most = publish(&publisher, &readers).await?;
    let took = start.elapsed();

    let mut report = Report {
        sent: EVENTS.into(),
        accepted: EVENTS.into(),
        memory: Some(most.saturating_sub(rest)),
        ..Report::default()
    };
    for reader in readers {
        let heard = timeout(WAIT_LIMIT, reader.task).await???;
        report.worked += u64::from(heard);
        report.demand(heard == EVENTS, || {
            format!("a reader heard {heard} of {EVENTS} events in order, and then a gap")
        });
    }
    let (missed, kept) = wake(&mut sleeper, &mut report).await?;
    report.figure(format!(
        "{} MB in {:.1} s, the sleeper missed {missed} and then had {kept}",
        u64::try_from(SIZE)? * u64::from(EVENTS) / 1_000_000,
        took.as_secs_f64()
    ));
    let grown = most.saturating_sub(rest);
    report.demand(grown <= MEMORY, || {
        format!("the process grew by {:.1} MiB", mebibytes(grown))
    });
    Ok(report)
}

/// Publishes all, as fast as the readers read. Returns the most memory that this process had.
async fn publish(bus: &Bus, readers: &[Reader; 2]) -> Result<u64, Failure> {
    let topic = bus.topic(TOPIC);
    let mut read = readers.each_ref().map(|reader| reader.read.clone());
    let mut most = 0;
    for number in 0..EVENTS {
        for read in &mut read {
            let is_near = |read: &u32| read + AHEAD >= number;
            // A reader that has ended returns its error in the end.
            drop(timeout(WAIT_LIMIT, read.wait_for(is_near)).await?);
        }
        let filling = "x".repeat(SIZE);
        let reached = topic.publish(&Splash { number, filling }).await?;
        if reached != 2 {
            return Err(format!("event {number} reached {reached} of 2 connections").into());
        }
        if number % 16 == 0 {
            most = most.max(memory::resident(None)?);
        }
    }
    Ok(most.max(memory::resident(None)?))
}

/// Reads on, and asserts that the number of missed events is exact. Returns it, and how many were
/// kept.
async fn wake(sleeper: &mut Events<Splash>, report: &mut Report) -> Result<(u64, u32), Failure> {
    let (mut missed, mut kept) = (0, 0);
    let mut last = None;
    while last.is_none_or(|last| last + 1 < EVENTS) {
        match timeout(WAIT_LIMIT, sleeper.recv()).await?? {
            Received::Lagged(Some(lag)) => missed += lag,
            Received::Event(event, _) => {
                let before = missed + u64::from(kept);
                report.demand(u64::from(event.number) == before, || {
                    format!(
                        "event {} after {missed} missed and {kept} read",
                        event.number
                    )
                });
                kept += 1;
                last = Some(event.number);
            }
            other => {
                let is_event = other.into_event().is_some();
                return Err(format!("a gap of unknown length, or new: {is_event}").into());
            }
        }
    }
    report.demand(missed > 0, || "the sleeper missed nothing".to_owned());
    Ok((missed, kept))
}

/// A subscriber that reads.
struct Reader {
    task: JoinHandle<Result<u32, Failure>>,
    read: watch::Receiver<u32>,
}

impl Reader {
    /// Subscribes. The task returns how many events came in order before the first gap.
    async fn start(bus: &Bus) -> Result<Self, Failure> {
        let mut events = bus.topic(TOPIC).stream::<Splash>().await?;
        let (tell, read) = watch::channel(0);
        let task = tokio::spawn(async move {
            for number in 0..EVENTS {
                match events.recv().await?.into_event() {
                    Some(event) if event.number == number && event.filling.len() == SIZE => {}
                    _ => return Ok(number),
                }
                tell.send_replace(number);
            }
            Ok(EVENTS)
        });
        Ok(Self { task, read })
    }
}
