//! What a shutdown does with the events that wait for a handler or a reader when it begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pymq_core::{Bus, ErrorKind, Received};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::ending::Gated;
use super::{kind, next, open};
use crate::wait::{WAIT_LIMIT, soon, until};
use crate::{Failure, Harness, Outcome};

/// Published last: when a bus has received it, it has received everything that was published
/// before.
const LAST: u64 = 99;

/// Publishes numbers and returns when `bus` has received them.
///
/// Listens for `LAST`, because a publish may return before its event has arrived. All subscriptions
/// of a bus get the events of one publisher in the same order.
async fn deliver(bus: &Bus, sender: &Bus, numbers: impl IntoIterator<Item = u64>) -> Outcome {
    let topic = sender.topic("numbers");
    let mut fence = bus.topic("numbers").stream::<u64>().await?;
    for n in numbers {
        topic.publish(&n).await?;
    }
    topic.publish(&LAST).await?;
    while soon("the last event", fence.recv()).await??.into_event() != Some(LAST) {}
    fence.unsubscribe().await;
    Ok(())
}

/// Begins a shutdown, and returns when the provider delivers no more events to `numbers`.
async fn begin(bus: &Bus, sender: &Bus) -> Result<JoinHandle<pymq_core::Result<()>>, Failure> {
    let shutdown = tokio::spawn({
        let bus = bus.clone();
        async move { bus.shutdown(WAIT_LIMIT * 6).await }
    });
    until("the handler is unsubscribed", async || {
        let reached = sender.topic("numbers").publish(&LAST).await;
        reached.is_ok_and(|reached| reached == 0)
    })
    .await?;
    Ok(shutdown)
}

/// Returns the numbers with which a handler has started, without those that only mark an end.
fn rest(gated: &mut Gated) -> Vec<u64> {
    let mut rest: Vec<u64> = std::iter::from_fn(|| gated.starts.try_recv().ok()).collect();
    rest.retain(|&n| n != LAST);
    rest
}

/// Events that have arrived when a shutdown begins are handled in order within its grace time, and
/// the provider delivers no new ones.
pub async fn shutdown_drains_waiting_events(h: &dyn Harness) -> Outcome {
    let (bus, sender) = (open(h).await?, open(h).await?);
    let mut gated = Gated::subscribe(&bus).await?;
    deliver(&bus, &sender, 0..5).await?;
    assert_eq!(next(&mut gated.starts).await?, 0);

    let shutdown = begin(&bus, &sender).await?;
    sender.topic("numbers").publish(&7).await?;
    assert!(!shutdown.is_finished(), "it waits for the handler");
    gated.gate.add_permits(Semaphore::MAX_PERMITS);
    soon("the shutdown", shutdown).await???;

    assert_eq!(rest(&mut gated), [1, 2, 3, 4]);
    Ok(())
}

/// A shutdown without grace time is "now": no waiting event is handled, even if nothing else runs.
pub async fn shutdown_now_drops_them(h: &dyn Harness) -> Outcome {
    for at_once in [1, 4] {
        let (bus, sender) = (open(h).await?, open(h).await?);
        let count = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(at_once));
        let handler = {
            let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
            move |_: u64| {
                let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
                async move {
                    count.fetch_add(1, Ordering::SeqCst);
                    // Enough for the running handlers, none for the waiting events.
                    gate.acquire().await.expect("never closed").forget();
                    std::future::pending::<()>().await;
                }
            }
        };
        let topic = bus.topic("numbers").concurrency(at_once);
        topic.subscribe(handler).await?.keep();
        deliver(&bus, &sender, 0..20).await?;
        until("as many run as may", async || gate.available_permits() == 0).await?;

        soon("the shutdown", bus.shutdown(Duration::ZERO)).await??;

        assert_eq!(count.load(Ordering::SeqCst), at_once);
        assert_eq!(Arc::strong_count(&count), 1, "every handler is gone");
    }
    Ok(())
}

/// When the grace time is over, the waiting events are dropped with the running handler.
pub async fn a_drain_ends_with_the_grace(h: &dyn Harness) -> Outcome {
    let (bus, sender) = (open(h).await?, open(h).await?);
    let mut gated = Gated::subscribe(&bus).await?;
    deliver(&bus, &sender, 0..5).await?;
    next(&mut gated.starts).await?;

    let grace = Duration::from_millis(40);
    soon("the shutdown", bus.shutdown(grace)).await??;
    gated.gate.add_permits(Semaphore::MAX_PERMITS);

    assert_eq!(gated.finished(), 0);
    assert_eq!(
        rest(&mut gated),
        [0; 0],
        "none of those that waited has started"
    );
    Ok(())
}

/// An owner that unsubscribes during a shutdown still drops the waiting events.
pub async fn unsubscribing_ends_a_drain(h: &dyn Harness) -> Outcome {
    let (bus, sender) = (open(h).await?, open(h).await?);
    let (mut gated, guard) = Gated::guarded(&bus).await?;
    deliver(&bus, &sender, 0..5).await?;
    next(&mut gated.starts).await?;
    let shutdown = begin(&bus, &sender).await?;

    drop(guard);
    gated.gate.add_permits(Semaphore::MAX_PERMITS);
    soon("the shutdown", shutdown).await???;

    assert_eq!(gated.finished(), 1);
    assert_eq!(rest(&mut gated), [0; 0]);
    Ok(())
}

/// A shutdown does not wait for the reader of a stream. Events that have arrived can be read after
/// it.
pub async fn a_stream_is_read_after_a_shutdown(h: &dyn Harness) -> Outcome {
    let (bus, sender) = (open(h).await?, open(h).await?);
    let mut stream = bus.topic("numbers").stream::<u64>().await?;
    deliver(&bus, &sender, 0..3).await?;

    soon("the shutdown", bus.shutdown(Duration::MAX)).await??;

    let mut read = Vec::new();
    let end = loop {
        match soon("the end", stream.recv()).await? {
            Ok(Received::Event(n, _)) if n != LAST => read.push(n),
            Ok(_) => {}
            error => break kind(&error),
        }
    };
    assert_eq!(read, [0, 1, 2]);
    assert_eq!(end, Some(ErrorKind::Closed));
    Ok(())
}
