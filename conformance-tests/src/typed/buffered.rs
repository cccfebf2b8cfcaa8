//! Events that are published soon: `publish_nowait` and `flush`.

use std::time::Duration;

use pymq_core::{BufferLimits, Bus, ErrorKind, Events, Received};

use super::{kind, open};
use crate::wait::soon;
use crate::{Failure, Harness, Outcome};

/// More events than the buffer holds arrive in their order, from one task.
pub async fn buffered_events_arrive_in_order(h: &dyn Harness) -> Outcome {
    const EVENTS: usize = 10_000;
    let (bus, publisher) = (open(h).await?, open(h).await?);
    let mut stream = stream(&bus, EVENTS).await?;

    let topic = publisher.topic("t");
    for n in 0..EVENTS {
        soon("room", topic.publish_nowait(&n)).await??;
    }
    soon("flush", publisher.flush()).await??;

    for n in 0..EVENTS {
        assert_eq!(next(&mut stream).await?, n);
    }
    assert_eq!(publisher.stats().unpublished, 0);
    Ok(())
}

/// Large events wait for room as well, and arrive.
pub async fn large_buffered_events_arrive(h: &dyn Harness) -> Outcome {
    let (bus, publisher) = (open(h).await?, open(h).await?);
    let limits = BufferLimits::default().bytes(1 << 30);
    let mut stream = bus.topic("t").buffer(limits).stream::<String>().await?;
    let text = "x".repeat(1 << 20);

    for _ in 0..40 {
        soon("room", publisher.topic("t").publish_nowait(&text)).await??;
    }
    soon("flush", publisher.flush()).await??;

    for _ in 0..40 {
        let received = soon("an event", stream.recv()).await??;
        assert_eq!(received.into_event().map(|text| text.len()), Some(1 << 20));
    }
    Ok(())
}

/// A flush waits for all earlier events, and one without events returns at once.
pub async fn a_flush_waits_for_what_came_before(h: &dyn Harness) -> Outcome {
    let (bus, publisher) = (open(h).await?, open(h).await?);
    let mut stream = stream(&bus, 1_000).await?;
    soon("flush", publisher.flush()).await??;

    for n in 0..50 {
        publisher.topic("t").publish_nowait(&n).await?;
        soon("flush", publisher.flush()).await??;
        // Published, so this later event comes after it.
        publisher.topic("t").publish(&(n + 1_000)).await?;
        assert_eq!(next(&mut stream).await?, n);
        assert_eq!(next(&mut stream).await?, n + 1_000);
    }
    Ok(())
}

/// A shutdown publishes what is buffered.
pub async fn a_shutdown_publishes_what_is_buffered(h: &dyn Harness) -> Outcome {
    let (bus, publisher) = (open(h).await?, open(h).await?);
    let mut stream = stream(&bus, 1_000).await?;
    for n in 0..100 {
        publisher.topic("t").publish_nowait(&n).await?;
    }

    soon("shutdown", publisher.shutdown(Duration::from_secs(5))).await??;

    for n in 0..100 {
        assert_eq!(next(&mut stream).await?, n);
    }
    Ok(())
}

/// An event that cannot be published is reported by the next flush, once, and counted.
pub async fn a_flush_reports_what_was_not_published(h: &dyn Harness) -> Outcome {
    let publisher = open(h).await?;
    publisher.close().await?;

    for n in 0..3 {
        publisher.topic("t").publish_nowait(&n).await?;
    }
    let flushed = soon("flush", publisher.flush()).await?;

    assert_eq!(kind(&flushed), Some(ErrorKind::Closed));
    assert_eq!(publisher.stats().unpublished, 3);
    soon("flush", publisher.flush()).await??;
    Ok(())
}

/// What is too large or has no valid name is refused at once.
pub async fn what_cannot_be_buffered_is_refused(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;

    let unnamed = bus.topic("").publish_nowait(&1).await;

    assert_eq!(kind(&unnamed), Some(ErrorKind::InvalidName));
    soon("flush", bus.flush()).await??;
    Ok(())
}

async fn stream(bus: &Bus, events: usize) -> Result<Events<usize>, Failure> {
    let limits = BufferLimits::default().items(events);
    Ok(bus.topic("t").buffer(limits).stream().await?)
}

async fn next(stream: &mut Events<usize>) -> Result<usize, Failure> {
    match soon("an event", stream.recv()).await?? {
        Received::Event(number, _) => Ok(number),
        other => Err(format!("{other:?}").into()),
    }
}
