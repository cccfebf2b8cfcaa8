//! The end of a bus: by a shutdown, which finishes or ends what runs, or by its last handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pymq_core::{Bus, ErrorKind, Event, Running};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{kind, next, open, recorder};
use crate::traffic::assert_reached;
use crate::wait::{WAIT_LIMIT, soon, until};
use crate::{Harness, Outcome};

/// A time that a test waits for.
const SHORT: Duration = Duration::from_millis(40);

#[derive(Deserialize, Serialize)]
pub(super) struct Ticked;
pymq_core::event!(Ticked, topic = "ticked");

/// A handler that reports its start, waits at a gate, and counts when it is done.
pub(super) struct Gated {
    pub(super) starts: UnboundedReceiver<u64>,
    pub(super) gate: Arc<Semaphore>,
    finished: Arc<AtomicU64>,
}

impl Gated {
    /// Subscribes one to `numbers`, until the shutdown.
    pub(super) async fn subscribe(bus: &Bus) -> pymq_core::Result<Self> {
        let (gated, guard) = Self::guarded(bus).await?;
        guard.keep();
        Ok(gated)
    }

    /// Subscribes one to `numbers`, until its guard is dropped.
    pub(super) async fn guarded(bus: &Bus) -> pymq_core::Result<(Self, Running)> {
        let (started, starts) = unbounded_channel();
        let (gate, finished) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
        let shared = (Arc::clone(&gate), Arc::clone(&finished));
        let handler = move |n: u64| {
            let (started, (gate, finished)) = (started.clone(), shared.clone());
            async move {
                started.send(n).ok();
                drop(gate.acquire().await);
                finished.fetch_add(1, Ordering::SeqCst);
            }
        };
        let guard = bus.topic("numbers").subscribe(handler).await?;
        let gated = Self {
            starts,
            gate,
            finished,
        };
        Ok((gated, guard))
    }

    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::SeqCst)
    }
}

/// A shutdown returns when the handlers have finished.
pub async fn shutdown_waits_for_handlers_within_grace(h: &dyn Harness) -> Outcome {
    let (bus, sender) = (open(h).await?, open(h).await?);
    let mut gated = Gated::subscribe(&bus).await?;
    sender.topic("numbers").publish(&0).await?;
    next(&mut gated.starts).await?;

    let shutdown = tokio::spawn({
        let bus = bus.clone();
        async move { bus.shutdown(WAIT_LIMIT * 6).await }
    });
    until("the bus takes no new work", async || bus.is_closed()).await?;
    assert!(!shutdown.is_finished());
    gated.gate.add_permits(8);
    soon("the shutdown", shutdown).await???;

    assert_eq!(gated.finished(), 1);
    Ok(())
}

/// When the grace time is over, running handlers are ended before the shutdown returns.
pub async fn shutdown_aborts_after_grace(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut gated = Gated::subscribe(&bus).await?;
    bus.topic("numbers").publish(&0).await?;
    next(&mut gated.starts).await?;

    soon("the shutdown", bus.shutdown(SHORT)).await??;
    gated.gate.add_permits(8);

    assert_eq!(gated.finished(), 0);
    assert_eq!(Arc::strong_count(&gated.finished), 1, "the handler is gone");
    Ok(())
}

/// A shutdown waits for all handlers that work on many events at once, or ends them all.
pub async fn nothing_runs_after_a_shutdown(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (started, mut starts) = unbounded_channel();
    let alive = Arc::new(());
    let handler = {
        let alive = Arc::clone(&alive);
        move |n: u64| {
            let (started, alive) = (started.clone(), Arc::clone(&alive));
            async move {
                // In practice for ever: busy handlers have to be ended as well as idle ones.
                while Arc::strong_count(&alive) > 0 {
                    started.send(n).ok();
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    bus.topic("numbers")
        .concurrency(16)
        .subscribe(handler)
        .await?
        .keep();
    for n in 0..32 {
        bus.topic("numbers").publish(&n).await?;
    }
    next(&mut starts).await?;

    soon("the shutdown", bus.shutdown(Duration::ZERO)).await??;

    assert_eq!(Arc::strong_count(&alive), 1, "every handler is gone");
    Ok(())
}

/// A handler that finishes during a shutdown may still publish and put.
pub async fn handlers_may_publish_while_they_finish(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let (record, mut arrived) = recorder::<u64>();
    let _guard = other.topic("results").subscribe(record).await?;
    let (started, mut starts) = unbounded_channel();
    let handler = {
        let bus = bus.clone();
        move |n: u64| {
            let (bus, started) = (bus.clone(), started.clone());
            async move {
                started.send(n).ok();
                while !bus.is_closed() {
                    tokio::task::yield_now().await;
                }
                bus.topic("results").publish(&(n * 2)).await.map(drop)
            }
        }
    };
    bus.topic("numbers").subscribe(handler).await?.keep();
    other.topic("numbers").publish(&21).await?;
    next(&mut starts).await?;

    soon("the shutdown", bus.shutdown(WAIT_LIMIT)).await??;

    assert_eq!(next(&mut arrived).await?, 42);
    Ok(())
}

/// A second shutdown, also at the same time, does no harm. The shorter grace time wins.
pub async fn a_second_shutdown_finds_nothing_to_do(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut gated = Gated::subscribe(&bus).await?;
    bus.topic("numbers").publish(&0).await?;
    next(&mut gated.starts).await?;

    let patient = tokio::spawn({
        let bus = bus.clone();
        async move { bus.shutdown(Duration::MAX).await }
    });
    until("the first has begun", async || bus.is_closed()).await?;
    soon("the second", bus.close()).await??;
    soon("the first", patient).await???;
    soon("a third", bus.shutdown(Duration::MAX)).await??;

    assert_eq!(Arc::strong_count(&gated.finished), 1, "the handler is gone");
    Ok(())
}

/// A dropped shutdown can be repeated.
pub async fn a_cancelled_shutdown_can_be_repeated(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut gated = Gated::subscribe(&bus).await?;
    bus.topic("numbers").publish(&0).await?;
    next(&mut gated.starts).await?;

    let given_up = tokio::time::timeout(SHORT, bus.shutdown(Duration::MAX)).await;
    assert!(given_up.is_err());
    gated.gate.add_permits(8);
    soon("the second", bus.shutdown(Duration::MAX)).await??;

    assert_eq!(gated.finished(), 1);
    assert_eq!(kind(&bus.ping(WAIT_LIMIT).await), Some(ErrorKind::Closed));
    Ok(())
}

/// After a shutdown every operation fails with `Closed`.
pub async fn operations_after_shutdown_are_closed(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    bus.ping(WAIT_LIMIT).await?;
    assert!(!bus.is_closed());

    bus.shutdown(Duration::ZERO).await?;

    assert!(bus.is_closed());
    let stub = bus.stub::<(), ()>("f");
    let kinds = [
        kind(&bus.ping(WAIT_LIMIT).await),
        kind(&bus.publish(&Ticked).await),
        kind(&bus.topic("t").publish(&1).await),
        kind(&bus.topic("t").stream::<u64>().await),
        kind(
            &bus.topic(Ticked::TOPIC)
                .subscribe(async |_: Ticked| {})
                .await,
        ),
        kind(&bus.subscribe(async |_: Ticked| {}).await),
        kind(&bus.queue::<i32>("q").put(&1).await),
        kind(&bus.queue::<u64>("q").get().await),
        kind(&bus.expose("f", async || {}).await),
        kind(&stub.call(()).await),
        kind(&stub.call_all(()).await),
    ];
    assert_eq!(kinds, [Some(ErrorKind::Closed); 11]);
    Ok(())
}

/// A shutdown of one bus leaves another one on the same backend unchanged.
pub async fn a_shutdown_concerns_one_bus(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let (record, mut arrived) = recorder::<u64>();
    let _guard = other.topic("numbers").subscribe(record).await?;

    bus.shutdown(Duration::ZERO).await?;

    let reached = other.topic("numbers").publish(&7).await?;
    assert_reached(other.provider()?, reached, 1);
    assert_eq!(next(&mut arrived).await?, 7);
    Ok(())
}

/// When the last handle is dropped, kept handlers and remotes end, and the drop does not wait for
/// them.
pub async fn dropping_the_last_handle_ends_its_tasks(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let mut gated = Gated::subscribe(&bus).await?;
    bus.expose("f", async || {}).await?.keep();
    other.topic("numbers").publish(&0).await?;
    next(&mut gated.starts).await?;

    drop(bus.clone());
    // A clone is not the last handle.
    let reached = other.topic("numbers").publish(&1).await?;
    assert_reached(other.provider()?, reached, 1);
    drop(bus);

    until("the handler is gone", async || {
        let is_free = other
            .topic("numbers")
            .publish(&2)
            .await
            .is_ok_and(|reached| reached == 0);
        is_free && Arc::strong_count(&gated.finished) == 1
    })
    .await?;
    until("the remote is gone", async || {
        kind(&other.stub::<(), ()>("f").call(()).await) == Some(ErrorKind::NoSuchRemote)
    })
    .await
}

/// A guard is a handle: its handler runs on without any other.
pub async fn a_guard_keeps_its_bus_alive(h: &dyn Harness) -> Outcome {
    let other = open(h).await?;
    let (record, mut arrived) = recorder::<u64>();
    let guard = open(h).await?.topic("numbers").subscribe(record).await?;

    other.topic("numbers").publish(&7).await?;

    assert_eq!(next(&mut arrived).await?, 7);
    drop(guard);
    until("the handler is gone", async || {
        other
            .topic("numbers")
            .publish(&8)
            .await
            .is_ok_and(|reached| reached == 0)
    })
    .await
}
