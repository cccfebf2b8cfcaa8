//! Leases through a cut of every connection. Every accepted item is processed, and no cut loses it.

use std::collections::BTreeSet;
use std::time::Duration;

use pymq_core::{Bus, Queue};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::disruption::cut;
use crate::wait::{soon, until};
use crate::{Failure, Harness, Outcome};

/// A lease outlives a cut: its holder extends and acks it afterwards, and no other taker got the
/// item.
pub async fn leases_survive_disconnect(h: &dyn Harness) -> Outcome {
    let bus = Bus::new(h.connect().await?);
    let jobs = bus
        .queue::<u32>("jobs")
        .lease_time(Duration::from_secs(600));
    for round in 0..3 {
        until("it is put", async || jobs.put(&round).await.is_ok()).await?;
        let job = soon("lease", jobs.lease()).await??;

        cut(h).await?;

        let longer = Duration::from_secs(1_200);
        until("it is extended", async || job.extend(longer).await.is_ok()).await?;
        assert_eq!((*job, job.attempt()), (round, 1));
        assert!(jobs.try_lease().await?.is_none());
        job.ack().await?;
        assert_eq!(jobs.stats().await?.unfinished(), 0);
    }
    Ok(())
}

/// There are three cuts while four producers put and two consumers work. Every item with a put that
/// returned `Ok` is processed.
pub async fn no_item_lost_under_disruption(h: &dyn Harness) -> Outcome {
    const ITEMS: u32 = 50;
    let (consumer, last) = (Bus::new(h.connect().await?), Bus::new(h.connect().await?));
    let mut producers = JoinSet::new();
    for producer in 0..4 {
        let bus = Bus::new(h.connect().await?);
        producers.spawn(async move {
            let jobs = bus.queue::<u32>("jobs");
            for n in 0..ITEMS {
                let item = producer * ITEMS + n;
                // A put with an unknown outcome is repeated: twice is allowed, never is not.
                until("it is put", async || jobs.put(&item).await.is_ok()).await?;
                sleep(Duration::from_millis(2)).await;
            }
            Ok::<_, Failure>(())
        });
    }
    let mut consumers = JoinSet::new();
    for _ in 0..2 {
        consumers.spawn(work(consumer.queue("jobs")));
    }

    for _ in 0..3 {
        sleep(Duration::from_millis(30)).await;
        cut(h).await?;
    }
    soon("the producers", producers.join_all())
        .await?
        .into_iter()
        .collect::<Outcome>()?;

    let jobs = last.queue::<u32>("jobs");
    until("everything is worked on", async || {
        jobs.stats()
            .await
            .is_ok_and(|stats| stats.unfinished() == 0)
    })
    .await?;
    consumer.queue::<u32>("jobs").close();
    let mut worked = BTreeSet::new();
    for items in soon("the consumers", consumers.join_all()).await? {
        worked.extend(items?);
    }
    assert!(worked.iter().copied().eq(0..4 * ITEMS), "{worked:?}");
    Ok(())
}

/// Takes, records and acks items until the queue is closed. An item that cannot be acked comes back
/// by itself.
async fn work(jobs: Queue<u32>) -> Result<Vec<u32>, Failure> {
    let jobs = jobs
        .lease_time(Duration::from_millis(500))
        .unlimited_attempts();
    let mut worked = Vec::new();
    while let Ok(job) = jobs.lease().await {
        worked.push(*job);
        // After an error the item may be processed twice, which this test allows.
        drop(job.ack().await);
    }
    Ok(worked)
}
