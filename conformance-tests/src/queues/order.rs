//! First in, first out, one by one and in batches.

use pymq_core::provider::{GetOptions, Wait};

use crate::jobs::{Jobs, at_most, item};
use crate::wait::{WAIT_LIMIT, soon};
use crate::{Harness, Outcome};

/// A take gets what was put, once, as a first attempt without a receipt.
pub async fn put_then_get(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    jobs.put([7]).await?;
    let taken = jobs.take(GetOptions::default()).await?;

    assert_eq!(taken.len(), 1);
    assert_eq!(item(&taken[0].message)?, 7);
    assert_eq!((taken[0].attempt, &taken[0].receipt), (1, &None));
    assert_eq!(jobs.try_get().await?, None);
    Ok(())
}

/// A thousand items leave in the order in which they came.
pub async fn fifo_order(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    for n in 0..1_000 {
        jobs.put([n]).await?;
    }

    assert_eq!(jobs.drain().await?, (0..1_000).collect::<Vec<_>>());
    Ok(())
}

/// A batch has the same order as items that are put one by one.
pub async fn batch_keeps_its_order(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    jobs.put([1]).await?;
    jobs.put([2, 3, 4]).await?;
    jobs.put([5]).await?;

    assert_eq!(jobs.drain().await?, [1, 2, 3, 4, 5]);
    Ok(())
}

/// An empty put changes nothing.
pub async fn empty_batch_is_harmless(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    jobs.put([]).await?;

    assert_eq!(jobs.len().await?, 0);
    assert_eq!(jobs.try_get().await?, None);
    Ok(())
}

/// A batched take returns at most the requested number, from the front, in order.
pub async fn batched_get_takes_at_most_max(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put(0..10).await?;

    let taken = jobs.take(GetOptions::default().max(at_most(4))).await?;

    let items: Vec<u32> = taken
        .iter()
        .map(|delivery| item(&delivery.message))
        .collect::<Outcome<_>>()?;
    assert_eq!(items, [0, 1, 2, 3]);
    assert_eq!(jobs.drain().await?, [4, 5, 6, 7, 8, 9]);
    Ok(())
}

/// A batched take that may wait returns the ready items and does not wait for a full batch.
pub async fn batched_get_does_not_wait_to_be_full(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1, 2]).await?;

    let opts = GetOptions::default()
        .max(at_most(100))
        .wait(Wait::For(WAIT_LIMIT * 100));
    let taken = soon("a get of fewer than its maximum", jobs.take(opts)).await??;

    assert_eq!(taken.len(), 2);
    Ok(())
}

/// Ten thousand items go in and come out, in order, and leave nothing behind.
pub async fn ten_thousand_items_bounded_memory(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    for batch in 0..100 {
        jobs.put(batch * 100..(batch + 1) * 100).await?;
    }
    assert_eq!(jobs.len().await?, 10_000);
    let mut items = Vec::new();
    loop {
        let taken = jobs.take(GetOptions::default().max(at_most(100))).await?;
        if taken.is_empty() {
            break;
        }
        for delivery in &taken {
            items.push(item(&delivery.message)?);
        }
    }

    assert_eq!(items, (0..10_000).collect::<Vec<_>>());
    assert_eq!(h.leftovers().await, Vec::<String>::new());
    Ok(())
}
