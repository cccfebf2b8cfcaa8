//! Dead letters: made by leases and by items that cannot be read, and put back.

use std::pin::pin;
use std::time::Duration;

use pymq_core::{DeadLetter, ErrorKind, Queue, Result};

use crate::typed_queues::{kind, open, poll_once};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// Takes the item at the front, without an ack, as often as the queue allows. So the next lease
/// buries it.
pub(crate) async fn spend(queue: &Queue<u32>, attempts: u32) -> Outcome {
    for attempt in 1..=attempts {
        let job = soon("lease", queue.lease()).await??;
        assert_eq!(job.attempt(), attempt);
        job.nack().await?;
    }
    Ok(())
}

/// An item out of attempts becomes a dead letter of its queue, with its reason, its attempt and its
/// headers.
pub async fn dead_letter_after_max_attempts(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(3);
    jobs.header("tenant", "a").put(&7).await?;

    spend(&jobs, 3).await?;
    assert!(jobs.try_lease().await?.is_none());

    let letters = jobs.dead_letters().peek(10).await?;
    let [letter] = &letters[..] else {
        return Err(format!("one dead letter, not {letters:?}").into());
    };
    assert_eq!(letter.read()?, 7);
    assert!(letter.reason().contains("3 times"), "{}", letter.reason());
    assert_eq!(
        letter.attempt(),
        4,
        "the take that found it out of attempts counts"
    );
    assert_eq!(letter.headers().get("tenant"), Some("a"));
    assert_eq!(letter.message().body, "7");
    assert_eq!(jobs.dead_letters().len().await?, 1);
    assert!(bus.queue::<u32>("mail").dead_letters().is_empty().await?);
    assert_eq!(jobs.stats().await?.unfinished(), 0);
    Ok(())
}

/// Five attempts by default.
pub async fn five_attempts_are_the_default(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put(&7).await?;

    spend(&jobs, 5).await?;

    assert!(jobs.try_lease().await?.is_none());
    assert_eq!(jobs.dead_letters().len().await?, 1);
    Ok(())
}

/// An attempt with a lease that ran out, as after a crash, counts like any other.
pub async fn a_lease_that_runs_out_counts_as_an_attempt(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = other.queue::<u32>("jobs").max_attempts(1);
    jobs.put(&7).await?;
    let crashed = bus
        .queue::<u32>("jobs")
        .lease_time(Duration::from_millis(100))
        .lease()
        .await?;
    let waiting = tokio::spawn({
        let jobs = jobs.clone();
        async move { jobs.lease().await }
    });

    let dead = jobs.dead_letters();
    until("the item is dead", || async {
        dead.len().await.is_ok_and(|len| len == 1)
    })
    .await?;
    jobs.put(&8).await?;

    let next = soon("lease", waiting).await???;
    assert_eq!((*next, next.attempt()), (8, 1));
    assert_eq!(kind(&crashed.ack().await), Some(ErrorKind::LeaseLost));
    Ok(())
}

/// A lease that finds an item out of attempts takes the next one, within the same call.
pub async fn a_lease_passes_over_spent_items(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(1);
    jobs.put_all(&[1, 2, 3]).await?;
    for job in [
        jobs.lease().await?,
        jobs.lease().await?,
        jobs.lease().await?,
    ] {
        job.nack().await?;
    }
    jobs.put(&4).await?;

    let job = soon("lease", jobs.lease()).await??;

    assert_eq!((*job, job.attempt()), (4, 1));
    job.ack().await?;
    assert_eq!(jobs.dead_letters().len().await?, 3);
    Ok(())
}

/// An item that always fails holds up the others only until its attempts are used up.
pub async fn one_bad_message_does_not_starve_the_rest(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<char>("jobs");
    let letters: Vec<char> = ('A'..='Z').collect();
    jobs.put_all(&letters).await?;

    let mut done = Vec::new();
    while let Some(job) = jobs.try_lease().await? {
        if *job == 'A' {
            job.nack().await?;
        } else {
            done.push(job.into_inner().await?);
        }
    }

    assert_eq!(done, letters[1..]);
    assert_eq!(jobs.dead_letters().len().await?, 1);
    Ok(())
}

/// An item that is not a `T` is buried by `lease`, which fails with its bytes. The next lease goes
/// on.
pub async fn an_undecodable_item_is_buried_by_lease(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (words, numbers) = (bus.queue::<String>("jobs"), bus.queue::<u32>("jobs"));
    words.put("seven").await?;
    numbers.put(&8).await?;

    let Err(error) = numbers.lease().await else {
        return Err("text is no number".into());
    };

    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(
        error.payload().map(|payload| &payload[..]),
        Some(&b"\"seven\""[..])
    );
    assert_eq!(numbers.lease().await?.into_inner().await?, 8);
    let letters = numbers.dead_letters().peek(10).await?;
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].reason().contains("u32"),
        "{}",
        letters[0].reason()
    );
    assert_eq!(letters[0].attempt(), 1);
    assert_eq!(kind(&letters[0].read()), Some(ErrorKind::Codec));
    assert_eq!(words.dead_letters().peek(1).await?[0].read()?, "seven");
    assert_eq!(numbers.stats().await?.unfinished(), 0);
    Ok(())
}

/// Redriven dead letters, all or some, are new items with all their attempts.
pub async fn dead_letters_can_be_put_back(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(1);
    let dead = jobs.dead_letters();
    for item in 1..=3 {
        jobs.put(&item).await?;
        spend(&jobs, 1).await?;
        assert!(jobs.try_lease().await?.is_none());
    }

    let letters = dead.peek(10).await?;
    let ids = [letters[1].id().clone(), "no such letter".into()];
    assert_eq!(dead.redrive_ids(ids).await?, 1);
    let second = jobs.lease().await?;
    assert_eq!((*second, second.attempt()), (2, 1));
    second.ack().await?;
    assert_eq!(dead.redrive().await?, 2);

    assert_eq!(jobs.lease().await?.into_inner().await?, 1);
    assert_eq!(jobs.lease().await?.into_inner().await?, 3);
    assert!(dead.is_empty().await?);
    Ok(())
}

/// A peek takes nothing and is bounded. A clear removes the dead letters and nothing else.
pub async fn dead_letters_are_peeked_and_cleared(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(1);
    let dead = jobs.dead_letters();
    for item in 1..=3 {
        jobs.put(&item).await?;
        spend(&jobs, 1).await?;
        assert!(jobs.try_lease().await?.is_none());
    }
    jobs.put(&4).await?;

    let oldest: Vec<u32> = dead
        .peek(2)
        .await?
        .iter()
        .map(DeadLetter::read)
        .collect::<Result<_>>()?;
    assert_eq!(oldest, [1, 2]);
    assert_eq!(dead.len().await?, 3);
    assert_eq!(dead.clear().await?, 3);

    assert!(dead.is_empty().await?);
    assert_eq!(jobs.try_get().await?, Some(4));
    Ok(())
}

/// `join` does not wait for dead letters.
pub async fn join_passes_over_dead_letters(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(1);
    jobs.put(&7).await?;
    spend(&jobs, 1).await?;
    let mut joining = pin!(jobs.join());
    assert!(poll_once(joining.as_mut()).await.is_pending());

    assert!(jobs.try_lease().await?.is_none());

    soon("join", joining).await??;
    Ok(())
}
