//! Leases are extended as long as they are needed, lost leases change nothing, and settlements are
//! gathered.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{Delivery, GetOptions, Provider, Receipt, Settle};
use pymq_core::{Bus, ItemMeta, Result};
use tokio::sync::Barrier;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::sleep;

use super::{Noted, gated};
use crate::twist::{Twist, twisted};
use crate::typed::{next, open, recorder};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// A lease that would end many times while a handler runs, without extensions.
const SHORT: Duration = Duration::from_millis(500);

/// A handler may take much longer than a lease. No other worker gets its item, and it is acked.
pub async fn a_lease_lasts_as_long_as_its_handler(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus.queue::<u32>("jobs").lease_time(SHORT);
    let (told, mut begun) = unbounded_channel();
    let handler = move |item: u32, meta: ItemMeta| {
        told.send((item, meta.attempt())).ok();
        sleep(SHORT * 4)
    };
    jobs.put(&1).await?;

    let _worker = jobs.worker(handler).start()?;

    assert_eq!(next(&mut begun).await?, (1, 1));
    let stolen = other.queue::<u32>("jobs").lease_timeout(SHORT * 3).await?;
    assert!(stolen.is_none());
    soon("join", jobs.join()).await??;
    assert!(begun.try_recv().is_err(), "it was begun once");
    Ok(())
}

/// The leases of items that have not begun are extended too, in the same call.
pub async fn what_waits_is_extended_too(h: &dyn Harness) -> Outcome {
    let told = Noted::<Vec<Settle>>::default();
    let generous = twisted(h.connect().await?, Generous);
    let bus = Bus::new(twisted(generous, Noting(told.clone())));
    // A third of it is over before waiting items are given back.
    let jobs = bus
        .queue::<u32>("jobs")
        .lease_time(Duration::from_millis(150));
    let (handler, mut gate) = gated();
    jobs.put_all(&(0..10).collect::<Vec<_>>()).await?;

    let worker = jobs.worker(handler).start()?;
    assert_eq!(gate.begun().await?, 0);

    until("two are extended at once", async || {
        let told = told.all();
        told.iter().any(|call| {
            let extensions = call
                .iter()
                .filter(|how| matches!(how, Settle::Extend { .. }));
            extensions.count() > 1
        })
    })
    .await?;
    gate.open(100);
    soon("join", jobs.join()).await??;
    worker.stop().await;
    Ok(())
}

/// Returns more than was requested, so that some items have to wait.
#[derive(Debug)]
struct Generous;

#[async_trait]
impl Twist for Generous {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let max = opts.max.saturating_add(9);
        inner.queue_get(queue, opts.max(max)).await
    }
}

/// Settles like the inner provider, and records the calls.
#[derive(Debug)]
struct Noting(Noted<Vec<Settle>>);

#[async_trait]
impl Twist for Noting {
    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        let call = settlements.iter().map(|(_, how)| how.clone()).collect();
        self.0.note(call);
        inner.queue_settle(queue, settlements).await
    }
}

/// A worker that lost its lease without knowing it changes nothing when it finishes. The lease of
/// the other worker stays, and its result counts. If a stale receipt may succeed, the item is
/// finished by the worker or continues.
pub async fn a_lost_lease_drops_the_result(h: &dyn Harness) -> Outcome {
    let (bus, other) = (
        Bus::new(twisted(h.connect().await?, Frozen)),
        open(h).await?,
    );
    let jobs = bus.queue::<u32>("jobs").lease_time(SHORT);
    let (handler, mut gate) = gated();
    jobs.put(&1).await?;

    let worker = jobs.worker(handler).start()?;
    gate.begun().await?;
    let current = soon("lease", other.queue::<u32>("jobs").lease()).await??;
    gate.open(1);
    until("the first has finished", async || gate.finished() == 1).await?;
    worker.stop().await;

    assert_eq!(current.attempt(), 2);
    if !bus.provider()?.capabilities().fenced {
        let is_lost = bus.stats().leases_lost == 1;
        assert_eq!(jobs.stats().await?.unfinished() == 1, is_lost);
        return Ok(());
    }
    assert_eq!(bus.stats().leases_lost, 1);
    assert_eq!(jobs.stats().await?.leased, 1, "the second lease stands");
    current.nack().await?;
    assert_eq!(soon("get", other.queue::<u32>("jobs").get()).await??, 1);
    Ok(())
}

/// Answers that a lease was extended, and does nothing, as if the process had been stopped for a
/// while.
#[derive(Debug)]
struct Frozen;

#[async_trait]
impl Twist for Frozen {
    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        mut settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        let is_extension = |how: &Settle| matches!(how, Settle::Extend { .. });
        let extensions: Vec<_> = settlements
            .iter()
            .map(|(_, how)| is_extension(how))
            .collect();
        settlements.retain(|(_, how)| !is_extension(how));
        if settlements.is_empty() {
            return Ok(vec![Ok(()); extensions.len()]);
        }
        // An ack may share a call with an extension.
        let mut answers = inner.queue_settle(queue, settlements).await?.into_iter();
        let answer = |is_extension| {
            if is_extension {
                Ok(())
            } else {
                answers.next().expect("an answer for each settlement")
            }
        };
        Ok(extensions.into_iter().map(answer).collect())
    }
}

/// A worker that learns that a lease is lost lets its handler end, and does not settle the item. If
/// a stale receipt may succeed, the worker may not learn it, and the item is finished.
pub async fn a_lease_found_lost_is_not_settled(h: &dyn Harness) -> Outcome {
    let told = Noted::<Vec<Settle>>::default();
    let provider = twisted(h.connect().await?, Noting(told.clone()));
    let late = Late::default();
    let bus = Bus::new(twisted(provider, late.clone()));
    let jobs = bus.queue::<u32>("jobs").lease_time(SHORT);
    let (handler, mut gate) = gated();
    jobs.put(&1).await?;

    let worker = jobs.worker(handler).concurrency(2).start()?;
    assert_eq!(gate.begun().await?, 1);
    assert_eq!(
        gate.begun().await?,
        1,
        "it is begun again, as any other item"
    );
    until("the loss is known", async || {
        late.answered.load(Ordering::SeqCst)
    })
    .await?;
    gate.open(2);
    until("both are finished", async || gate.finished() == 2).await?;
    worker.stop().await;

    if bus.provider()?.capabilities().fenced {
        assert_eq!(bus.stats().leases_lost, 1);
        let told = told.all();
        let acks = told.iter().flatten().filter(|how| **how == Settle::Ack);
        assert_eq!(acks.count(), 1, "{told:?}");
    }
    assert_eq!(jobs.stats().await?.unfinished(), 0);
    Ok(())
}

/// Is late with the first extension, so that the lease is over then.
#[derive(Clone, Debug, Default)]
struct Late {
    asked: Arc<AtomicBool>,
    answered: Arc<AtomicBool>,
}

#[async_trait]
impl Twist for Late {
    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        let is_extension = matches!(settlements.first(), Some((_, Settle::Extend { .. })));
        if !is_extension || self.asked.swap(true, Ordering::SeqCst) {
            return inner.queue_settle(queue, settlements).await;
        }
        sleep(SHORT).await;
        let answers = inner.queue_settle(queue, settlements).await;
        // The worker learns of it in the same turn.
        self.answered.store(true, Ordering::SeqCst);
        answers
    }
}

/// Items that finish at the same time are acked together. An item that finishes alone is acked at
/// once.
pub async fn acks_gather_and_none_waits(h: &dyn Harness) -> Outcome {
    let told = Noted::<Vec<Settle>>::default();
    let bus = Bus::new(twisted(h.connect().await?, Noting(told.clone())));
    let jobs = bus.queue::<u32>("jobs");
    let together = Arc::new(Barrier::new(16));
    let handler = {
        let together = Arc::clone(&together);
        move |item: u32| {
            let together = Arc::clone(&together);
            async move {
                if item < 16 {
                    together.wait().await;
                }
            }
        }
    };
    jobs.put_all(&(0..16).collect::<Vec<_>>()).await?;

    let worker = jobs.worker(handler).concurrency(16).start()?;
    soon("join", jobs.join()).await??;
    let calls = told.all();
    jobs.put(&99).await?;
    soon("join", jobs.join()).await??;
    worker.stop().await;

    assert_eq!(calls.iter().flatten().count(), 16);
    assert!(calls.len() < 16, "{} calls for 16 acks", calls.len());
    let all = told.all();
    assert_eq!(all[calls.len()..], [[Settle::Ack]]);
    Ok(())
}

/// The items of a worker that died are processed by another one when their leases are over.
pub async fn what_a_dead_worker_held_is_worked_on_by_another(h: &dyn Harness) -> Outcome {
    let other = open(h).await?;
    let (record, mut arrived) = recorder::<u32>();
    let putter = other.queue::<u32>("jobs");
    putter.put_all(&[1, 2]).await?;
    let (handler, mut gate) = gated();
    let dying = open(h).await?;
    dying
        .queue::<u32>("jobs")
        .lease_time(SHORT)
        .worker(handler)
        .concurrency(2)
        .start()?
        .keep();
    gate.begun().await?;
    gate.begun().await?;

    // Without a shutdown, so nothing is given back.
    drop(dying);
    let _worker = putter.worker(record).start()?;

    assert_eq!(next(&mut arrived).await?, 1);
    assert_eq!(next(&mut arrived).await?, 2);
    soon("join", putter.join()).await??;
    assert_eq!(gate.finished(), 0);
    Ok(())
}

/// A handler is told that its item may have been processed before.
pub async fn a_second_attempt_is_told(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").lease_time(SHORT);
    let (told, mut begun) = unbounded_channel();
    jobs.put(&1).await?;
    let abandoned = jobs.lease().await?;

    let handler = move |_: u32, meta: ItemMeta| {
        told.send(meta.attempt()).ok();
        ready(())
    };
    let _worker = jobs.worker(handler).start()?;

    assert_eq!(next(&mut begun).await?, 2);
    drop(abandoned);
    Ok(())
}
