//! How much a worker takes: enough to be quick, and never items that others could begin.

use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use pymq_core::provider::{Delivery, GetOptions, Provider};
use pymq_core::{Bus, Result};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;

use super::{Noted, gated};
use crate::twist::{Twist, twisted};
use crate::typed::{next, open, recorder};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// Forwards takes, and records how many items each requested.
#[derive(Debug)]
struct Noting(Noted<usize>);

#[async_trait]
impl Twist for Noting {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        self.0.note(opts.max.get());
        inner.queue_get(queue, opts).await
    }
}

/// A worker with slow items leases only the items that it works on. Other workers can begin the
/// rest.
pub async fn slow_items_are_left_to_other_workers(h: &dyn Harness) -> Outcome {
    let (busy, idle) = (open(h).await?, open(h).await?);
    let jobs = busy.queue::<u32>("jobs");
    let (handler, mut gate) = gated();
    let (record, mut arrived) = recorder::<u32>();
    jobs.put_all(&(0..10).collect::<Vec<_>>()).await?;

    let _busy = jobs.worker(handler).concurrency(2).start()?;
    let mut held = [gate.begun().await?, gate.begun().await?];
    held.sort_unstable();
    assert_eq!(jobs.stats().await?.leased, 2);
    let _idle = idle.queue::<u32>("jobs").worker(record).start()?;

    assert_eq!(held, [0, 1]);
    for item in 2..10 {
        assert_eq!(next(&mut arrived).await?, item);
    }
    gate.open(2);
    soon("join", jobs.join()).await??;
    Ok(())
}

/// Items that take no time are taken many at once, and never more than the handlers and 64.
pub async fn quick_items_are_taken_many_at_once(h: &dyn Harness) -> Outcome {
    let asked = Noted::default();
    let bus = Bus::new(twisted(h.connect().await?, Noting(asked.clone())));
    let jobs = bus.queue::<u32>("jobs");
    let items: Vec<u32> = (0..1_000).collect();
    jobs.put_all(&items).await?;

    let worker = jobs.worker(|_: u32| ready(())).concurrency(3).start()?;
    soon("join", jobs.join()).await??;
    worker.stop().await;

    let asked = asked.all();
    assert_eq!(asked[0], 3, "nothing is known yet");
    assert!(asked.iter().all(|max| *max <= 3 + 64), "{asked:?}");
    assert!(asked.len() < 500, "{} takes for 1,000 items", asked.len());
    Ok(())
}

/// Items that were taken ahead and cannot begin, because the item before them takes long after all,
/// go back for others.
pub async fn what_does_not_begin_goes_back_for_others(h: &dyn Harness) -> Outcome {
    const SLOW: u32 = 100;
    let (busy, idle) = (open(h).await?, open(h).await?);
    let jobs = busy.queue::<u32>("jobs");
    let (tell, mut begun) = unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let gate = Arc::clone(&gate);
        move |item: u32| {
            let gate = Arc::clone(&gate);
            tell.send(item).ok();
            async move {
                if item == SLOW {
                    drop(gate.acquire().await);
                }
            }
            .boxed()
        }
    };
    let (record, mut arrived) = recorder::<u32>();
    // Quick items, after which it takes ahead; and others behind a slow one.
    let items: Vec<u32> = (0..SLOW + 10).collect();
    jobs.put_all(&items).await?;

    let _busy = jobs.worker(handler).start()?;
    while next(&mut begun).await? != SLOW {}
    let _idle = idle.queue::<u32>("jobs").worker(record).start()?;

    // Those that were taken ahead come after those that were not.
    let mut others = Vec::new();
    while others.len() < 9 {
        others.push(next(&mut arrived).await?);
    }
    others.sort_unstable();
    assert_eq!(others, items[SLOW as usize + 1..]);
    until("only the slow one is leased", async || {
        jobs.stats().await.is_ok_and(|stats| stats.leased == 1)
    })
    .await?;
    gate.add_permits(1);
    soon("join", jobs.join()).await??;
    Ok(())
}
