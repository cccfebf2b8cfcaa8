//! When a lease ends by itself, and how an extension delays this.

use std::time::Duration;

use pymq_core::provider::{GetOptions, Part, QueueStats, Settle, Wait};
use tokio::time::{Instant, sleep};

use crate::jobs::{AMPLE, Jobs, LONG, SHORT, assert_took};
use crate::wait::{WAIT_LIMIT, until};
use crate::{Harness, Outcome};

/// When a lease ends without a settlement, a waiting take gets the message: not earlier, and as the
/// next attempt.
pub async fn expired_lease_redelivers(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1]).await?;
    let taken = Instant::now();
    jobs.lease(SHORT).await?;

    let again = other.lease(LONG).await?;

    assert_took(h, taken, SHORT);
    assert_eq!((again.item, again.attempt), (1, 2));
    Ok(())
}

/// A get without a lease receives a message after its lease has ended.
pub async fn expired_lease_reaches_a_plain_get(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1]).await?;
    let taken = Instant::now();
    jobs.lease(SHORT).await?;

    let got = other
        .take(GetOptions::default().wait(Wait::For(WAIT_LIMIT)))
        .await?;

    assert_took(h, taken, SHORT);
    assert_eq!(
        got.iter()
            .map(|delivery| delivery.attempt)
            .collect::<Vec<_>>(),
        [2]
    );
    Ok(())
}

/// The lease starts when the message is taken, however long it has been in the queue.
pub async fn lease_counts_from_take_not_put(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1]).await?;
    sleep(SHORT * 2).await;

    let taken = Instant::now();
    jobs.lease(SHORT).await?;
    other.lease(LONG).await?;

    assert_took(h, taken, SHORT);
    Ok(())
}

/// After a wait, the lease starts when the message came, not when the wait began.
pub async fn lease_counts_from_take_not_wait(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    let mut put_at = Instant::now();

    let putting = async {
        sleep(SHORT * 2).await;
        put_at = Instant::now();
        other.put([1]).await
    };
    let (held, put) = tokio::join!(jobs.lease(SHORT), putting);
    put?;
    held?;
    other.lease(LONG).await?;

    assert_took(h, put_at, SHORT);
    Ok(())
}

/// An extended lease lasts past its original end, and ends at the new one.
pub async fn extend_holds_past_original_lease(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1]).await?;
    let held = jobs.lease(AMPLE).await?;

    let extended = Instant::now();
    jobs.settle(
        &held,
        Settle::Extend {
            lease: AMPLE + SHORT,
        },
    )
    .await?;
    let again = other.lease(LONG).await?;

    assert_took(h, extended, AMPLE + SHORT);
    assert_eq!(again.attempt, 2);
    Ok(())
}

/// An extended lease can be extended again, and then settled by its first receipt.
pub async fn extended_lease_is_settled_by_its_receipt(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1]).await?;
    let held = jobs.lease(AMPLE).await?;

    for _ in 0..3 {
        jobs.settle(&held, Settle::Extend { lease: LONG }).await?;
    }
    jobs.settle(&held, Settle::Ack).await?;

    assert_eq!(jobs.stats().await?, QueueStats::default());
    Ok(())
}

/// An extension counts from now, so it can also shorten a lease.
pub async fn extend_may_shorten(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1]).await?;
    let held = jobs.lease(LONG).await?;

    let shortened = Instant::now();
    jobs.settle(&held, Settle::Extend { lease: SHORT }).await?;
    other.lease(LONG).await?;

    assert_took(h, shortened, SHORT);
    Ok(())
}

/// Messages of one batch have leases of their own: an extension of one leaves the others unchanged.
pub async fn extend_moves_only_its_own_lease(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1, 2, 3]).await?;
    let taken = Instant::now();
    let batch = jobs.lease_batch(3, AMPLE).await?;

    jobs.settle(&batch[1], Settle::Extend { lease: LONG })
        .await?;
    let again = vec![other.get().await?, other.get().await?];

    assert_took(h, taken, AMPLE);
    assert_eq!(other.in_line(again), [1, 3]);
    assert_eq!(other.try_get().await?, None);
    jobs.settle(&batch[1], Settle::Ack).await?;
    assert_eq!(jobs.stats().await?, QueueStats::default());
    Ok(())
}

/// A batch with leases that end together goes back to the front in the order in which it was taken.
pub async fn leases_that_end_together_keep_their_order(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put(1..=5).await?;

    jobs.lease_batch(3, SHORT).await?;
    until("the leases have ended", async || {
        other.len().await.is_ok_and(|len| len == 5)
    })
    .await?;

    let in_line = other.peek(Part::Ready).await?;
    assert_eq!(other.in_line(in_line), [1, 2, 3, 4, 5]);
    other.assert_drained(&[1, 2, 3, 4, 5]).await
}

/// A message that is counted as ready can be taken at once, also while other takes find out that
/// its lease has ended.
pub async fn ended_leases_can_be_taken_as_soon_as_counted(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);

    for n in 0..50 {
        other.put([n]).await?;
        other.lease(Duration::from_millis(20)).await?;
        until("the lease has ended", async || {
            jobs.len().await.is_ok_and(|len| len == 1)
        })
        .await?;

        assert_eq!(jobs.try_get().await?, Some(n));
    }
    Ok(())
}

/// When a consumer dies, its lease runs out, and the crash counts as an attempt.
pub async fn crashed_consumer_releases(h: &dyn Harness) -> Outcome {
    let other = Jobs::open(h).await?;
    other.put([1]).await?;

    let crashing = Jobs::open(h).await?;
    crashing.lease(SHORT).await?;
    drop(crashing);
    let again = other.lease(LONG).await?;

    assert_eq!((again.item, again.attempt), (1, 2));
    Ok(())
}

/// No lease or extension is too long, and none overflows into the past.
pub async fn extreme_lease_saturates(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    for extreme in [
        Duration::MAX,
        Duration::from_secs(u64::MAX / 1_000),
        Duration::from_secs(1 << 40),
    ] {
        jobs.put([1]).await?;
        let held = jobs.lease(extreme).await?;
        assert_eq!(
            jobs.stats().await?,
            QueueStats::new(0, 0, 1, 0),
            "{extreme:?}"
        );
        jobs.settle(&held, Settle::Extend { lease: extreme })
            .await?;
        assert_eq!(jobs.try_get().await?, None, "{extreme:?}");
        jobs.settle(&held, Settle::Ack).await?;
    }
    Ok(())
}
