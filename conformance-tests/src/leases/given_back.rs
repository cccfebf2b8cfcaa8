//! Messages that are given back: where they join, and what they keep.

use pymq_core::Message;
use pymq_core::provider::{
    Delivery, GetOptions, Provider, PutOptions, QueueStats, Receipt, Redrive, Settle, Wait,
};

use crate::jobs::{Jobs, LONG, SHORT, bury, nack};
use crate::moment::parked;
use crate::wait::{WAIT_LIMIT, soon};
use crate::{Harness, Outcome};

/// A message that is nacked without a delay is the next to be taken. If the provider does not give
/// back to the front, it is ready again.
pub async fn nack_returns_it_to_the_front(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1, 2, 3]).await?;

    let held = jobs.lease(LONG).await?;
    jobs.settle(&held, nack()).await?;

    assert_eq!(jobs.stats().await?, QueueStats::new(3, 0, 0, 0));
    jobs.assert_drained(&[1, 2, 3]).await
}

/// A released message is the next to be taken, and its attempt is not counted.
pub async fn release_returns_it_uncounted(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1, 2]).await?;

    for _ in 0..3 {
        let held = jobs.lease(LONG).await?;
        assert_eq!(held.attempt, 1);
        assert!(held.item == 1 || !jobs.declares().front);
        jobs.settle(&held, Settle::Release).await?;
    }

    jobs.assert_drained(&[1, 2]).await
}

/// A batch that is given back in one call keeps its order at the front.
pub async fn given_back_together_keeps_its_order(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put(1..=6).await?;

    let batch = jobs.lease_batch(4, LONG).await?;
    let how = [nack(), Settle::Release, Settle::Ack, nack()];
    for answer in jobs.settle_all(batch.iter().zip(how)).await? {
        answer?;
    }

    jobs.assert_drained(&[1, 2, 4, 5, 6]).await
}

/// Messages that are given back one by one each go in front of the earlier ones.
pub async fn given_back_last_is_taken_first(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1, 2, 3]).await?;

    let batch = jobs.lease_batch(2, LONG).await?;
    jobs.settle(&batch[0], nack()).await?;
    jobs.settle(&batch[1], nack()).await?;

    if jobs.declares().front {
        assert_eq!(jobs.drain().await?, [2, 1, 3]);
        return Ok(());
    }
    jobs.assert_drained(&[1, 2, 3]).await
}

/// The attempt grows with each nack and with each lease that ends, and not with a release.
pub async fn attempt_counts_up(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1]).await?;
    let mut attempts = Vec::new();

    let held = jobs.lease(LONG).await?;
    attempts.push(held.attempt);
    jobs.settle(&held, nack()).await?;
    attempts.push(jobs.lease(SHORT).await?.attempt); // and lets it end
    let held = jobs.lease(LONG).await?;
    attempts.push(held.attempt);
    jobs.settle(&held, Settle::Release).await?;
    let held = jobs.lease(LONG).await?;
    attempts.push(held.attempt);
    jobs.settle(&held, nack()).await?;
    let taken = jobs.take(GetOptions::default()).await?;
    attempts.extend(taken.iter().map(|delivery| delivery.attempt));

    assert_eq!(attempts, [1, 2, 3, 3, 4]);
    Ok(())
}

/// A message that is given back wakes a waiting take.
pub async fn waiting_get_is_woken_by_what_is_given_back(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);

    for how in [nack(), Settle::Release] {
        jobs.put([1]).await?;
        let held = jobs.lease(LONG).await?;
        let waiting = soon(
            "a waiting get",
            other.take(GetOptions::default().wait(Wait::Forever)),
        );
        let settling = async {
            parked().await;
            jobs.settle(&held, how).await
        };
        let (taken, settled) = tokio::join!(waiting, settling);
        settled?;

        assert_eq!(taken??.len(), 1);
    }
    Ok(())
}

/// Headers, encoding and body are the same at each delivery, on every way back into the queue.
pub async fn headers_and_body_survive_redelivery(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let messages = [
        Message::json("{\"a\": 1}")
            .with_header("trace", "af01")
            .with_header("empty", ""),
        Message::bytes(vec![0, 0xFF, b'{']).with_header("ünï", "cödé"),
        Message::json("[1, 2]"),
    ];

    for message in messages {
        provider
            .queue_put("jobs", vec![message.clone()], PutOptions::default())
            .await?;
        for (lease, how) in [
            (LONG, Some(nack())),
            (LONG, Some(Settle::Release)),
            (SHORT, None),
            (LONG, Some(Settle::Extend { lease: SHORT })),
            (LONG, Some(bury("poison"))),
        ] {
            let is_buried = matches!(how, Some(Settle::Bury { .. }));
            let (seen, receipt) = take(&*provider, lease).await?;
            assert_eq!(seen.message, message, "before {how:?}");
            if let Some(how) = how {
                provider
                    .queue_settle("jobs", vec![(receipt, how)])
                    .await?
                    .remove(0)?;
            }
            if is_buried {
                provider.queue_redrive("jobs", Redrive::All).await?;
            }
        }
        let (seen, receipt) = take(&*provider, LONG).await?;
        provider
            .queue_settle("jobs", vec![(receipt, Settle::Ack)])
            .await?
            .remove(0)?;

        assert_eq!(seen.message, message);
    }
    Ok(())
}

/// A message that fails again and again is buried in the end, and all others are processed.
pub async fn one_bad_message_does_not_starve_the_rest(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put(0..20).await?;
    let mut done = Vec::new();

    while let Some(held) = jobs.lease_batch(1, LONG).await?.pop() {
        let how = match held.item {
            0 if held.attempt > 5 => bury("out of attempts"),
            0 => nack(),
            _ => Settle::Ack,
        };
        if how == Settle::Ack {
            done.push(held.item);
        }
        jobs.settle(&held, how).await?;
    }

    assert_eq!(done, (1..20).collect::<Vec<_>>());
    assert_eq!(jobs.stats().await?, QueueStats::new(0, 0, 0, 1));
    Ok(())
}

async fn take(provider: &dyn Provider, lease: std::time::Duration) -> Outcome<(Delivery, Receipt)> {
    let opts = GetOptions::default()
        .wait(Wait::For(WAIT_LIMIT))
        .lease(lease);
    let delivery = provider
        .queue_get("jobs", opts)
        .await?
        .pop()
        .ok_or("nothing came")?;
    let receipt = delivery.receipt.clone().ok_or("no receipt")?;
    Ok((delivery, receipt))
}
