//! A delayed message is hidden until it is due. Then it joins the back of the queue.

use std::time::Duration;

use pymq_core::ErrorKind;
use pymq_core::provider::{GetOptions, Part, PutOptions, QueueStats, Settle, Wait};
use tokio::time::{Instant, sleep};

use crate::jobs::{AMPLE, Jobs, LONG, SHORT, assert_took, at_most};
use crate::moment::parked;
use crate::wait::until;
use crate::{Harness, Outcome};

/// Before it is due, a message is not ready. When it is due, a waiting take gets it.
pub async fn delayed_put_is_hidden_until_due(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    let put = Instant::now();
    jobs.put_with([1], after(AMPLE)).await?;

    assert_eq!(jobs.try_get().await?, None);
    assert_eq!(jobs.stats().await?, QueueStats::new(0, 1, 0, 0));
    assert_eq!(other.get().await?, 1);

    assert_took(h, put, AMPLE);
    // A provider may remove what a waiting take got a moment after that has it.
    until("all is gone", async || {
        jobs.stats()
            .await
            .is_ok_and(|stats| stats == QueueStats::default())
    })
    .await?;
    assert_eq!(h.leftovers().await, Vec::<String>::new());
    Ok(())
}

/// A delay of zero is no delay.
pub async fn zero_delay_is_in_line_at_once(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    jobs.put_with([1], after(Duration::ZERO)).await?;

    assert_eq!(jobs.try_get().await?, Some(1));
    Ok(())
}

/// A waiting get wakes when the message is due, also if another handle put it after the wait began.
pub async fn waiting_get_wakes_at_due_time(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    let mut put_at = Instant::now();

    let putting = async {
        parked().await;
        put_at = Instant::now();
        jobs.put_with([1], after(SHORT)).await
    };
    let (got, put) = tokio::join!(other.get(), putting);
    put?;

    assert_eq!(got?, 1);
    assert_took(h, put_at, SHORT);
    Ok(())
}

/// A get that gives up before the message is due gets nothing, and the next get finds the message.
pub async fn get_may_give_up_before_due(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let put = Instant::now();
    jobs.put_with([1], after(AMPLE)).await?;

    let taken = jobs
        .take(GetOptions::default().wait(Wait::For(SHORT)))
        .await?;

    assert_eq!(taken, []);
    assert_eq!(jobs.get().await?, 1);
    assert_took(h, put, AMPLE);
    Ok(())
}

/// Messages leave in the order of their due times, not of their puts.
pub async fn delayed_items_ordered_by_due_time(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    for n in [2, 1, 3] {
        jobs.put_with([n], after(AMPLE / 2 * n)).await?;
        jobs.put_with([n * 10], after(LONG * n)).await?;
    }

    assert_eq!(jobs.get_many(3).await?, [1, 2, 3]);
    assert_eq!(jobs.peek(Part::Delayed).await?, [10, 20, 30]);
    Ok(())
}

/// Messages of one delayed batch stay in order.
pub async fn delayed_batch_keeps_its_order(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    jobs.put_with(0..20, after(AMPLE)).await?;

    assert_eq!(jobs.peek(Part::Delayed).await?, (0..20).collect::<Vec<_>>());
    assert_eq!(jobs.get_many(20).await?, (0..20).collect::<Vec<_>>());
    Ok(())
}

/// Ready messages pass those that are not due.
pub async fn delay_does_not_block_ready_items(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    jobs.put_with([1], after(LONG)).await?;
    jobs.put([2]).await?;

    assert_eq!(jobs.drain().await?, [2]);
    assert_eq!(jobs.stats().await?, QueueStats::new(0, 1, 0, 0));
    Ok(())
}

/// A due message goes behind the messages that are ready by then.
pub async fn due_items_join_at_the_back(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    jobs.put_with([9], after(AMPLE)).await?;
    jobs.put([1, 2]).await?;
    until("the message is due", async || {
        jobs.len().await.is_ok_and(|len| len == 3)
    })
    .await?;

    assert_eq!(jobs.drain().await?, [1, 2, 9]);
    Ok(())
}

/// A due message is ready for a count, a peek or a clear, before any take.
pub async fn due_items_are_in_line_by_themselves(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put_with([1, 2], after(SHORT)).await?;
    sleep(SHORT * 2).await;

    assert_eq!(jobs.clear(Part::Delayed).await?, 0);
    assert_eq!(jobs.peek(Part::Ready).await?, [1, 2]);
    assert_eq!(jobs.stats().await?, QueueStats::new(2, 0, 0, 0));
    assert_eq!(jobs.clear(Part::Ready).await?, 2);
    Ok(())
}

/// A message that is counted as ready can be taken at once, also while other takes find out that it
/// is due.
pub async fn due_items_can_be_taken_as_soon_as_counted(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);

    for n in 0..50 {
        other
            .put_with([n], after(Duration::from_millis(20)))
            .await?;
        until("the message is due", async || {
            jobs.len().await.is_ok_and(|len| len == 1)
        })
        .await?;

        assert_eq!(jobs.try_get().await?, Some(n));
    }
    Ok(())
}

/// The delayed part is cleared without the other parts.
pub async fn clear_delayed_leaves_the_line(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put_with([1, 2], after(LONG)).await?;
    jobs.put([3]).await?;

    assert_eq!(jobs.clear(Part::Ready).await?, 1);
    jobs.put([4]).await?;
    assert_eq!(jobs.clear(Part::Delayed).await?, 2);

    assert_eq!(jobs.drain().await?, [4]);
    assert_eq!(h.leftovers().await, Vec::<String>::new());
    Ok(())
}

/// A delayed message does not need the handle that put it.
pub async fn delayed_item_outlives_its_producer(h: &dyn Harness) -> Outcome {
    let (producer, consumer) = (Jobs::open(h).await?, Jobs::open(h).await?);
    producer.put_with([1], after(SHORT)).await?;

    producer.provider().close().await?;
    drop(producer);

    assert_eq!(consumer.get().await?, 1);
    Ok(())
}

/// A message that is nacked with a delay is hidden for this time. Then it joins at the back, as the
/// next attempt.
pub async fn nack_with_delay_waits(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1, 2]).await?;
    let held = jobs.lease(LONG).await?;

    let nacked = Instant::now();
    jobs.settle(&held, Settle::Nack { delay: AMPLE }).await?;
    assert_eq!(jobs.stats().await?, QueueStats::new(1, 1, 0, 0));
    until("the message is due", async || {
        jobs.len().await.is_ok_and(|len| len == 2)
    })
    .await?;

    assert!(
        nacked.elapsed() + Duration::from_millis(2) >= AMPLE,
        "due after {:?}",
        nacked.elapsed()
    );
    assert_eq!(jobs.get().await?, 2);
    let again = jobs.lease(LONG).await?;
    assert_eq!((again.item, again.attempt), (1, 2));
    Ok(())
}

/// A delayed nack wakes a waiting take when it is due.
pub async fn waiting_get_wakes_when_a_nack_is_due(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put([1]).await?;
    let held = jobs.lease(LONG).await?;
    let mut nacked = Instant::now();

    let nacking = async {
        parked().await;
        nacked = Instant::now();
        jobs.settle(&held, Settle::Nack { delay: SHORT }).await
    };
    let (got, settled) = tokio::join!(other.get(), nacking);
    settled?;

    assert_eq!(got?, 1);
    assert_took(h, nacked, SHORT);
    Ok(())
}

/// Messages that are not due take no space in a bounded queue. Due messages do, and may exceed the
/// bound.
pub async fn maxsize_bounds_the_line_only(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let one = PutOptions::default().maxsize(Some(at_most(1)));

    jobs.put_with([1, 2], one.clone().delay(AMPLE)).await?;
    jobs.put_with([3], one.clone()).await?;
    jobs.put_with([4], one.clone().delay(LONG)).await?;
    until("the messages are due", async || {
        jobs.len().await.is_ok_and(|len| len == 3)
    })
    .await?;
    let refused = jobs.put_with([5], one.maxsize(Some(at_most(3)))).await;

    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Full));
    assert_eq!(jobs.drain().await?, [3, 1, 2]);
    Ok(())
}

/// No delay of a put or a nack is too long, and none overflows into the past.
pub async fn extreme_delay_saturates(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    for delay in [
        Duration::MAX,
        Duration::from_secs(u64::MAX / 1_000),
        Duration::from_secs(1 << 40),
    ] {
        jobs.put_with([1], after(delay)).await?;
        jobs.put([2]).await?;
        let held = jobs.lease(LONG).await?;
        jobs.settle(&held, Settle::Nack { delay }).await?;

        assert_eq!(jobs.try_get().await?, None, "{delay:?}");
        assert_eq!(
            jobs.stats().await?,
            QueueStats::new(0, 2, 0, 0),
            "{delay:?}"
        );
        assert_eq!(jobs.clear(Part::Delayed).await?, 2, "{delay:?}");
    }
    Ok(())
}

/// A delayed batch that is put twice under one id is there once: while it is hidden, when it is
/// due, and when it is done.
pub async fn once_makes_a_repeated_delayed_put_harmless(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let opts = || after(SHORT).once("order-1".into());

    jobs.put_with([1, 2], opts()).await?;
    jobs.put_with([1, 2], opts()).await?;
    assert_eq!(jobs.stats().await?.unfinished(), 2);
    let first = jobs.get().await?;
    jobs.put_with([1, 2], opts()).await?;
    let second = jobs.get().await?;
    jobs.put_with([1, 2], opts()).await?;

    assert_eq!([first, second], [1, 2]);
    // A provider may remove what a waiting take got a moment after that has it.
    until("all is gone", async || {
        jobs.stats()
            .await
            .is_ok_and(|stats| stats == QueueStats::default())
    })
    .await?;
    Ok(())
}

fn after(delay: Duration) -> PutOptions {
    PutOptions::default().delay(delay)
}
