//! The order in which a worker begins items, and how many run at once.

use std::future::ready;
use std::time::Duration;

use pymq_core::ItemMeta;
use tokio::sync::mpsc::unbounded_channel;

use super::gated;
use crate::moment::parked;
use crate::typed::{next, open, recorder};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// One at a time, items begin in the order of the queue, however many are taken at once.
pub async fn one_at_a_time_keeps_order(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let (record, mut arrived) = recorder::<u32>();
    let items: Vec<u32> = (0..300).collect();
    jobs.put_all(&items).await?;

    let _worker = jobs.worker(record).start()?;

    soon("join", jobs.join()).await??;
    for item in items {
        assert_eq!(next(&mut arrived).await?, item);
    }
    Ok(())
}

/// Without a backoff, a failed item goes before all others, including those that were taken with
/// it. If items are given back elsewhere, each item has its attempts one after the other, among
/// those of others.
pub async fn with_no_backoff_a_failed_item_holds_the_line(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(3);
    let (told, mut begun) = unbounded_channel();
    let handler = move |item: u32, meta: ItemMeta| {
        told.send((item, meta.attempt())).ok();
        ready(if item % 10 == 5 { Err("never") } else { Ok(()) })
    };
    jobs.put_all(&(0..100).collect::<Vec<_>>()).await?;

    let _worker = jobs
        .worker(handler)
        .backoff(Duration::ZERO, Duration::ZERO)
        .start()?;

    let mut expected = Vec::new();
    for item in 0..100 {
        let attempts = if item % 10 == 5 { 3 } else { 1 };
        expected.extend((1..=attempts).map(|attempt| (item, attempt)));
    }
    let mut seen = Vec::new();
    for _ in &expected {
        seen.push(next(&mut begun).await?);
    }
    if !bus.provider()?.capabilities().front {
        seen.sort_by_key(|(item, _)| *item);
    }
    assert_eq!(seen, expected);
    soon("join", jobs.join()).await??;
    assert_eq!(jobs.dead_letters().len().await?, 10);
    Ok(())
}

/// As many handlers run at once as configured, and no more.
pub async fn concurrency_is_used_and_kept(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let (handler, mut gate) = gated();
    jobs.put_all(&(0..10).collect::<Vec<_>>()).await?;

    let _worker = jobs.worker(handler).concurrency(4).start()?;

    for _ in 0..4 {
        gate.begun().await?;
    }
    parked().await;
    assert_eq!(gate.try_begun(), None);
    gate.open(1);
    gate.begun().await?;
    parked().await;
    assert_eq!(gate.try_begun(), None);
    gate.open(10);
    until("all are finished", async || gate.finished() == 10).await
}
