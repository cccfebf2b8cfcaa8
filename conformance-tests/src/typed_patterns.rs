//! Handlers and streams of patterns get the concrete topic.

use std::sync::Arc;

use pymq_core::{Meta, Received};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;

use crate::typed::{next, open};
use crate::wait::{WAIT_LIMIT, soon, until};
use crate::{Harness, Outcome};

/// A handler of a pattern gets the concrete topic.
pub async fn pattern_handlers_see_the_concrete_topic(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (seen, mut arrived) = unbounded_channel();
    let handler = move |order: u64, meta: Meta| {
        let sent = seen.send((order, meta.topic().to_owned()));
        async move { sent }
    };
    let _guard = bus.pattern("orders.*").subscribe(handler).await?;

    bus.topic("orders.placed").publish(&1).await?;
    bus.topic("others").publish(&2).await?;
    bus.topic("orders.paid").publish(&3).await?;

    assert_eq!(next(&mut arrived).await?, (1, "orders.placed".to_owned()));
    assert_eq!(next(&mut arrived).await?, (3, "orders.paid".to_owned()));
    Ok(())
}

/// A stream of a pattern yields the concrete topic with each event.
pub async fn pattern_streams_yield_the_concrete_topic(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut orders = bus.pattern("orders.*").stream::<u64>().await?;

    bus.topic("orders.placed").publish(&1).await?;

    match soon("the event", orders.recv()).await?? {
        Received::Event(order, meta) => assert_eq!((order, meta.topic()), (1, "orders.placed")),
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}

/// A shutdown lets the handler of a pattern finish the events that have arrived, also several at
/// once.
pub async fn shutdown_drains_patterns(h: &dyn Harness) -> Outcome {
    const LAST: u64 = 30;
    let (bus, sender) = (open(h).await?, open(h).await?);
    let (gate, (done, mut arrived)) = (Arc::new(Semaphore::new(0)), unbounded_channel());
    let handler = {
        let gate = Arc::clone(&gate);
        move |n: u64| {
            let (gate, done) = (Arc::clone(&gate), done.clone());
            async move {
                drop(gate.acquire().await);
                done.send(n).ok();
            }
        }
    };
    let pattern = bus.pattern("num*").concurrency(4);
    pattern.subscribe(handler).await?.keep();
    // A publish may return before its event has arrived. When the last one is here, so are the
    // others.
    let mut fence = bus.pattern("num*").stream::<u64>().await?;
    for n in 0..=LAST {
        sender.topic("numbers").publish(&n).await?;
    }
    while soon("the last event", fence.recv()).await??.into_event() != Some(LAST) {}

    let shutdown = tokio::spawn({
        let bus = bus.clone();
        async move { bus.shutdown(WAIT_LIMIT * 6).await }
    });
    until("the shutdown has begun", async || bus.is_closed()).await?;
    gate.add_permits(Semaphore::MAX_PERMITS);
    soon("the shutdown", shutdown).await???;

    let mut seen: Vec<u64> = std::iter::from_fn(|| arrived.try_recv().ok()).collect();
    seen.retain(|&n| n != LAST);
    seen.sort_unstable();
    assert_eq!(seen, (0..LAST).collect::<Vec<_>>());
    Ok(())
}
