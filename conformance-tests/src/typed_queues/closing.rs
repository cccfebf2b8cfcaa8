//! The end of a queue on its bus: streams, waiting takes and puts, `join`.

use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use pymq_core::ErrorKind;
use tokio::time::Instant;

use super::{LONG, kind, open, poll_once};
use crate::wait::soon;
use crate::{Clock, Harness, Outcome};

/// The stream takes items as it is polled, continues after one that it cannot read, and ends with
/// the queue.
pub async fn a_stream_yields_until_the_queue_is_closed(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<Option<u32>>("jobs");
    jobs.put_all(&[Some(1), None, Some(3)]).await?;
    let mut stream = bus.queue::<u32>("jobs").stream();

    assert_eq!(stream.try_next().await?, Some(1));
    assert_eq!(
        stream.next().await.as_ref().and_then(kind),
        Some(ErrorKind::Codec)
    );
    assert_eq!(jobs.len().await?, 1, "nothing is fetched ahead");
    assert_eq!(stream.try_next().await?, Some(3));
    let (end, ()) = tokio::join!(soon("next", stream.next()), async { jobs.close() });

    assert!(end?.is_none());
    Ok(())
}

/// Dropping a waiting stream loses nothing.
pub async fn a_dropped_stream_loses_nothing(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let mut stream = jobs.stream();
    assert!(poll_once(pin!(stream.next())).await.is_pending());

    drop(stream);
    jobs.put(&1).await?;

    assert_eq!(soon("get", jobs.get()).await??, 1);
    Ok(())
}

/// A close wakes waiting operations: puts and gets end with `Closed`, and the item of a waiting put
/// is not put.
pub async fn close_wakes_waiting_puts_and_gets(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (full, empty) = (
        bus.queue::<u32>("full").maxsize(1),
        bus.queue::<u32>("empty"),
    );
    full.put(&1).await?;
    let (mut put, mut get) = (pin!(full.put(&2)), pin!(empty.get()));
    assert!(poll_once(put.as_mut()).await.is_pending());
    assert!(poll_once(get.as_mut()).await.is_pending());

    let start = Instant::now();
    full.close();
    empty.close();

    assert_eq!(kind(&soon("put", put).await?), Some(ErrorKind::Closed));
    assert_eq!(kind(&soon("get", get).await?), Some(ErrorKind::Closed));
    if h.clock() == Clock::Paused {
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    assert_eq!(full.try_get().await?, Some(1));
    assert_eq!(kind(&full.try_get().await), Some(ErrorKind::Closed));
    Ok(())
}

/// A closed queue refuses puts. Gets that do not wait drain it, and then it ends.
pub async fn close_lets_consumers_drain_then_ends(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put_all(&[1, 2, 3]).await?;

    jobs.close();

    assert!(jobs.is_closed());
    assert_eq!(kind(&jobs.put(&4).await), Some(ErrorKind::Closed));
    assert_eq!(
        kind(&jobs.put_timeout(&4, LONG).await),
        Some(ErrorKind::Closed)
    );
    assert_eq!(jobs.get().await?, 1);
    assert_eq!(jobs.get_timeout(LONG).await?, Some(2));
    assert_eq!(jobs.try_get().await?, Some(3));
    assert_eq!(
        kind(&soon("get", jobs.get()).await?),
        Some(ErrorKind::Closed)
    );
    assert_eq!(
        kind(&soon("get", jobs.get_timeout(LONG)).await?),
        Some(ErrorKind::Closed)
    );
    assert_eq!(kind(&jobs.try_get().await), Some(ErrorKind::Closed));
    Ok(())
}

/// A close affects one bus and one name: all handles of that name on that bus, and no others.
pub async fn close_concerns_one_bus_and_one_name(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus.queue::<u32>("jobs");

    jobs.close();
    drop(jobs);

    assert_eq!(
        kind(&bus.queue::<u32>("jobs").put(&1).await),
        Some(ErrorKind::Closed)
    );
    bus.queue::<u32>("mail").put(&1).await?;
    other.queue::<u32>("jobs").put(&2).await?;
    assert_eq!(bus.queue::<u32>("jobs").get().await?, 2);
    Ok(())
}

/// If there is nothing to wait for, `join` returns.
pub async fn join_on_idle_queue_returns(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");

    soon("join", jobs.join()).await??;
    jobs.put(&1).await?;
    jobs.get().await?;

    soon("join", jobs.join()).await??;
    Ok(())
}
