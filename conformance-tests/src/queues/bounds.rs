//! A bound is checked and used in one step; a repeated put is none.

use std::time::Duration;

use pymq::ErrorKind;
use pymq::provider::PutOptions;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::jobs::{Jobs, at_most};
use crate::wait::soon;
use crate::{Clock, Harness, Outcome};

/// A full queue refuses, and stays as it was.
pub async fn maxsize_refuses_when_full(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put_with([1], bound(2)).await?;
    jobs.put_with([2], bound(2)).await?;

    let refused = jobs.put_with([3], bound(2)).await;

    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Full));
    assert_eq!(jobs.drain().await?, [1, 2]);
    jobs.put_with([3], bound(2)).await?;
    assert_eq!(jobs.drain().await?, [3]);
    Ok(())
}

/// A batch that does not fit is refused as a whole; one that just fits is taken.
pub async fn batch_that_does_not_fit_is_refused_whole(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1]).await?;

    let refused = jobs.put_with([2, 3, 4], bound(3)).await;
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Full));
    assert_eq!(jobs.len().await?, 1);
    jobs.put_with([2, 3], bound(3)).await?;

    assert_eq!(jobs.drain().await?, [1, 2, 3]);
    Ok(())
}

/// Without a bound there is none.
pub async fn no_maxsize_is_unbounded(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    for batch in 0..20 {
        jobs.put_with([batch; 100], PutOptions::default().maxsize(None))
            .await?;
    }

    assert_eq!(jobs.len().await?, 2_000);
    Ok(())
}

/// A bound belongs to the put, not to the queue: another put may have none, or a lower one.
pub async fn maxsize_binds_only_the_put_that_names_it(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put_with([1], bound(1)).await?;

    jobs.put([2, 3]).await?;
    let refused = jobs.put_with([4], bound(1)).await;

    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Full));
    assert_eq!(jobs.drain().await?, [1, 2, 3]);
    Ok(())
}

/// Of 32 puts at once into five places, five succeed.
pub async fn maxsize_holds_under_race(h: &dyn Harness) -> Outcome {
    let handles = [Jobs::open(h).await?, Jobs::open(h).await?];
    let mut puts = JoinSet::new();
    for n in 0..32_u32 {
        let jobs = handles[n as usize % 2].clone();
        puts.spawn(async move { jobs.put_with([n], bound(5)).await });
    }

    let mut succeeded = 0;
    while let Some(put) = soon("a put", puts.join_next()).await? {
        match put? {
            Ok(()) => succeeded += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Full),
        }
    }

    assert_eq!(succeeded, 5);
    assert_eq!(handles[0].len().await?, 5);
    Ok(())
}

/// A put of an id that was put before does nothing and succeeds, also when the item is long taken.
pub async fn once_makes_a_repeated_put_harmless(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put_with([1, 2], once("order-1")).await?;

    other.put_with([1, 2], once("order-1")).await?;
    assert_eq!(jobs.drain().await?, [1, 2]);
    jobs.put_with([1, 2], once("order-1")).await?;
    jobs.put_with([3], once("order-2")).await?;

    assert_eq!(jobs.drain().await?, [3]);
    let elsewhere = jobs.named("other");
    elsewhere.put_with([4], once("order-1")).await?;
    assert_eq!(
        elsewhere.drain().await?,
        [4],
        "an id is known to its own queue only"
    );
    Ok(())
}

/// Of many puts of one id at once, one is real and all succeed.
pub async fn once_holds_under_race(h: &dyn Harness) -> Outcome {
    let handles = [Jobs::open(h).await?, Jobs::open(h).await?];
    let mut puts = JoinSet::new();
    for n in 0..32_u32 {
        let jobs = handles[n as usize % 2].clone();
        puts.spawn(async move { jobs.put_with([n], once("the one")).await });
    }

    while let Some(put) = soon("a put", puts.join_next()).await? {
        put??;
    }

    assert_eq!(handles[0].len().await?, 1);
    Ok(())
}

/// A put that is refused has not used up its id.
pub async fn refused_put_does_not_use_up_its_id(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1]).await?;

    let refused = jobs
        .put_with([2], once("order-2").maxsize(Some(at_most(1))))
        .await;
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Full));
    jobs.put_with([2], once("order-2")).await?;

    assert_eq!(jobs.drain().await?, [1, 2]);
    Ok(())
}

/// A repeated put succeeds even when the queue is full: it puts nothing.
pub async fn once_succeeds_on_a_full_queue(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let opts = once("order-1").maxsize(Some(at_most(1)));
    jobs.put_with([1], opts.clone()).await?;

    jobs.put_with([1], opts).await?;

    assert_eq!(jobs.drain().await?, [1]);
    Ok(())
}

/// An id is remembered for two minutes and then forgotten. Where time is real, only the remembering is waited for.
pub async fn once_is_remembered_for_two_minutes(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let (nearly, after) = match h.clock() {
        Clock::Paused => (Duration::from_secs(119), Some(Duration::from_secs(2))),
        Clock::Real => (Duration::from_secs(2), None),
    };
    jobs.put_with([1], once("order-1")).await?;

    sleep(nearly).await;
    jobs.put_with([2], once("order-1")).await?;
    assert_eq!(jobs.drain().await?, [1]);

    if let Some(after) = after {
        sleep(after).await;
        jobs.put_with([3], once("order-1")).await?;
        assert_eq!(jobs.drain().await?, [3]);
    }
    Ok(())
}

fn bound(maxsize: usize) -> PutOptions {
    PutOptions::default().maxsize(Some(at_most(maxsize)))
}

fn once(id: &str) -> PutOptions {
    PutOptions::default().once(id.into())
}
