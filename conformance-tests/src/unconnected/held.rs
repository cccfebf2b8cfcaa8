//! Before `attach`: registrations are held, and every other operation is an error.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::{Filter, Provider, Subscription};
use pymq_core::{Bus, Error, ErrorKind, Meta, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::unbounded_channel;

use crate::traffic::assert_reached;
use crate::twist::{Twist, twisted};
use crate::typed::{kind, next, recorder};
use crate::wait::WAIT_LIMIT;
use crate::{Harness, Outcome};

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Rung {
    n: u64,
}
pymq_core::event!(Rung);

/// A publish before `attach` is an error, and not silently lost.
pub async fn publish_before_attach_is_not_initialized(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();

    let kinds = [
        kind(&bus.publish(&Rung { n: 1 }).await),
        kind(&bus.header("a", "b").publish(&Rung { n: 1 }).await),
        kind(&bus.topic("t").publish(&1).await),
        kind(&bus.topic("t").header("a", "b").publish(&1).await),
        kind(&bus.topic("t").stream::<u64>().await),
        kind(&bus.call_all::<()>("f", ()).await),
        kind(&bus.ping(WAIT_LIMIT).await),
        kind(&bus.provider()),
    ];

    assert_eq!(kinds, [Some(ErrorKind::NotInitialized); 8]);
    bus.attach(h.connect().await?).await?;
    bus.publish(&Rung { n: 1 }).await?;
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// Queues and stubs of a bus that is not connected fail, and work once it is.
pub async fn queue_and_stub_before_attach_are_lazy(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();
    let (queue, stub) = (bus.queue::<u64>("q"), bus.stub::<(), u64>("f"));
    bus.expose("f", async || 7_u64).await?.keep();

    let kinds = [
        kind(&queue.put(&1).await),
        kind(&queue.get().await),
        kind(&queue.try_lease().await),
        kind(&queue.len().await),
        kind(&queue.join().await),
        kind(&stub.call(()).await),
    ];

    assert_eq!(kinds, [Some(ErrorKind::NotInitialized); 6]);
    bus.attach(h.connect().await?).await?;
    queue.put(&1).await?;
    assert_eq!(queue.get().await?, 1);
    assert_eq!(stub.call(()).await?, 7);
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// A worker that is started before the bus is connected works from then on. If it is stopped
/// before, it never works.
pub async fn worker_before_attach_is_replayed(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();
    let (record, mut done) = recorder::<u64>();
    let worker = bus.queue::<u64>("jobs").worker(record).start()?;
    let (record, mut never) = recorder::<u64>();
    let stopped = bus.queue::<u64>("others").worker(record).start()?;
    stopped.stop().await;

    let provider = h.connect().await?;
    let has_leases = provider.capabilities().leases;
    let attached = bus.attach(provider).await;

    if !has_leases {
        assert_eq!(kind(&attached), Some(ErrorKind::Unsupported));
        drop(worker);
        return Ok(bus.attach(h.connect().await?).await?);
    }
    attached?;
    bus.queue::<i32>("jobs").put(&7).await?;
    assert_eq!(next(&mut done).await?, 7);
    bus.queue::<i32>("others").put(&8).await?;
    worker.stop().await;
    assert_eq!(bus.queue::<u64>("others").get().await?, 8);
    assert!(never.try_recv().is_err());
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// A topic that is named before `attach` works after it.
pub async fn topic_before_attach_is_lazy(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();
    let topic = bus.topic("numbers");
    let pattern = bus.pattern("num*");
    bus.attach(h.connect().await?).await?;

    let (record, mut arrived) = recorder::<u64>();
    let _guard = topic.subscribe(record).await?;
    topic.publish(&7).await?;

    assert_eq!(next(&mut arrived).await?, 7);
    assert_eq!(pattern.glob(), "num*");
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// Handlers that are subscribed before `attach`, by type and by name, are live when it returns.
pub async fn subscribe_before_attach_is_replayed(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();
    let (record, mut typed) = recorder::<Rung>();
    let _by_type = bus.subscribe(record).await?;
    let (seen, mut named) = unbounded_channel();
    let handler = move |n: u64, meta: Meta| {
        let sent = seen.send((n, meta.topic().to_owned()));
        async move { sent }
    };
    bus.topic("numbers")
        .concurrency(2)
        .subscribe(handler)
        .await?
        .keep();

    bus.attach(h.connect().await?).await?;

    assert_reached(bus.provider()?, bus.publish(&Rung { n: 1 }).await?, 1);
    assert_reached(bus.provider()?, bus.topic("numbers").publish(&2).await?, 1);
    assert_eq!(next(&mut typed).await?, Rung { n: 1 });
    assert_eq!(next(&mut named).await?, (2, "numbers".to_owned()));
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// If a guard is dropped or unsubscribed before `attach`, nothing is left for it.
pub async fn unsubscribe_before_attach_cancels(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();
    let alive = Arc::new(());
    for is_dropped in [true, false] {
        let held = Arc::clone(&alive);
        let handler = move |_: u64| {
            let held = Arc::clone(&held);
            async move { drop(held) }
        };
        let guard = bus.topic("numbers").subscribe(handler).await?;
        if is_dropped {
            drop(guard);
        } else {
            guard.stop().await;
        }
    }
    assert_eq!(
        Arc::strong_count(&alive),
        1,
        "the handlers are not even held"
    );

    bus.attach(h.connect().await?).await?;

    assert_eq!(bus.topic("numbers").publish(&1).await?, 0);
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// A guard from before `attach` is valid after it.
pub async fn a_guard_from_before_attach_unsubscribes_after_it(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();
    let guard = bus.topic("numbers").subscribe(async |_: u64| {}).await?;
    bus.attach(h.connect().await?).await?;
    assert_reached(bus.provider()?, bus.topic("numbers").publish(&1).await?, 1);

    guard.stop().await;

    assert_eq!(bus.topic("numbers").publish(&2).await?, 0);
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// A function that is exposed before `attach` can be called when it returns. A name is held once.
pub async fn expose_before_attach_is_replayed(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();
    let _guard = bus.expose("double", async |n: u64| n * 2).await?;
    let twice = bus.expose("double", async |n: u64| n * 3).await;
    assert_eq!(kind(&twice), Some(ErrorKind::AlreadyExposed));

    bus.attach(h.connect().await?).await?;

    assert_eq!(bus.stub::<(u64,), u64>("double").call((4,)).await?, 8);
    let twice = bus.expose("double", async |n: u64| n * 3).await;
    assert_eq!(kind(&twice), Some(ErrorKind::AlreadyExposed));
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// A function that is unexposed before `attach` is not exposed by it, and its name is free.
pub async fn unexpose_before_attach_cancels(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();
    drop(bus.expose("a", async || 1).await?);
    bus.expose("b", async || 1).await?.stop().await;
    let _again = bus.expose("a", async || 2).await?;

    bus.attach(h.connect().await?).await?;

    assert_eq!(bus.stub::<(), u64>("a").call(()).await?, 2);
    let missing = bus.stub::<(), u64>("b").call(()).await;
    assert_eq!(kind(&missing), Some(ErrorKind::NoSuchRemote));
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// Invalid names are refused when they are given, not when the bus is connected.
pub async fn bad_names_are_refused_before_attach(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();

    let subscribed = bus.topic("").subscribe(async |_: u64| {}).await;
    let exposed = bus.expose("a\nb", async || {}).await;

    assert_eq!(kind(&subscribed), Some(ErrorKind::InvalidName));
    assert_eq!(kind(&exposed), Some(ErrorKind::InvalidName));
    bus.attach(h.connect().await?).await?;
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// When `attach` fails, the bus is not connected, nothing runs on it, and the registrations are
/// kept for the next one.
pub async fn a_failed_attach_keeps_what_was_registered(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();
    let (record, mut arrived) = recorder::<u64>();
    let _good = bus.topic("numbers").subscribe(record).await?;
    let bad = bus.topic("refused").subscribe(async |_: u64| {}).await?;

    let refused = bus.attach(twisted(h.connect().await?, Refuses)).await;

    assert_eq!(kind(&refused), Some(ErrorKind::Permission));
    assert!(!bus.is_attached());
    drop(bad);
    bus.attach(h.connect().await?).await?;
    assert_reached(bus.provider()?, bus.topic("numbers").publish(&7).await?, 1);
    assert_eq!(next(&mut arrived).await?, 7);
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// Refuses subscriptions to `refused`.
#[derive(Debug)]
struct Refuses;

#[async_trait]
impl Twist for Refuses {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        if filter.as_str() == "refused" {
            return Err(Error::new(ErrorKind::Permission, "subscribe to `refused`"));
        }
        inner.subscribe(filter).await
    }
}
