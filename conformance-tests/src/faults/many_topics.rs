//! F11: one process subscribes to 10,000 topics. One event is published on each, and all are
//! unsubscribed.
//!
//! Each event is received once, a topic costs little memory, and nothing stays subscribed.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use pymq_core::{Bus, Events};
use tokio::time::{Instant, timeout};

use super::{Report, Setting, memory};
use crate::{Failure, Outcome};

const TOPICS: usize = 10_000;

/// How many operations are in flight at a time.
const AT_ONCE: usize = 256;

/// The bytes that a topic may cost.
const MEMORY: u64 = 2_048;

const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&[]).await?;
    let (publisher, subscriber) = (
        setting.bus(server.url().parse()?).await?,
        setting.bus(server.url().parse()?).await?,
    );
    // Connected and subscribed once before the measurement.
    let mut marks = subscriber.topic("marks").stream::<usize>().await?;
    let rest = memory::resident(None)?;

    let start = Instant::now();
    let mut topics: Vec<Events<usize>> = stream::iter(0..TOPICS)
        .map(|number| subscribe(&subscriber, number))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let joined = start.elapsed();
    let a_topic = memory::resident(None)?.saturating_sub(rest) / u64::try_from(TOPICS)?;
    let reached = publish(&publisher, "first round").await?;
    let mut report = Report {
        sent: u64::try_from(TOPICS)?,
        accepted: reached,
        ..Report::default()
    };
    // A subscriber that receives this has received all that was published before it.
    publisher.topic("marks").publish(&1).await?;
    timeout(WAIT_LIMIT, marks.recv()).await??;
    for (number, events) in topics.iter_mut().enumerate() {
        let heard = events.next().await.ok_or("a stream ended")??.into_event();
        report.worked += u64::from(heard == Some(number));
        // Nothing else is subscribed.
        let more = std::pin::pin!(events.recv());
        if let std::task::Poll::Ready(more) = futures_util::poll!(more) {
            more?;
            report.duplicates += 1;
        }
    }

    let before = Instant::now();
    stream::iter(topics)
        .for_each_concurrent(AT_ONCE, Events::unsubscribe)
        .await;
    let left_after = before.elapsed();
    let left = publish(&publisher, "second round").await?;
    let (worked, duplicates) = (report.worked, report.duplicates);
    report.figure(format!(
        "{TOPICS} topics subscribed in {} ms, unsubscribed in {} ms, {a_topic} bytes a topic",
        joined.as_millis(),
        left_after.as_millis()
    ));
    report.demand(worked == report.sent && reached == report.sent, || {
        format!("{reached} events reached a subscriber, {worked} were received")
    });
    report.demand(duplicates == 0, || {
        format!("{duplicates} events came twice")
    });
    report.demand(left == 0, || format!("{left} topics are still subscribed"));
    report.demand(a_topic <= MEMORY, || {
        format!("a topic costs {a_topic} bytes")
    });
    Ok(report)
}

async fn subscribe(bus: &Bus, number: usize) -> pymq_core::Result<Events<usize>> {
    bus.topic(format!("topic-{number}")).stream().await
}

/// Publishes one event on each topic, and returns how many subscribers it reached.
async fn publish(bus: &Bus, round: &str) -> Result<u64, Failure> {
    let reached: usize = stream::iter(0..TOPICS)
        .map(|number| async move { bus.topic(format!("topic-{number}")).publish(&number).await })
        .buffer_unordered(AT_ONCE)
        .try_fold(0, |sum, reached| async move { Ok(sum + reached) })
        .await
        .map_err(|error| format!("{round}: {error}"))?;
    Ok(u64::try_from(reached)?)
}
