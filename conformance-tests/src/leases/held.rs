//! While a lease is held, and when it ends by itself.

use std::time::Duration;

use pymq::provider::{GetOptions, Part, QueueStats, Settle, Wait};
use tokio::time::{Instant, sleep};

use crate::jobs::{Jobs, LONG, SHORT, assert_took, held, nack};
use crate::moment::{dropped_at, parked};
use crate::wait::{PATIENCE, until};
use crate::{Harness, Outcome};

/// A leased message is not there for anyone else.
pub async fn lease_hides_the_message(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1]).await?;

    let held = jobs.lease(LONG).await?;

    assert_eq!((held.item, held.attempt), (1, 1));
    assert_eq!(other.try_get().await?, None);
    assert_eq!(jobs.try_get().await?, None);
    assert_eq!(jobs.peek(Part::Ready).await?, Vec::<u32>::new());
    Ok(())
}

/// An acked message is gone, and stays gone when its lease would have ended.
pub async fn ack_removes_it(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1]).await?;

    let held = jobs.lease(SHORT).await?;
    jobs.settle(&held, Settle::Ack).await?;

    assert_eq!(jobs.stats().await?, QueueStats::default());
    assert_eq!(
        jobs.take(GetOptions::default().wait(Wait::For(SHORT * 2)))
            .await?,
        []
    );
    assert_eq!(h.leftovers().await, Vec::<String>::new());
    Ok(())
}

/// A message whose lease ends unsettled is delivered to who waits for it: not before the end, and as the next attempt.
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

/// A get without a lease receives what another's lease has given up.
pub async fn expired_lease_reaches_a_plain_get(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1]).await?;
    let taken = Instant::now();
    jobs.lease(SHORT).await?;

    let got = other
        .take(GetOptions::default().wait(Wait::For(PATIENCE)))
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

/// The lease of a message that was waited for starts when it came, not when the wait began.
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

/// A lease that waits is woken by a put.
pub async fn waiting_lease_is_woken_by_put(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);

    let putting = async {
        parked().await;
        other.put([1]).await
    };
    let (held, put) = tokio::join!(jobs.lease(LONG), putting);
    put?;

    assert_eq!(held?.item, 1);
    Ok(())
}

/// Extended, a lease holds past its original end and ends at the new one.
pub async fn extend_holds_past_original_lease(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1]).await?;
    let held = jobs.lease(SHORT * 2).await?;

    sleep(SHORT).await;
    let extended = Instant::now();
    jobs.settle(&held, Settle::Extend { lease: SHORT * 4 })
        .await?;
    let again = other.lease(LONG).await?;

    assert_took(h, extended, SHORT * 4);
    assert_eq!(again.attempt, 2);
    Ok(())
}

/// An extended lease can be extended again, and then settled by the receipt it always had.
pub async fn extended_lease_is_settled_by_its_receipt(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1]).await?;
    let held = jobs.lease(SHORT * 4).await?;

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

/// Messages taken in one batch have leases of their own: extending one leaves the others to end.
pub async fn extend_moves_only_its_own_lease(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1, 2, 3]).await?;
    let taken = Instant::now();
    let batch = jobs.lease_batch(3, SHORT).await?;

    jobs.settle(&batch[1], Settle::Extend { lease: LONG })
        .await?;
    let again = [other.get().await?, other.get().await?];

    assert_took(h, taken, SHORT);
    assert_eq!(again, [1, 3]);
    assert_eq!(other.try_get().await?, None);
    jobs.settle(&batch[1], Settle::Ack).await?;
    assert_eq!(jobs.stats().await?, QueueStats::default());
    Ok(())
}

/// A batch whose leases end together goes back to the front in the order in which it was taken.
pub async fn leases_that_end_together_keep_their_order(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put(1..=5).await?;

    jobs.lease_batch(3, SHORT).await?;
    until("the leases have ended", async || {
        other.len().await.is_ok_and(|len| len == 5)
    })
    .await?;

    assert_eq!(other.peek(Part::Ready).await?, [1, 2, 3, 4, 5]);
    assert_eq!(other.drain().await?, [1, 2, 3, 4, 5]);
    Ok(())
}

/// A consumer that dies with a lease gives it up at its end, and the crash counts as an attempt.
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

/// Five hundred leases at once, in batches and alone, all settle.
pub async fn many_leases_at_once(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put(0..500).await?;

    let mut all = jobs.lease_batch(250, LONG).await?;
    for _ in 0..250 {
        all.push(jobs.lease(LONG).await?);
    }
    assert_eq!(jobs.stats().await?, QueueStats::new(0, 0, 500, 0));
    // Backwards, as nobody finishes work in the order of the batch.
    for answer in jobs
        .settle_all(all.iter().rev().map(|held| (held, Settle::Ack)))
        .await?
    {
        answer?;
    }

    assert_eq!(jobs.stats().await?, QueueStats::default());
    assert_eq!(h.leftovers().await, Vec::<String>::new());
    Ok(())
}

/// Gets and leases take from one line.
pub async fn mixed_get_and_lease_keep_fifo(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put(0..6).await?;

    let mut items = Vec::new();
    for _ in 0..3 {
        items.push(jobs.get().await?);
        items.push(jobs.lease(LONG).await?.item);
    }

    assert_eq!(items, [0, 1, 2, 3, 4, 5]);
    Ok(())
}

/// What is leased is not in line, but is unfinished until it is acked; an ended lease is in line again by itself.
pub async fn leased_not_in_len_but_in_stats(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1, 2, 3]).await?;

    let first = jobs.lease(LONG).await?;
    let second = jobs.lease(SHORT).await?;
    assert_eq!(other.stats().await?, QueueStats::new(1, 0, 2, 0));
    assert_eq!(other.stats().await?.unfinished(), 3);
    jobs.settle(&first, Settle::Ack).await?;
    until("the second lease has ended", async || {
        other.stats().await.is_ok_and(|stats| stats.leased == 0)
    })
    .await?;

    assert_eq!(other.stats().await?, QueueStats::new(2, 0, 0, 0));
    assert_eq!(other.peek(Part::Ready).await?, [second.item, 3]);
    Ok(())
}

/// Clearing a queue does not touch what is leased.
pub async fn clear_leaves_leases(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1, 2, 3]).await?;
    let batch = jobs.lease_batch(2, LONG).await?;

    let cleared = [Part::Ready, Part::Delayed, Part::Dead].map(|part| jobs.clear(part));
    let cleared = futures_util::future::try_join_all(cleared).await?;

    assert_eq!(cleared, [1, 0, 0]);
    assert_eq!(jobs.stats().await?, QueueStats::new(0, 0, 2, 0));
    jobs.settle(&batch[0], Settle::Ack).await?;
    jobs.settle(&batch[1], nack()).await?;
    assert_eq!(jobs.drain().await?, [2]);
    Ok(())
}

/// A lease whose future is dropped at any moment is not held: the message is there for the next, as a first attempt.
pub async fn cancelled_lease_is_not_held(h: &dyn Harness) -> Outcome {
    let (producer, consumer) = (Jobs::open(h).await?, Jobs::open(h).await?);
    let opts = GetOptions::default().wait(Wait::Forever).lease(LONG);

    for n in 0..120 {
        let (taken, put) = tokio::join!(
            dropped_at(h.clock(), n, consumer.take(opts.clone())),
            producer.put([n])
        );
        put?;
        let held = match taken.transpose()?.as_deref() {
            Some([delivery]) => held(delivery)?,
            _ => consumer.lease(LONG).await?,
        };

        assert_eq!((held.item, held.attempt), (n, 1));
        consumer.settle(&held, Settle::Ack).await?;
    }
    assert_eq!(consumer.stats().await?, QueueStats::default());
    Ok(())
}

/// No lease is too long to be given or extended, and none overflows into the past.
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
