//! Leases with futures that are dropped at each possible point. Nothing is lost, and nothing stays
//! leased.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{Provider, Receipt, Settle};
use pymq_core::{Bus, Queue, Result};
use tokio::task::yield_now;

use crate::twist::{Twist, twisted};
use crate::typed_dead_letters::spend;
use crate::typed_queues::{open, poll_once};
use crate::wait::{soon, until};
use crate::{Clock, Harness, Outcome};

/// Leases that are dropped while they wait, or just after they have taken something, lose nothing
/// and count no attempt.
pub async fn cancelled_leases_count_no_attempt(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").unlimited_attempts();
    jobs.put(&1).await?;
    let mut handed_out = 0;

    for round in 0..40 {
        let taking = tokio::spawn({
            let jobs = jobs.clone();
            async move { jobs.lease().await }
        });
        pass(h, round % 8).await;
        taking.abort();
        if let Ok(job) = taking.await {
            handed_out += 1;
            job?.nack().await?;
        }
    }

    let job = soon("lease", jobs.lease()).await??;
    assert_eq!(job.attempt(), handed_out + 1);
    job.ack().await?;
    Ok(())
}

/// An ack that is dropped in the middle leaves no lease behind: the item is finished or back.
pub async fn a_dropped_ack_leaves_no_lease_behind(h: &dyn Harness) -> Outcome {
    let bus = open_slow(h).await?;
    let jobs = bus
        .queue::<u32>("jobs")
        .unlimited_attempts()
        .lease_time(Duration::from_secs(3_600));

    for polls in 0..12 {
        jobs.put(&polls).await?;
        let mut ack = Box::pin(jobs.lease().await?.ack());
        for _ in 0..polls {
            if let Poll::Ready(done) = poll_once(ack.as_mut()).await {
                done?;
                break;
            }
            pass(h, 1).await;
        }
        drop(ack);

        until("nothing is leased", || async {
            no_lease_is_left(&jobs).await
        })
        .await?;
        jobs.clear().await?;
    }
    Ok(())
}

/// A lease that is dropped while it buries an item out of attempts buries it, or leaves it to the
/// next lease.
pub async fn a_cancelled_lease_keeps_no_spent_item(h: &dyn Harness) -> Outcome {
    let bus = open_slow(h).await?;
    let jobs = bus
        .queue::<u32>("jobs")
        .max_attempts(1)
        .lease_time(Duration::from_secs(3_600));

    for round in 0..12 {
        jobs.put(&round).await?;
        spend(&jobs, 1).await?;

        let mut taking = Box::pin(jobs.try_lease());
        for _ in 0..round {
            if poll_once(taking.as_mut()).await.is_ready() {
                break;
            }
            pass(h, 1).await;
        }
        drop(taking);

        until("nothing is leased", || async {
            no_lease_is_left(&jobs).await
        })
        .await?;
        assert!(jobs.try_lease().await?.is_none());
        assert_eq!(jobs.dead_letters().clear().await?, 1);
    }
    Ok(())
}

/// Settles like the inner provider, with pauses before and after. So there are more points at which
/// a future can be dropped.
#[derive(Debug)]
struct SlowSettling;

#[async_trait]
impl Twist for SlowSettling {
    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        yield_now().await;
        yield_now().await;
        let answers = inner.queue_settle(queue, settlements).await;
        yield_now().await;
        yield_now().await;
        answers
    }
}

async fn open_slow(h: &dyn Harness) -> Result<Bus> {
    let provider = h.connect().await?;
    Ok(Bus::new(twisted(provider, SlowSettling)))
}

/// Lets other tasks run, a little longer for each step. This is the point of the interruption.
async fn pass(h: &dyn Harness, steps: u32) {
    for _ in 0..steps {
        match h.clock() {
            Clock::Paused => yield_now().await,
            Clock::Real => tokio::time::sleep(Duration::from_micros(150)).await,
        }
    }
}

async fn no_lease_is_left<T>(queue: &Queue<T>) -> bool {
    queue.stats().await.is_ok_and(|stats| stats.leased == 0)
}
