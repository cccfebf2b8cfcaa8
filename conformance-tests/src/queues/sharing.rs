//! One queue with many users: each item goes to exactly one of them.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::jobs::Jobs;
use crate::wait::soon;
use crate::{Harness, Outcome};

/// Tells a consumer that no item comes after it.
const END: u32 = u32::MAX;

/// Four producers and eight consumers on twelve handles: all items come out, each once.
pub async fn competing_consumers_no_duplicates(h: &dyn Harness) -> Outcome {
    let mut producers = JoinSet::new();
    for producer in 0..4 {
        let jobs = Jobs::open(h).await?;
        producers.spawn(async move {
            for n in 0..125 {
                jobs.put([producer * 1_000 + n]).await?;
            }
            Outcome::Ok(())
        });
    }
    let mut consumers = JoinSet::new();
    for _ in 0..8 {
        let jobs = Jobs::open(h).await?;
        consumers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                match jobs.get().await? {
                    END => return Outcome::Ok(mine),
                    item => mine.push(item),
                }
            }
        });
    }

    while let Some(produced) = soon("a producer", producers.join_next()).await? {
        produced??;
    }
    Jobs::open(h).await?.put([END; 8]).await?;
    let mut items = Vec::new();
    while let Some(consumed) = soon("a consumer", consumers.join_next()).await? {
        items.extend(consumed??);
    }

    items.sort_unstable();
    let expected: Vec<u32> = (0..4)
        .flat_map(|producer| (0..125).map(move |n| producer * 1_000 + n))
        .collect();
    assert_eq!(items, expected);
    Ok(())
}

/// The items of each of many producers leave in the order of that producer.
pub async fn order_is_kept_for_each_producer(h: &dyn Harness) -> Outcome {
    let mut producers = JoinSet::new();
    for producer in 0..4 {
        let jobs = Jobs::open(h).await?;
        producers.spawn(async move {
            for n in 0..100 {
                jobs.put([producer * 1_000 + n]).await?;
            }
            Outcome::Ok(())
        });
    }

    let items = Jobs::open(h).await?.get_many(400).await?;

    for producer in 0..4 {
        let own: Vec<u32> = items
            .iter()
            .filter(|item| *item / 1_000 == producer)
            .map(|item| item % 1_000)
            .collect();
        assert_eq!(own, (0..100).collect::<Vec<_>>(), "of producer {producer}");
    }
    Ok(())
}

/// Two handles of one name use one queue.
pub async fn two_handles_same_queue(h: &dyn Harness) -> Outcome {
    let (first, second) = (Jobs::open(h).await?, Jobs::open(h).await?);

    first.put([1, 2]).await?;
    second.put([3]).await?;

    assert_eq!((first.len().await?, second.len().await?), (3, 3));
    assert_eq!(second.try_get().await?, Some(1));
    assert_eq!(first.drain().await?, [2, 3]);
    assert_eq!(second.len().await?, 0);
    Ok(())
}

/// A queue is independent of queues with other names.
pub async fn queues_are_independent(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let others =
        ["job", "jobs:", "jobs*", "Jobs", "{jobs}", "jobs/é", "job?"].map(|name| jobs.named(name));

    jobs.put([0]).await?;
    for (n, other) in (1..).zip(&others) {
        assert_eq!(other.try_get().await?, None, "in {other:?}");
        other.put([n]).await?;
    }

    assert_eq!(jobs.drain().await?, [0]);
    for (n, other) in (1..).zip(&others) {
        assert_eq!(other.drain().await?, [n], "in {other:?}");
    }
    Ok(())
}

/// A queue of the same name in another namespace is another queue.
pub async fn queues_of_namespaces_are_isolated(h: &dyn Harness) -> Outcome {
    let here = Jobs::open(h).await?;
    let elsewhere = Jobs::on(h.connect_elsewhere().await?);

    here.put([1]).await?;

    assert_eq!(elsewhere.try_get().await?, None);
    assert_eq!(elsewhere.len().await?, 0);
    assert_eq!(here.try_get().await?, Some(1));
    Ok(())
}

/// Items stay when every handle is gone.
pub async fn queue_survives_without_handles(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1, 2]).await?;

    jobs.provider().close().await?;
    drop(jobs);

    assert_eq!(Jobs::open(h).await?.drain().await?, [1, 2]);
    Ok(())
}

/// A put needs no consumer.
pub async fn put_does_not_need_a_consumer(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    soon("a put without a consumer", jobs.put([1])).await??;

    assert_eq!(jobs.len().await?, 1);
    Ok(())
}

/// Puts and gets from 64 tasks through one handle all succeed.
pub async fn one_handle_serves_many_tasks(h: &dyn Harness) -> Outcome {
    let jobs = Arc::new(Jobs::open(h).await?);
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let jobs = Arc::clone(&jobs);
        tasks.spawn(async move {
            for n in 0..10 {
                jobs.put([task * 10 + n]).await?;
            }
            jobs.get_many(10).await
        });
    }

    let mut items = Vec::new();
    while let Some(got) = soon("a task", tasks.join_next()).await? {
        items.extend(got??);
    }

    items.sort_unstable();
    assert_eq!(items, (0..640).collect::<Vec<_>>());
    Ok(())
}
