//! A get waits as long as requested, is woken by a put, and loses nothing however it ends.

use std::time::Duration;

use pymq_core::provider::{GetOptions, Wait};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::jobs::{Jobs, assert_took, item};
use crate::moment::{dropped_at, moment, parked};
use crate::wait::{WAIT_LIMIT, soon};
use crate::{Harness, Outcome};

/// A get that may not wait returns at once, without an item.
pub async fn get_nowait_on_empty_is_immediate(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let started = Instant::now();

    let taken = jobs.take(GetOptions::default().wait(Wait::No)).await?;

    assert_eq!(taken, []);
    assert_took(h, started, Duration::ZERO);
    Ok(())
}

/// A get that may wait for a time waits that long, and then returns without an item.
pub async fn get_timeout_waits_then_empty(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let started = Instant::now();

    let taken = jobs.take(wait_for(Duration::from_millis(300))).await?;

    assert_eq!(taken, []);
    assert_took(h, started, Duration::from_millis(300));
    Ok(())
}

/// A timeout of zero means "do not wait", never "for ever". A ready item is taken.
pub async fn zero_timeout_means_nowait(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    let taken = soon(
        "a get with a zero timeout",
        jobs.take(wait_for(Duration::ZERO)),
    )
    .await??;
    assert_eq!(taken, []);
    jobs.put([1]).await?;
    let taken = jobs.take(wait_for(Duration::ZERO)).await?;

    assert_eq!(taken.len(), 1);
    Ok(())
}

/// A put wakes a get that waits on the same or another handle, long before its timeout.
pub async fn waiting_get_is_woken_by_put(h: &dyn Harness) -> Outcome {
    let (producer, other) = (Jobs::open(h).await?, Jobs::open(h).await?);

    for consumer in [producer.clone(), other] {
        let waiting = soon("a waiting get", consumer.take(wait_for(WAIT_LIMIT * 100)));
        let putting = async {
            parked().await;
            producer.put([1]).await
        };
        let (taken, put) = tokio::join!(waiting, putting);
        put?;

        assert_eq!(item(&taken??[0].message)?, 1);
    }
    Ok(())
}

/// A put that arrives while a get starts to wait is not missed.
pub async fn put_beside_a_starting_get_wakes_it(h: &dyn Harness) -> Outcome {
    let (producer, consumer) = (Jobs::open(h).await?, Jobs::open(h).await?);

    for n in 0..200 {
        let waiting = soon(
            "a get beside a put",
            consumer.take(GetOptions::default().wait(Wait::Forever)),
        );
        let putting = async {
            moment(h.clock(), n % 20).await;
            producer.put([n]).await
        };
        let (taken, put) = tokio::join!(waiting, putting);
        put?;

        assert_eq!(item(&taken??[0].message)?, n);
    }
    Ok(())
}

/// No default limit ends a wait of two seconds early, and the item at its end is received.
pub async fn long_wait_survives(h: &dyn Harness) -> Outcome {
    let (producer, consumer) = (Jobs::open(h).await?, Jobs::open(h).await?);
    let long = Duration::from_secs(2);
    let started = Instant::now();

    let putting = async {
        sleep(long).await;
        producer.put([1]).await
    };
    let (got, put) = tokio::join!(consumer.get(), putting);
    put?;

    assert_eq!(got?, 1);
    assert_took(h, started, long);
    Ok(())
}

/// Of many waiting gets, exactly one gets an item. The others wait on, and get the next ones.
pub async fn many_waiters_one_item(h: &dyn Harness) -> Outcome {
    let (producer, mut waiters) = (Jobs::open(h).await?, waiters(h, 8).await?);
    parked().await;

    producer.put([0]).await?;
    let first = soon("one waiter", waiters.join_next())
        .await?
        .ok_or("a waiter ends")??;
    assert_eq!(first?, 0);
    producer.put(1..8).await?;
    let mut others = all(waiters).await?;

    // If two had the first item, one of the next would be left over.
    others.sort_unstable();
    assert_eq!(others, (1..8).collect::<Vec<_>>());
    Ok(())
}

/// As many items as waiting gets, in one batch or one by one: all gets return.
pub async fn waiters_are_served_all(h: &dyn Harness) -> Outcome {
    let producer = Jobs::open(h).await?;

    let waiting = waiters(h, 16).await?;
    parked().await;
    producer.put(0..16).await?;
    let mut batched = all(waiting).await?;
    let waiting = waiters(h, 16).await?;
    parked().await;
    for n in 0..16 {
        producer.put([n]).await?;
    }
    let mut single = all(waiting).await?;

    batched.sort_unstable();
    single.sort_unstable();
    assert_eq!(batched, (0..16).collect::<Vec<_>>());
    assert_eq!(single, batched);
    Ok(())
}

/// Gets that are dropped at any moment lose no item and count no attempt: every item is received
/// once, as a first attempt.
pub async fn cancelled_get_loses_nothing(h: &dyn Harness) -> Outcome {
    let (producer, consumer) = (Jobs::open(h).await?, Jobs::open(h).await?);
    let mut deliveries = Vec::new();

    for n in 0..300 {
        let waiting = dropped_at(
            h.clock(),
            n % 60,
            consumer.take(GetOptions::default().wait(Wait::Forever)),
        );
        let (taken, put) = tokio::join!(waiting, producer.put([n]));
        put?;
        deliveries.extend(taken.transpose()?.unwrap_or_default());
    }
    while deliveries.len() < 300 {
        let taken = consumer.take(wait_for(WAIT_LIMIT)).await?;
        assert!(
            !taken.is_empty(),
            "{} of 300 items are lost",
            300 - deliveries.len()
        );
        deliveries.extend(taken);
    }

    let mut items = deliveries
        .iter()
        .map(|delivery| item(&delivery.message))
        .collect::<Outcome<Vec<u32>>>()?;
    items.sort_unstable();
    assert_eq!(items, (0..300).collect::<Vec<_>>());
    assert_eq!(consumer.try_get().await?, None);
    assert!(
        deliveries.iter().all(|delivery| delivery.attempt == 1),
        "a dropped get counts no attempt"
    );
    Ok(())
}

/// A get that is dropped just after it was woken leaves the item to the next one.
pub async fn cancelled_waiter_leaves_the_item_to_another(h: &dyn Harness) -> Outcome {
    let (producer, consumer) = (Jobs::open(h).await?, Jobs::open(h).await?);

    for n in 0..90 {
        let forever = GetOptions::default().wait(Wait::Forever);
        let mut next = JoinSet::new();
        let jobs = consumer.clone();
        next.spawn(async move { jobs.get().await });
        let putting = async {
            moment(h.clock(), 1 + n % 3).await;
            producer.put([n]).await
        };
        let first = dropped_at(h.clock(), n % 30, consumer.take(forever));
        let (first, put) = tokio::join!(first, putting);
        put?;
        if first.transpose()?.is_some() {
            producer.put([n]).await?;
        }

        assert_eq!(all(next).await?, [n]);
    }
    assert_eq!(consumer.try_get().await?, None);
    Ok(())
}

/// A get with a timeout that meets a put either has the item or has left it in the queue.
pub async fn timed_out_get_loses_nothing(h: &dyn Harness) -> Outcome {
    let (producer, consumer) = (Jobs::open(h).await?, Jobs::open(h).await?);
    let tick = Duration::from_millis(1);

    for n in 0..500 {
        let putting = async {
            sleep(tick).await;
            producer.put([n]).await
        };
        let (taken, put) = tokio::join!(consumer.take(wait_for(tick)), putting);
        put?;
        let got = match taken?.first() {
            Some(delivery) => item(&delivery.message)?,
            None => consumer.get().await?,
        };

        assert_eq!(got, n);
    }
    assert_eq!(consumer.try_get().await?, None);
    Ok(())
}

fn wait_for(time: Duration) -> GetOptions {
    GetOptions::default().wait(Wait::For(time))
}

/// Starts this many gets without a limit, on two handles.
async fn waiters(h: &dyn Harness, count: usize) -> Outcome<JoinSet<Outcome<u32>>> {
    let handles = [Jobs::open(h).await?, Jobs::open(h).await?];
    let mut waiters = JoinSet::new();
    for n in 0..count {
        let jobs = handles[n % 2].clone();
        waiters.spawn(async move {
            let taken = jobs.take(GetOptions::default().wait(Wait::Forever)).await?;
            assert_eq!(taken.len(), 1, "a get for ever ends with an item");
            item(&taken[0].message)
        });
    }
    Ok(waiters)
}

async fn all(mut waiters: JoinSet<Outcome<u32>>) -> Outcome<Vec<u32>> {
    let mut items = Vec::new();
    while let Some(got) = soon("a waiter", waiters.join_next()).await? {
        items.push(got??);
    }
    Ok(items)
}
