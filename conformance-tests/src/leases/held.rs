//! What holds while a lease is held.

use pymq_core::ErrorKind;
use pymq_core::provider::{GetOptions, Part, PutOptions, QueueStats, Settle, Wait};

use crate::jobs::{AMPLE, Jobs, LONG, SHORT, at_most, held, nack};
use crate::moment::{dropped_at, parked};
use crate::wait::until;
use crate::{Harness, Outcome};

/// A leased message is hidden from other takers.
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

/// An acked message is gone, and stays gone at the end of its lease.
pub async fn ack_removes_it(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1]).await?;

    let held = jobs.lease(AMPLE).await?;
    jobs.settle(&held, Settle::Ack).await?;

    assert_eq!(jobs.stats().await?, QueueStats::default());
    assert_eq!(
        jobs.take(GetOptions::default().wait(Wait::For(AMPLE + SHORT)))
            .await?,
        []
    );
    assert_eq!(h.leftovers().await, Vec::<String>::new());
    Ok(())
}

/// A put wakes a waiting lease.
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

/// Five hundred leases at once, in batches and alone, can all be settled.
pub async fn many_leases_at_once(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put(0..500).await?;

    let mut all = jobs.lease_batch(250, LONG).await?;
    for _ in 0..250 {
        all.push(jobs.lease(LONG).await?);
    }
    assert_eq!(jobs.stats().await?, QueueStats::new(0, 0, 500, 0));
    // Backwards: work does not finish in the order of the batch.
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

/// Gets and leases take from the same ready messages.
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

/// A leased message is not ready, but unfinished until it is acked. After the end of its lease it
/// is ready again by itself.
pub async fn leased_not_in_len_but_in_stats(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1, 2, 3]).await?;

    let first = jobs.lease(LONG).await?;
    let second = jobs.lease(AMPLE).await?;
    assert_eq!(other.stats().await?, QueueStats::new(1, 0, 2, 0));
    assert_eq!(other.stats().await?.unfinished(), 3);
    jobs.settle(&first, Settle::Ack).await?;
    until("the second lease has ended", async || {
        other.stats().await.is_ok_and(|stats| stats.leased == 0)
    })
    .await?;

    assert_eq!(other.stats().await?, QueueStats::new(2, 0, 0, 0));
    let in_line = other.peek(Part::Ready).await?;
    assert_eq!(other.in_line(in_line), [second.item, 3]);
    Ok(())
}

/// Clearing any part of a queue leaves leased messages unchanged.
pub async fn clear_leaves_leases(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1, 2, 3]).await?;
    let batch = jobs.lease_batch(2, LONG).await?;

    assert_eq!(jobs.clear(Part::Ready).await?, 1);
    assert_eq!(jobs.clear(Part::Dead).await?, 0);
    if jobs.declares().delays {
        assert_eq!(jobs.clear(Part::Delayed).await?, 0);
    }

    assert_eq!(jobs.stats().await?, QueueStats::new(0, 0, 2, 0));
    jobs.settle(&batch[0], Settle::Ack).await?;
    jobs.settle(&batch[1], nack()).await?;
    assert_eq!(jobs.drain().await?, [2]);
    Ok(())
}

/// Leased messages take no space in a bounded queue. They come back to it even if it is full.
pub async fn leased_items_leave_room(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let one = PutOptions::default().maxsize(Some(at_most(1)));
    jobs.put_with([1], one.clone()).await?;

    let held = jobs.lease(LONG).await?;
    jobs.put_with([2], one.clone()).await?;
    jobs.settle(&held, nack()).await?;
    let refused = jobs.put_with([3], one).await;

    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Full));
    jobs.assert_drained(&[1, 2]).await
}

/// A lease that is dropped at any moment is not held: the next taker gets the message, as a first
/// attempt.
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
