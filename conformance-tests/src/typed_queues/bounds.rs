//! What a bound means for a put that waits, and for one that does not.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{Provider, Put, PutOptions};
use pymq_core::{Bus, Error, ErrorKind, Message, Queue, Result};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::{SHORT, kind, open, poll_once};
use crate::twist::{Twist, twisted};
use crate::wait::soon;
use crate::{Clock, Harness, Outcome};

/// A put into a full queue waits. It continues at once when its own bus takes an item, without
/// another query.
pub async fn blocking_put_waits_for_space(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    jobs.put(&1).await?;
    let start = Instant::now();
    let mut waiting = pin!(jobs.put(&2));
    assert!(poll_once(waiting.as_mut()).await.is_pending());

    assert_eq!(jobs.get().await?, 1);
    soon("put", waiting).await??;

    if h.clock() == Clock::Paused {
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    assert_eq!(jobs.try_get().await?, Some(2));
    assert_eq!(jobs.try_get().await?, None);
    Ok(())
}

/// Space that appears while the provider still answers "full" is not missed.
pub async fn blocking_put_notices_space_made_while_it_asks(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let bus = Bus::new(twisted(provider, SlowRefusals));
    let jobs = bus.queue::<u32>("jobs").maxsize(2);
    jobs.clone().unbounded().put_all(&[1, 2]).await?;
    let start = Instant::now();

    let puts = async { tokio::try_join!(jobs.put(&3), jobs.put(&4)) };
    let gets = async { Ok((jobs.get().await?, jobs.get().await?)) };
    let (_, taken) = soon("put", async { tokio::try_join!(puts, gets) }).await??;

    assert_eq!(taken, (1, 2));
    if h.clock() == Clock::Paused {
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    Ok(())
}

/// Puts like the inner provider, and is slow to refuse.
#[derive(Debug)]
struct SlowRefusals;

#[async_trait]
impl Twist for SlowRefusals {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        let answer = inner.queue_put(queue, messages, opts).await;
        if answer.is_err() {
            yield_now().await;
        }
        answer
    }
}

/// A put into a full queue also continues when another bus makes space.
pub async fn blocking_put_notices_space_made_by_another_bus(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    jobs.put(&1).await?;
    let waiting = tokio::spawn({
        let jobs = jobs.clone();
        async move { jobs.put(&2).await }
    });

    assert_eq!(other.queue::<u32>("jobs").get().await?, 1);

    soon("put", waiting).await???;
    assert_eq!(jobs.len().await?, 1);
    Ok(())
}

/// Many waiting puts and one taker: every item arrives once, and the bound always holds.
pub async fn many_blocking_puts_keep_the_bound(h: &dyn Harness) -> Outcome {
    let (near, far) = (open(h).await?, open(h).await?);
    let mut puts = Vec::new();
    for item in 0..40u32 {
        let bus = if item % 2 == 0 { &near } else { &far };
        let jobs = bus.queue::<u32>("jobs").maxsize(3);
        puts.push(tokio::spawn(async move { jobs.put(&item).await }));
    }

    let jobs = near.queue::<u32>("jobs");
    let mut items = Vec::new();
    while items.len() < 40 {
        assert!(jobs.len().await? <= 3);
        items.push(soon("get", jobs.get()).await??);
    }

    for put in puts {
        put.await??;
    }
    items.sort_unstable();
    assert!(items.iter().copied().eq(0..40));
    Ok(())
}

/// A put with a timeout fails with `Full`, not before its time, and has put nothing.
pub async fn put_timeout_gives_full(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    jobs.put(&1).await?;

    let start = Instant::now();
    let late = jobs.put_timeout(&2, SHORT).await;

    assert_eq!(kind(&late), Some(ErrorKind::Full));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(jobs.len().await?, 1);
    Ok(())
}

/// A put that may have happened is reported and not repeated: the item is in the queue once.
pub async fn a_put_is_not_repeated_when_its_outcome_is_unknown(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let bus = Bus::new(twisted(provider, LostAnswers));
    let jobs = bus.queue::<u32>("jobs").maxsize(9);

    let Err(error) = soon("put", jobs.put(&1)).await? else {
        return Err("the answer was lost".into());
    };

    assert!(error.outcome_unknown(), "{error}");
    assert_eq!(jobs.len().await?, 1);
    Ok(())
}

/// Puts, and loses the answer.
#[derive(Debug)]
struct LostAnswers;

#[async_trait]
impl Twist for LostAnswers {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        inner.queue_put(queue, messages, opts).await?;
        Err(Error::new(ErrorKind::Timeout, "test: put").with_outcome_unknown())
    }
}

/// `len`, `is_empty` and `is_full` agree.
pub async fn is_full_and_is_empty_agree_with_len(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (bounded, unbounded) = (
        bus.queue::<u32>("jobs").maxsize(2),
        bus.queue::<u32>("jobs"),
    );

    for len in 0..=2 {
        assert_eq!(bounded.len().await?, len);
        assert_eq!(bounded.is_empty().await?, len == 0);
        assert_eq!(bounded.is_full().await?, len == 2);
        assert!(!unbounded.is_full().await?);
        unbounded.put(&1).await?;
    }
    assert!(
        bounded.is_full().await?,
        "more than the bound is full as well"
    );
    Ok(())
}

/// A batch is put whole and in order, or not at all. A batch larger than the bound is refused at
/// once. Where a provider may put a part of a batch, a bounded one is refused before anything is
/// sent: a second try could put its first items again.
pub async fn put_all_is_all_or_nothing(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(3);
    if !bus.provider()?.capabilities().atomic_batches {
        return bounded_put_all_is_refused(&jobs).await;
    }
    jobs.put(&0).await?;
    let mut waiting = pin!(jobs.put_all(&[1, 2, 3]));
    assert!(poll_once(waiting.as_mut()).await.is_pending());

    assert_eq!(
        kind(&soon("put_all", jobs.put_all(&[1, 2, 3, 4])).await?),
        Some(ErrorKind::Full)
    );
    assert_eq!(jobs.get().await?, 0);
    soon("put_all", waiting).await??;
    jobs.put_all(&[]).await?;

    assert_eq!(jobs.len().await?, 3);
    for item in 1..=3 {
        assert_eq!(jobs.try_get().await?, Some(item));
    }
    Ok(())
}

async fn bounded_put_all_is_refused(jobs: &Queue<u32>) -> Outcome {
    jobs.put(&0).await?;
    // The second does not fit, so a part of it would be put and its put would wait.
    for batch in [&[1, 2][..], &[1, 2, 3]] {
        let refused = soon("put_all", jobs.put_all(batch)).await?;
        assert_eq!(kind(&refused), Some(ErrorKind::Unsupported));
    }
    assert_eq!(jobs.len().await?, 1, "nothing was sent");

    jobs.put_all(&[1]).await?;
    jobs.put_all(&[]).await?;
    jobs.clone().unbounded().put_all(&[2, 3]).await?;
    for item in 0..=3 {
        assert_eq!(jobs.try_get().await?, Some(item));
    }
    assert_eq!(jobs.try_get().await?, None);
    Ok(())
}

/// A put that is dropped while it waits for space has put nothing.
pub async fn a_dropped_waiting_put_puts_nothing(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    jobs.put(&1).await?;

    assert!(tokio::time::timeout(SHORT, jobs.put(&2)).await.is_err());

    assert_eq!(jobs.try_get().await?, Some(1));
    assert_eq!(jobs.try_get().await?, None);
    Ok(())
}

/// A clear makes space for waiting puts.
pub async fn clear_makes_space(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(2);
    jobs.clone().unbounded().put_all(&[1, 2]).await?;
    let mut waiting = pin!(jobs.put(&3));
    assert!(poll_once(waiting.as_mut()).await.is_pending());

    assert_eq!(jobs.clear().await?, 2);
    soon("put", waiting).await??;

    assert_eq!(jobs.try_get().await?, Some(3));
    Ok(())
}
