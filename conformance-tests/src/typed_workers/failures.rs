//! A failed item is tried again, and ends as a dead letter that says why.

use std::future::ready;
use std::time::Duration;

use pymq_core::{Bus, ItemMeta, Queue};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;

use crate::bomb::{Mine, explode};
use crate::typed::{next, open, recorder};
use crate::wait::{WAIT_LIMIT, soon, until};
use crate::without::{Capability, without};
use crate::{Failure, Harness, Outcome};

/// No delay: a failed item is tried again at once.
pub(super) const AT_ONCE: (Duration, Duration) = (Duration::ZERO, Duration::ZERO);

/// An item with a handler that returns an error is tried again, with its attempt counted, until it
/// succeeds.
pub async fn a_failed_item_is_tried_again(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let (told, mut attempts) = unbounded_channel();
    let handler = move |_: u32, meta: ItemMeta| {
        told.send(meta.attempt()).ok();
        ready(if meta.attempt() < 3 {
            Err("not yet")
        } else {
            Ok(())
        })
    };
    jobs.put(&7).await?;

    let _worker = jobs.worker(handler).backoff(AT_ONCE.0, AT_ONCE.1).start()?;

    for attempt in 1..=3 {
        assert_eq!(next(&mut attempts).await?, attempt);
    }
    soon("join", jobs.join()).await??;
    assert_eq!(
        (bus.stats().handler_failures, bus.stats().redelivered),
        (2, 2)
    );
    assert!(jobs.dead_letters().is_empty().await?);
    Ok(())
}

/// An item out of attempts is a dead letter at once. Its reason says how often it was tried, the
/// last error, and where that was.
pub async fn a_dead_letter_tells_count_error_and_origin(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(3);
    jobs.header("tenant", "a").put(&7).await?;

    let _worker = jobs
        .worker(always_failing)
        .backoff(AT_ONCE.0, AT_ONCE.1)
        .start()?;

    let (reason, attempt) = only_dead_letter(&jobs).await?;
    assert_eq!(attempt, 3);
    for part in [
        "3 of 3",
        "disk full on attempt 3",
        "always_failing",
        "`jobs`",
    ] {
        assert!(reason.contains(part), "no `{part}` in: {reason}");
    }
    assert!(reason.contains(&std::process::id().to_string()), "{reason}");
    let letters = jobs.dead_letters().peek(1).await?;
    assert_eq!(letters[0].headers().get("tenant"), Some("a"));
    assert_eq!(jobs.stats().await?.unfinished(), 0);
    Ok(())
}

async fn always_failing(_: u32, meta: ItemMeta) -> Result<(), String> {
    Err(format!("disk full on attempt {}", meta.attempt()))
}

/// A panic is a failure like any other, wherever in the handler it happens, and the dead letter has
/// its text.
pub async fn a_panic_is_a_failure_like_any_other(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(2);
    let (record, mut arrived) = recorder::<u32>();
    let handler = move |item: u32| {
        // Before there is a future.
        assert!(item != 1, "one is too early");
        let recorded = record(item);
        async move {
            let _trap = Trap { is_set: item == 3 };
            tokio::task::yield_now().await;
            assert!(item != 2, "two is too late");
            recorded.await;
        }
    };
    jobs.put_all(&[1, 2, 3, 4]).await?;

    let _worker = jobs.worker(handler).backoff(AT_ONCE.0, AT_ONCE.1).start()?;

    soon("join", jobs.join()).await??;
    let mut letters = jobs.dead_letters().peek(10).await?;
    if !bus.provider()?.capabilities().front {
        letters.sort_by_key(|letter| letter.read().ok());
    }
    let seen: Vec<_> = letters
        .iter()
        .map(|letter| Ok((letter.read()?, letter.attempt())))
        .collect::<pymq_core::Result<_>>()?;
    assert_eq!(seen, [(1, 2), (2, 2), (3, 2)]);
    assert!(letters[0].reason().contains("one is too early"));
    assert!(letters[1].reason().contains("two is too late"));
    assert_eq!(arrived.recv().await, Some(2));
    Ok(())
}

/// The same for a panic with a payload that panics again when it is dropped: the item fails, and
/// the next one is processed.
pub async fn a_panic_that_panics_again_does_not_end_a_worker(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(1);
    let (record, mut arrived) = recorder::<u32>();
    let handler = move |item: u32| {
        if item == 1 {
            explode();
        }
        let recorded = (item == 4).then(|| record(item));
        async move {
            if item == 2 {
                explode();
            }
            let _mine = (item == 3).then(|| Mine);
            tokio::task::yield_now().await;
            if let Some(recorded) = recorded {
                recorded.await;
            }
        }
    };
    jobs.put_all(&[1, 2, 3, 4]).await?;

    let worker = jobs.worker(handler).backoff(AT_ONCE.0, AT_ONCE.1).start()?;

    soon("join", jobs.join()).await??;
    assert_eq!(next(&mut arrived).await?, 4);
    assert_eq!(jobs.dead_letters().peek(10).await?.len(), 3);
    soon("stop", worker.stop()).await?;
    Ok(())
}

/// Panics when it is dropped, if it is set.
struct Trap {
    is_set: bool,
}

impl Drop for Trap {
    fn drop(&mut self) {
        assert!(!self.is_set, "three is dropped");
    }
}

/// An item that the handler cannot read is dead at once, and the next one is processed.
pub async fn what_does_not_decode_is_dead_at_once(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (words, numbers) = (bus.queue::<String>("jobs"), bus.queue::<u32>("jobs"));
    let (record, mut arrived) = recorder::<u32>();
    words.put("seven").await?;
    numbers.put(&8).await?;

    let worker = numbers.worker(record).start()?;

    assert_eq!(next(&mut arrived).await?, 8);
    let (reason, attempt) = only_dead_letter(&words).await?;
    assert_eq!(attempt, 1);
    assert!(reason.contains("u32"), "{reason}");
    worker.stop().await;
    let stats = bus.stats();
    assert_eq!(
        (
            stats.undecodable,
            stats.dead_lettered,
            stats.handler_failures
        ),
        (1, 1, 0)
    );
    Ok(())
}

/// An item that kills each of its workers is dead when its attempts are used up, because ended
/// leases count.
pub async fn an_item_that_kills_its_workers_ends_dead(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(2);
    let (record, mut arrived) = recorder::<u32>();
    jobs.put(&1).await?;
    // Held by a lease that never comes back, as in a process that died.
    let mut killed = Vec::new();
    for attempt in 1..=2 {
        let dying = jobs.clone().lease_time(Duration::from_millis(50));
        let lease = soon("lease", dying.lease()).await??;
        assert_eq!(lease.attempt(), attempt);
        killed.push(lease);
    }

    let _worker = jobs.worker(record).start()?;
    jobs.put(&2).await?;

    assert_eq!(next(&mut arrived).await?, 2);
    let (reason, _) = only_dead_letter(&jobs).await?;
    assert!(reason.contains("2 times"), "{reason}");
    drop(killed);
    Ok(())
}

/// On a provider without delays, a failed item waits under the lease of its worker, which is
/// extended for that time.
pub async fn without_delays_a_failed_item_rests_under_its_lease(h: &dyn Harness) -> Outcome {
    let bus = Bus::new(without(Capability::Delays, h.connect().await?));
    let jobs = bus
        .queue::<u32>("jobs")
        .lease_time(Duration::from_millis(300));
    let rest = Duration::from_millis(800);
    let (told, mut attempts) = unbounded_channel();
    let handler = move |item: u32, meta: ItemMeta| {
        told.send((item, meta.attempt())).ok();
        ready(if item == 1 && meta.attempt() == 1 {
            Err("not yet")
        } else {
            Ok(())
        })
    };
    jobs.put_all(&[1, 2]).await?;
    let start = Instant::now();

    let worker = jobs
        .worker(handler)
        .concurrency(2)
        .backoff(rest, rest)
        .start()?;

    let mut first = [next(&mut attempts).await?, next(&mut attempts).await?];
    first.sort_unstable();
    assert_eq!(first, [(1, 1), (2, 1)]);
    until("the other is settled", async || {
        jobs.stats()
            .await
            .is_ok_and(|stats| stats.unfinished() == 1)
    })
    .await?;
    assert_eq!(jobs.stats().await?.leased, 1);
    assert_eq!(next(&mut attempts).await?, (1, 2));
    assert!(
        start.elapsed() >= rest / 2,
        "tried again after {:?}",
        start.elapsed()
    );
    soon("join", jobs.join()).await??;
    worker.stop().await;
    Ok(())
}

/// Waits for the only dead letter. Returns its reason and attempt.
pub(super) async fn only_dead_letter<T>(queue: &Queue<T>) -> Result<(String, u32), Failure> {
    until("there is a dead letter", async || {
        queue.dead_letters().len().await.is_ok_and(|len| len > 0)
    })
    .await?;
    let letters = soon("peek", queue.dead_letters().peek(9)).await??;
    assert_eq!(letters.len(), 1, "{letters:?} within {WAIT_LIMIT:?}");
    Ok((letters[0].reason().to_owned(), letters[0].attempt()))
}
