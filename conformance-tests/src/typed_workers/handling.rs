//! What a handler gets, and what its result means.

use std::collections::HashMap;
use std::future::ready;

use pymq_core::{ErrorKind, ItemMeta};
use tokio::sync::mpsc::unbounded_channel;

use crate::typed::{kind, next, open, recorder};
use crate::wait::soon;
use crate::without::{Capability, without};
use crate::{Harness, Outcome};

/// Existing and new items are processed, and are gone when their handler has returned.
pub async fn a_worker_finishes_what_is_there_and_what_comes(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let (record, mut arrived) = recorder::<u32>();
    jobs.put_all(&[1, 2]).await?;

    let worker = jobs.worker(record).start()?;
    assert_eq!(next(&mut arrived).await?, 1);
    assert_eq!(next(&mut arrived).await?, 2);
    open(h).await?.queue::<i32>("jobs").put(&3).await?;
    assert_eq!(next(&mut arrived).await?, 3);

    soon("join", jobs.join()).await??;
    worker.stop().await;
    assert!(jobs.dead_letters().is_empty().await?);
    Ok(())
}

/// A handler that asks for it gets the queue, the attempt and the headers.
pub async fn handlers_are_told_queue_attempt_and_headers(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let (told, mut tellings) = unbounded_channel();
    let handler = move |item: u32, meta: ItemMeta| {
        let tenant = meta.headers().get("tenant").map(str::to_owned);
        told.send((item, meta.queue().to_owned(), meta.attempt(), tenant))
            .ok();
        ready(())
    };
    jobs.header("tenant", "a").put(&1).await?;
    jobs.lease().await?.nack().await?;

    let _worker = jobs.worker(handler).start()?;

    let expected = (1, "jobs".to_owned(), 2, Some("a".to_owned()));
    assert_eq!(next(&mut tellings).await?, expected);
    Ok(())
}

/// Workers of several buses share a queue, and each item is processed once.
pub async fn workers_of_one_queue_share_it(h: &dyn Harness) -> Outcome {
    let putter = open(h).await?;
    let jobs = putter.queue::<u32>("jobs");
    let (record, mut arrived) = recorder::<u32>();
    let record = std::sync::Arc::new(record);
    let mut workers = Vec::new();
    for _ in 0..3 {
        let (bus, record) = (open(h).await?, std::sync::Arc::clone(&record));
        let handler = move |item: u32| record(item);
        workers.push(
            bus.queue::<u32>("jobs")
                .worker(handler)
                .concurrency(4)
                .start()?,
        );
    }

    for batch in 0..20 {
        jobs.put_all(&(batch * 25..batch * 25 + 25).collect::<Vec<_>>())
            .await?;
    }
    soon("join", jobs.join()).await??;

    let mut seen = HashMap::<u32, u32>::new();
    while let Ok(item) = arrived.try_recv() {
        *seen.entry(item).or_default() += 1;
    }
    assert_eq!(seen.len(), 500);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    Ok(())
}

/// A worker is refused where it could not keep its promise: without leases, on a closed bus, under
/// an invalid name.
pub async fn a_worker_is_refused_where_it_cannot_work(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let bare = pymq_core::Bus::new(without(Capability::Leases, h.connect().await?));
    let work = async |_: u32| {};

    let without_leases = bare.queue::<u32>("jobs").worker(work).start();
    let bad_name = bus.queue("").worker(work).start();
    bus.close().await?;
    let closed = bus.queue::<u32>("jobs").worker(work).start();

    assert_eq!(kind(&without_leases), Some(ErrorKind::Unsupported));
    assert_eq!(kind(&bad_name), Some(ErrorKind::InvalidName));
    assert_eq!(kind(&closed), Some(ErrorKind::Closed));
    Ok(())
}
