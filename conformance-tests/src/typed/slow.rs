//! Slow readers: each loses what its own buffer cannot hold, is told exactly how much and where,
//! and delays no other reader.

use std::sync::Arc;

use pymq_core::{BufferLimits, Bus, Events, Received, WhenFull};
use tokio::sync::Semaphore;

use super::{next, open};
use crate::wait::{soon, until};
use crate::{Failure, Harness, Outcome};

/// A stream keeps the newest events within its limit, and first reports how many are missing.
pub async fn a_stream_keeps_as_many_as_it_is_told(h: &dyn Harness) -> Outcome {
    let (bus, publisher) = (open(h).await?, open(h).await?);
    let few = BufferLimits::default().items(3);
    let mut slow = bus.topic("t").buffer(few).stream::<usize>().await?;
    let mut other = bus.topic("t").stream::<usize>().await?;

    publish(&publisher, &mut other, 0..10).await?;

    assert_eq!(read(&mut slow, 4).await?, [Err(7), Ok(7), Ok(8), Ok(9)]);
    assert_eq!(bus.stats().lagged, 7);
    Ok(())
}

/// A stream that keeps the oldest events reports after them how many are missing, and continues
/// with later events when there is space.
pub async fn a_stream_may_keep_the_oldest(h: &dyn Harness) -> Outcome {
    let (bus, publisher) = (open(h).await?, open(h).await?);
    let few = BufferLimits::default().items(3);
    let slow = bus.topic("t").buffer(few).when_full(WhenFull::DropNewest);
    let mut slow = slow.stream::<usize>().await?;
    let mut other = bus.topic("t").stream::<usize>().await?;

    publish(&publisher, &mut other, 0..10).await?;
    assert_eq!(read(&mut slow, 2).await?, [Ok(0), Ok(1)]);
    publish(&publisher, &mut other, 10..13).await?;

    let rest = [Ok(2), Err(7), Ok(10), Ok(11), Err(1)];
    assert_eq!(read(&mut slow, 5).await?, rest);
    publish(&publisher, &mut other, 13..14).await?;
    assert_eq!(read(&mut slow, 1).await?, [Ok(13)]);
    assert_eq!(bus.stats().lagged, 8);
    Ok(())
}

/// Bytes bound the waiting events too, and one event of any size is kept.
pub async fn a_stream_keeps_as_many_bytes_as_it_is_told(h: &dyn Harness) -> Outcome {
    let (bus, publisher) = (open(h).await?, open(h).await?);
    let little = BufferLimits::default().bytes(1_000);
    let mut slow = bus.topic("t").buffer(little).stream::<String>().await?;
    let mut other = bus.topic("t").stream::<String>().await?;

    for length in [400, 400, 400, 5_000] {
        publisher.topic("t").publish(&"x".repeat(length)).await?;
        soon("recv", other.recv()).await??;
    }

    assert!(matches!(slow.recv().await?, Received::Lagged(Some(3))));
    let large = slow.recv().await?.into_event();
    assert_eq!(large.map(|text| text.len()), Some(5_000));
    Ok(())
}

/// A busy handler loses what its own buffer cannot hold. Another one of the same topic gets
/// everything.
pub async fn a_slow_handler_loses_only_its_own(h: &dyn Harness) -> Outcome {
    let (bus, publisher) = (open(h).await?, open(h).await?);
    let (gate, handled) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let slow = {
        let (gate, handled) = (Arc::clone(&gate), Arc::clone(&handled));
        move |_: usize| {
            let (gate, handled) = (Arc::clone(&gate), Arc::clone(&handled));
            async move {
                handled.add_permits(1);
                gate.acquire()
                    .await
                    .map(tokio::sync::SemaphorePermit::forget)
            }
        }
    };
    let few = BufferLimits::default().items(3);
    let _slow = bus.topic("t").buffer(few).subscribe(slow).await?;
    let (record, mut arrived) = super::recorder::<usize>();
    let _quick = bus.topic("t").subscribe(record).await?;

    publisher.topic("t").publish(&0).await?;
    soon("the first one", handled.acquire()).await??.forget();
    for n in 1..=10 {
        publisher.topic("t").publish(&n).await?;
    }

    for n in 0..=10 {
        assert_eq!(next(&mut arrived).await?, n);
    }
    gate.add_permits(4);
    soon("those it kept", handled.acquire_many(3))
        .await??
        .forget();
    until("the loss is counted", async || bus.stats().lagged == 7).await?;
    assert_eq!(bus.stats().handler_failures, 0);
    Ok(())
}

/// Publishes numbers, and waits until another reader of the same bus has them all. Then they are in
/// every buffer.
async fn publish(
    publisher: &Bus,
    other: &mut Events<usize>,
    numbers: std::ops::Range<usize>,
) -> Outcome {
    for n in numbers.clone() {
        publisher.topic("t").publish(&n).await?;
    }
    for n in numbers {
        assert_eq!(soon("recv", other.recv()).await??.into_event(), Some(n));
    }
    Ok(())
}

/// Reads this many entries: a number, or how many are missing.
async fn read(
    events: &mut Events<usize>,
    count: usize,
) -> Result<Vec<Result<usize, u64>>, Failure> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(match soon("recv", events.recv()).await?? {
            Received::Event(number, _) => Ok(number),
            Received::Lagged(Some(missed)) => Err(missed),
            other => return Err(format!("{other:?}").into()),
        });
    }
    Ok(seen)
}
