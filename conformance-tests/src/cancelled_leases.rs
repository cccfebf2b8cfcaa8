//! Leases and settlements, dropped at each poll. The item is finished or back in the queue. It is
//! never lost and never stays leased.

use std::time::Duration;

use pymq_core::{MessageId, Queue};

use crate::cancellation::{POLLS, dropped_after, leaves_nothing, open_halting};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// Longer than any test, for waits and leases. An item that is not given back stays leased.
const LONG: Duration = Duration::from_secs(3_600);

/// Dropped leases of every kind give their item back, and no attempt is counted.
pub async fn dropped_leases_are_given_back_uncounted(h: &dyn Harness) -> Outcome {
    let bus = open_halting(h).await?;
    let jobs = bus
        .queue::<u32>("jobs")
        .lease_time(LONG)
        .unlimited_attempts();
    jobs.put_all(&[1, 2]).await?;

    for polls in 1..=POLLS {
        let mut is_last = true;
        for kind in 0..3 {
            let run = match kind {
                0 => dropped_after(polls, async { jobs.lease().await.map(Some) }).await,
                1 => dropped_after(polls, jobs.lease_timeout(LONG)).await,
                _ => dropped_after(polls, jobs.try_lease()).await,
            };
            is_last &= run.is_last;
            // An item that was handed out counts an attempt. After an ack and a new put it has none
            // again.
            if let Some(job) = run.output.transpose()?.flatten() {
                assert_eq!(job.attempt(), 1, "lease {kind} after {polls} polls");
                let item = job.into_inner().await?;
                jobs.put(&item).await?;
            }
            until("both are in line", async || {
                jobs.stats()
                    .await
                    .is_ok_and(|stats| (stats.ready, stats.leased) == (2, 0))
            })
            .await?;
        }
        if is_last {
            break;
        }
    }
    let mut items = [
        soon("one", jobs.get()).await??,
        soon("two", jobs.get()).await??,
    ];
    items.sort_unstable();
    assert_eq!(items, [1, 2]);
    leaves_nothing(h, bus).await
}

/// A dropped settlement of any kind finishes the item or gives it back.
pub async fn dropped_settlements_leave_no_lease(h: &dyn Harness) -> Outcome {
    let bus = open_halting(h).await?;
    let jobs = bus
        .queue::<u32>("jobs")
        .lease_time(LONG)
        .unlimited_attempts();

    for polls in 1..=POLLS {
        let mut is_last = true;
        for kind in 0..4 {
            jobs.put(&polls).await?;
            let job = jobs.lease().await?;
            let run = match kind {
                0 => dropped_after(polls, job.ack()).await,
                1 => dropped_after(polls, async { job.into_inner().await.map(drop) }).await,
                2 => dropped_after(polls, job.nack()).await,
                _ => {
                    let run = dropped_after(polls, job.extend(LONG * 2)).await;
                    job.ack().await?;
                    run
                }
            };
            is_last &= run.is_last;
            let is_done = run.output.transpose()?.is_some();
            no_lease_is_left(&jobs).await?;
            let left = jobs.len().await?;
            match (kind, is_done) {
                (0 | 1, true) | (3, _) => assert_eq!(left, 0, "settlement {kind}"),
                (2, true) => assert_eq!(left, 1),
                _ => assert!(left <= 1, "{left} items of one"),
            }
            jobs.clear().await?;
        }
        if is_last {
            break;
        }
    }
    leaves_nothing(h, bus).await
}

/// Dropped peeks at dead letters take none. Dropped redrives and clears move each letter once or
/// not at all.
pub async fn dropped_redrives_lose_nothing(h: &dyn Harness) -> Outcome {
    let bus = open_halting(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(1);
    let dead = jobs.dead_letters();

    for polls in 1..=POLLS {
        for item in [1, 2] {
            jobs.put(&item).await?;
            jobs.lease().await?.nack().await?;
            assert!(jobs.try_lease().await?.is_none());
        }
        let looks = dropped_after(polls, dead.peek(10)).await.is_last
            & dropped_after(polls, dead.len()).await.is_last;
        let letters = dead.peek(10).await?;
        let first: Vec<MessageId> = letters.iter().take(1).map(|it| it.id().clone()).collect();
        assert_eq!(letters.len(), 2);

        let some = dropped_after(polls, dead.redrive_ids(first)).await;
        let all = dropped_after(polls, dead.redrive()).await;
        assert_eq!(jobs.len().await? + dead.len().await?, 2);
        let clear = dropped_after(polls, dead.clear()).await;
        let left = dead.len().await?;
        assert!(left <= 2, "{left} dead letters of two");

        dead.clear().await?;
        jobs.clear().await?;
        if looks && some.is_last && all.is_last && clear.is_last {
            break;
        }
    }
    leaves_nothing(h, bus).await
}

async fn no_lease_is_left(jobs: &Queue<u32>) -> Outcome {
    until("nothing is leased", async || {
        jobs.stats().await.is_ok_and(|stats| stats.leased == 0)
    })
    .await
}
