//! A bound is checked and used in one step. A repeated put is no put.

use std::time::Duration;

use pymq_core::ErrorKind;
use pymq_core::provider::{MAX_ONCE_WINDOW, MIN_ONCE_WINDOW, Put, PutOptions};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::jobs::{Jobs, at_most};
use crate::wait::soon;
use crate::{Clock, Harness, Outcome};

/// A full queue refuses a put and stays as it was.
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

/// A batch that does not fit is refused as a whole, and one that just fits is put. If a batch may
/// be put in part, the bound is kept, and the first messages of the batch are put.
pub async fn batch_that_does_not_fit_is_refused_whole(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1]).await?;

    let refused = jobs.put_with([2, 3, 4], bound(3)).await;
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Full));
    if !jobs.declares().atomic_batches {
        let items = jobs.drain().await?;
        assert!(
            items.len() <= 3 && [1, 2, 3, 4].starts_with(&items),
            "{items:?}"
        );
        jobs.put([1]).await?;
    }
    assert_eq!(jobs.len().await?, 1);
    jobs.put_with([2, 3], bound(3)).await?;

    assert_eq!(jobs.drain().await?, [1, 2, 3]);
    Ok(())
}

/// Without a bound there is no limit.
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
            Ok(_) => succeeded += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Full),
        }
    }

    assert_eq!(succeeded, 5);
    assert_eq!(handles[0].len().await?, 5);
    Ok(())
}

/// A put of a known id does nothing and succeeds, even if the item was taken long ago.
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

/// Of many puts of one id at once, one puts the item and all succeed.
pub async fn once_holds_under_race(h: &dyn Harness) -> Outcome {
    let handles = [Jobs::open(h).await?, Jobs::open(h).await?];
    let mut puts = JoinSet::new();
    for n in 0..32_u32 {
        let jobs = handles[n as usize % 2].clone();
        puts.spawn(async move { jobs.put_with([n], once("the one")).await });
    }

    let mut new = 0;
    while let Some(put) = soon("a put", puts.join_next()).await? {
        new += usize::from(put?? == Put::New);
    }

    assert_eq!(new, 1);
    assert_eq!(handles[0].len().await?, 1);
    Ok(())
}

/// A refused put does not use up its id.
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

/// A repeated put succeeds even if the queue is full: it puts nothing.
pub async fn once_succeeds_on_a_full_queue(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let opts = once("order-1").maxsize(Some(at_most(1)));
    jobs.put_with([1], opts.clone()).await?;

    jobs.put_with([1], opts).await?;

    assert_eq!(jobs.drain().await?, [1]);
    Ok(())
}

/// An id is remembered for two minutes and then forgotten. On a real clock, the test does not wait
/// for the second part.
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

/// A put reports whether it put its batch or found the id known: the first time, when any handle
/// repeats it, and after a refusal. A put without an id, and one without messages, is new.
pub async fn once_tells_new_from_known(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    let full = || once("b").maxsize(Some(at_most(2)));

    assert_eq!(jobs.put_with([], once("a")).await?, Put::New);
    assert_eq!(jobs.put_with([1, 2], once("a")).await?, Put::New);
    assert_eq!(jobs.put_with([1, 2], once("a")).await?, Put::Known);
    assert_eq!(other.put_with([3], once("a")).await?, Put::Known);
    assert!(jobs.put_with([4], full()).await.is_err());
    assert_eq!(jobs.drain().await?, [1, 2]);
    assert_eq!(jobs.put_with([4], full()).await?, Put::New);
    assert_eq!(other.put_with([4], full()).await?, Put::Known);
    assert_eq!(jobs.put_with([5], bound(9)).await?, Put::New);
    assert_eq!(jobs.put_with([5], bound(9)).await?, Put::New);

    assert_eq!(jobs.drain().await?, [4, 5, 5]);
    assert_eq!(jobs.put_with([1, 2], once("a")).await?, Put::Known);
    Ok(())
}

/// An id is known for the window of the new put. A put of a known id does not change this.
pub async fn an_id_is_known_for_its_window(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let long = Duration::from_secs(3_600);
    let (short, wait) = match h.clock() {
        Clock::Paused => (Duration::from_secs(600), Duration::from_secs(599)),
        Clock::Real => (Duration::from_secs(2), Duration::from_millis(500)),
    };
    assert_eq!(jobs.put_with([1], once("a").window(long)).await?, Put::New);
    assert_eq!(jobs.put_with([2], once("b").window(short)).await?, Put::New);

    sleep(wait).await;
    assert_eq!(
        jobs.put_with([3], once("b").window(long)).await?,
        Put::Known
    );
    sleep(short).await;

    assert_eq!(jobs.put_with([4], once("b").window(short)).await?, Put::New);
    assert_eq!(
        jobs.put_with([5], once("a").window(short)).await?,
        Put::Known
    );
    assert_eq!(jobs.drain().await?, [1, 2, 4]);
    Ok(())
}

/// No window is too short or too long for a put: it is limited to the nearest allowed value.
pub async fn a_window_has_bounds(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    for (n, window) in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX]
        .into_iter()
        .enumerate()
    {
        let opts = || once(&n.to_string()).window(window);
        assert_eq!(jobs.put_with([1], opts()).await?, Put::New, "{window:?}");
        if h.clock() == Clock::Paused || window == Duration::MAX {
            assert_eq!(jobs.put_with([1], opts()).await?, Put::Known, "{window:?}");
        }
    }
    if h.clock() == Clock::Paused {
        sleep(MIN_ONCE_WINDOW).await;
        assert_eq!(jobs.put_with([1], once("0")).await?, Put::New);
        assert_eq!(jobs.put_with([1], once("2")).await?, Put::Known);
        sleep(MAX_ONCE_WINDOW).await;
        assert_eq!(jobs.put_with([1], once("2")).await?, Put::New);
    }
    Ok(())
}

fn bound(maxsize: usize) -> PutOptions {
    PutOptions::default().maxsize(Some(at_most(maxsize)))
}

fn once(id: &str) -> PutOptions {
    PutOptions::default().once(id.into())
}
