//! Counts, peeks and clears.

use pymq_core::Message;
use pymq_core::provider::{GetOptions, Part, PutOptions, QueueStats, Stored};

use crate::jobs::{Jobs, message};
use crate::{Harness, Outcome};

/// The length follows each put and each get.
pub async fn len_counts_ready_items(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let mut lengths = vec![jobs.len().await?];

    for n in [1, 2] {
        jobs.put([n]).await?;
        lengths.push(jobs.len().await?);
    }
    for _ in [1, 2] {
        jobs.try_get().await?;
        lengths.push(jobs.len().await?);
    }

    assert_eq!(lengths, [0, 1, 2, 1, 0]);
    Ok(())
}

/// A queue that was never used is empty in every respect, and a query leaves nothing of it.
pub async fn get_from_never_used_queue_is_empty(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    assert_eq!(jobs.try_get().await?, None);
    assert_eq!(jobs.stats().await?, QueueStats::default());
    assert_eq!(jobs.peek(Part::Ready).await?, Vec::<u32>::new());
    assert_eq!(jobs.clear(Part::Ready).await?, 0);
    assert_eq!(h.leftovers().await, Vec::<String>::new());
    Ok(())
}

/// A clear empties the queue and returns how many messages it removed. The queue still works.
pub async fn clear_empties_and_reports_count(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put(0..10).await?;

    assert_eq!(jobs.clear(Part::Ready).await?, 10);
    assert_eq!(jobs.clear(Part::Ready).await?, 0);
    jobs.put([10]).await?;

    assert_eq!(jobs.drain().await?, [10]);
    Ok(())
}

/// A peek shows the next messages in order, as they were put, and takes nothing.
pub async fn peek_takes_nothing(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let traced = Message::json("\"a\"").with_header("trace", "af01");
    provider
        .queue_put(
            "jobs",
            vec![traced.clone(), message(2), message(3)],
            PutOptions::default(),
        )
        .await?;

    let seen = provider.queue_peek("jobs", Part::Ready, 2).await?;

    assert_eq!(
        seen,
        [Stored::new(traced.clone(), 0), Stored::new(message(2), 0)]
    );
    assert_eq!(provider.queue_peek("jobs", Part::Ready, 0).await?, []);
    assert_eq!(
        provider.queue_stats("jobs").await?,
        QueueStats::new(3, 0, 0, 0)
    );
    let taken = provider.queue_get("jobs", GetOptions::default()).await?;
    assert_eq!((&taken[0].message, taken[0].attempt), (&traced, 1));
    Ok(())
}
