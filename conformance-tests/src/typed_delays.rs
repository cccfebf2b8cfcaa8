//! Delays, seen through `Queue`.

use std::time::Duration;

use tokio::time::Instant;

use crate::typed_queues::open;
use crate::wait::soon;
use crate::{Clock, Harness, Outcome};

const DELAY: Duration = Duration::from_millis(300);

/// A delayed item is not ready until it is due. Then it wakes a waiting get.
pub async fn put_after_hides_until_due(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let start = Instant::now();

    jobs.put_after(&1, DELAY).await?;

    assert_eq!(jobs.try_get().await?, None);
    assert_eq!(jobs.stats().await?.delayed, 1);
    assert_eq!(soon("get", jobs.get()).await??, 1);
    // Redis keeps its time in whole milliseconds.
    assert!(start.elapsed() + Duration::from_millis(2) >= DELAY);
    if h.clock() == Clock::Paused {
        assert_eq!(start.elapsed(), DELAY);
    }
    Ok(())
}

/// The bound counts ready items: a delayed put neither waits nor fails.
pub async fn put_after_passes_a_full_queue(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    jobs.put(&1).await?;

    soon("put_after", jobs.put_after(&2, DELAY)).await??;

    assert_eq!(jobs.get().await?, 1);
    assert_eq!(soon("get", jobs.get()).await??, 2);
    Ok(())
}

/// `join` waits for items that are not due yet.
pub async fn join_waits_for_delayed_items(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put_after(&1, DELAY).await?;
    let joined = tokio::spawn({
        let jobs = jobs.clone();
        async move { jobs.join().await }
    });

    assert_eq!(soon("get", jobs.get()).await??, 1);

    soon("join", joined).await???;
    assert_eq!(jobs.stats().await?.unfinished(), 0);
    Ok(())
}

/// Clearing a queue removes the delayed items too.
pub async fn clear_removes_delayed_items(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put(&1).await?;
    jobs.put_after(&2, Duration::from_secs(3_600)).await?;

    assert_eq!(jobs.clear().await?, 2);

    assert_eq!(jobs.stats().await?.unfinished(), 0);
    Ok(())
}

/// An item that is given back with a delay is hidden, lets others pass, and joins at the back.
pub async fn nack_after_hides_the_item_and_lets_others_pass(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put_all(&[1, 2]).await?;

    jobs.lease().await?.nack_after(DELAY).await?;

    assert_eq!(jobs.try_get().await?, Some(2));
    assert!(jobs.try_lease().await?.is_none());
    let again = soon("lease", jobs.lease()).await??;
    assert_eq!((*again, again.attempt()), (1, 2));
    again.ack().await?;
    Ok(())
}

/// Delays from a millisecond to thirty days are kept, and each item comes within a second of its
/// time.
pub async fn delays_are_kept_from_a_millisecond_to_thirty_days(h: &dyn Harness) -> Outcome {
    const MONTH: Duration = Duration::from_secs(30 * 24 * 3_600);
    let bus = open(h).await?;
    let jobs = bus.queue::<u64>("jobs");
    let start = Instant::now();
    for millis in [700, 1, 250, 40] {
        jobs.put_after(&millis, Duration::from_millis(millis))
            .await?;
    }
    jobs.put_after(&0, MONTH).await?;
    let put = start.elapsed();

    for due in [1, 40, 250, 700] {
        assert_eq!(soon("get", jobs.get()).await??, due);
        let (due, now) = (Duration::from_millis(due), start.elapsed());
        assert!(
            now + Duration::from_millis(2) >= due,
            "{due:?} came after {now:?}"
        );
        assert_within_a_second(h, now, due + put);
    }
    assert_eq!(jobs.stats().await?.delayed, 1);
    if h.clock() == Clock::Paused {
        assert_eq!(jobs.get().await?, 0);
        assert_eq!(start.elapsed(), MONTH);
    }
    Ok(())
}

/// On a real clock the machine may be busy with other tests. There the limit is one second plus the
/// time limit of a test.
fn assert_within_a_second(h: &dyn Harness, now: Duration, due: Duration) {
    let late = match h.clock() {
        Clock::Paused => Duration::ZERO,
        Clock::Real => crate::wait::WAIT_LIMIT / 2,
    };
    assert!(now <= due + late, "due at {due:?}, came at {now:?}");
}
