//! The end of a worker, by its guard, its bus or its queue: running handlers finish or are ended,
//! and nothing is lost.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pymq_core::{Bus, Queue, QueueStats};
use tokio::time::sleep;

use super::gated;
use crate::moment::{moment, parked};
use crate::typed::{next, open, recorder};
use crate::typed_queues::poll_once;
use crate::wait::{WAIT_LIMIT, soon, until};
use crate::{Harness, Outcome};

/// A stopped worker finishes what runs, gives back the other items with no attempt counted, and
/// begins nothing more.
pub async fn stop_finishes_what_runs_and_gives_back_the_rest(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus
        .queue::<u32>("jobs")
        .lease_time(Duration::from_secs(3_600));
    let (handler, mut gate) = gated();
    // Quick items, after which it takes ahead.
    gate.open(100);
    jobs.put_all(&(0..110).collect::<Vec<_>>()).await?;
    let worker = jobs.worker(handler).start()?;
    while gate.begun().await? != 100 {}

    let mut stopping = pin!(worker.stop());
    assert!(poll_once(stopping.as_mut()).await.is_pending());
    until("the rest is given back", async || {
        jobs.len().await.is_ok_and(|len| len == 9)
    })
    .await?;
    assert!(poll_once(stopping.as_mut()).await.is_pending());
    gate.open(10);
    soon("stop", stopping).await?;

    assert_eq!(gate.finished(), 101);
    assert_eq!(gate.alive(), 0);
    let rest = other.queue::<u32>("jobs");
    let mut items = Vec::new();
    for _ in 101..110 {
        let job = soon("lease", rest.lease()).await??;
        assert_eq!(job.attempt(), 1, "item {}", *job);
        items.push(job.into_inner().await?);
    }
    if !other.provider()?.capabilities().front {
        items.sort_unstable();
    }
    assert!(items.iter().copied().eq(101..110), "{items:?}");
    assert_eq!(rest.stats().await?.unfinished(), 0);
    Ok(())
}

/// Dropping the guard stops the worker.
pub async fn dropping_the_guard_stops_the_worker(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let (handler, mut gate) = gated();
    jobs.put_all(&[1, 2]).await?;
    let worker = jobs.worker(handler).start()?;
    assert_eq!(gate.begun().await?, 1);

    drop(worker);
    gate.open(2);

    until("the first is finished", async || {
        jobs.stats().await.is_ok_and(|stats| stats.leased == 0)
    })
    .await?;
    assert_eq!(gate.finished(), 1);
    assert_eq!(jobs.get().await?, 2);
    Ok(())
}

/// An idle worker that is stopped takes nothing: neither an item that comes at that moment, nor a
/// later one.
pub async fn stopping_an_idle_worker_loses_nothing(h: &dyn Harness) -> Outcome {
    let (bus, putter) = (open(h).await?, open(h).await?);
    let jobs = putter.queue::<u32>("jobs");
    for round in 0..30 {
        let (record, mut arrived) = recorder::<u32>();
        let worker = bus.queue::<u32>("jobs").worker(record).start()?;
        let put = tokio::spawn({
            let jobs = jobs.clone();
            async move { jobs.put(&1).await }
        });
        moment(h.clock(), round).await;

        worker.stop().await;
        put.await??;
        jobs.put(&2).await?;

        // Each was processed or is ready. None is leased, now or later.
        let was_worked = arrived.try_recv().is_ok();
        parked().await;
        let expected = QueueStats::new(2 - usize::from(was_worked), 0, 0, 0);
        until("what was not worked on is in line", async || {
            jobs.stats().await.is_ok_and(|stats| stats == expected)
        })
        .await?;
        while let Some(left) = jobs.try_lease().await? {
            assert_eq!(left.attempt(), 1, "item {} in round {round}", *left);
            left.ack().await?;
        }
    }
    Ok(())
}

/// A worker runs without its guard until the last handle of its bus is gone.
pub async fn a_kept_worker_lives_as_long_as_its_bus(h: &dyn Harness) -> Outcome {
    let (bus, putter) = (open(h).await?, open(h).await?);
    let (handler, mut gate) = gated();
    bus.queue::<u32>("jobs").worker(handler).start()?.keep();
    let jobs = putter.queue::<u32>("jobs");

    jobs.put(&1).await?;
    assert_eq!(gate.begun().await?, 1);
    drop(bus);

    until("its handler is gone", async || gate.alive() == 0).await?;
    jobs.put(&2).await?;
    assert_eq!(soon("get", jobs.get()).await??, 2);
    assert_eq!(gate.finished(), 0);
    Ok(())
}

/// The workers of a closed queue process its items, and then end.
pub async fn a_closed_queue_is_worked_off(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let (record, mut arrived) = recorder::<u32>();
    jobs.put_all(&(0..100).collect::<Vec<_>>()).await?;
    jobs.close();

    jobs.worker(record).start()?.keep();

    for item in 0..100 {
        assert_eq!(next(&mut arrived).await?, item);
    }
    assert!(arrived.recv().await.is_none(), "the handler is gone");
    assert_eq!(jobs.stats().await?.unfinished(), 0);
    Ok(())
}

/// What a handler did in one round of a shutdown.
#[derive(Clone, Default)]
struct Work {
    begun: Arc<AtomicU64>,
    done: Arc<Mutex<HashMap<u32, u32>>>,
}

impl Work {
    /// Starts a worker with 50 handlers. Some of them are quick, some are slow, some never end.
    fn start(&self, jobs: &Queue<u32>, slowest: Duration) -> pymq_core::Result<()> {
        let work = self.clone();
        let handler = move |item: u32| {
            let work = work.clone();
            async move {
                work.begun.fetch_add(1, Ordering::SeqCst);
                match item % 3 {
                    0 => {}
                    1 => sleep(slowest * (item % 7) / 7).await,
                    _ if slowest.is_zero() => std::future::pending().await,
                    _ => sleep(slowest).await,
                }
                *work.done().entry(item).or_default() += 1;
            }
        };
        jobs.worker(handler).concurrency(50).start()?.keep();
        Ok(())
    }

    fn done(&self) -> std::sync::MutexGuard<'_, HashMap<u32, u32>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the running handlers, without the handler function of the worker itself.
    fn alive(&self) -> usize {
        Arc::strong_count(&self.begun) - 1
    }
}

/// There are a hundred shutdowns with fifty running items. Nothing is lost, nothing runs
/// afterwards, and unfinished items are back at once with no attempt counted.
pub async fn a_hundred_shutdowns_drain_and_lose_nothing(h: &dyn Harness) -> Outcome {
    let other = open(h).await?;
    for round in 0..100 {
        let name = format!("jobs{round}");
        let (grace, slowest) = match round % 3 {
            0 => (Duration::ZERO, Duration::ZERO),
            1 => (Duration::from_millis(50), Duration::ZERO),
            _ => (Duration::from_secs(5), Duration::from_millis(20)),
        };
        let bus = open(h).await?;
        let (jobs, work) = (bus.queue::<u32>(&name), Work::default());
        jobs.put_all(&(0..60).collect::<Vec<_>>()).await?;
        work.start(&jobs, slowest)?;
        until("fifty are begun", async || {
            work.begun.load(Ordering::SeqCst) >= 50
        })
        .await?;

        soon("the shutdown", bus.shutdown(grace)).await??;

        assert_eq!(work.alive(), 0, "round {round}: nothing runs any more");
        let done = work.done().clone();
        let rest = other.queue::<u32>(&name);
        assert_eq!(rest.stats().await?.leased, 0, "round {round}");
        let mut left = Vec::new();
        while let Some(job) = rest.try_lease().await? {
            assert_eq!(job.attempt(), 1, "round {round}, item {}", *job);
            left.push(job.into_inner().await?);
        }
        all_are_accounted_for(60, &done, &left, grace > Duration::from_secs(1))?;
    }
    Ok(())
}

/// Each item was done or is left. It is both at most where a shutdown cut off an ack, which a long
/// enough grace time prevents.
fn all_are_accounted_for(
    items: u32,
    done: &HashMap<u32, u32>,
    left: &[u32],
    is_patient: bool,
) -> Outcome {
    for item in 0..items {
        let (times, is_left) = (done.get(&item).copied().unwrap_or(0), left.contains(&item));
        assert!(times <= 1, "item {item} was done {times} times");
        if times == 0 && !is_left {
            return Err(format!("item {item} is lost").into());
        }
        assert!(
            !(is_patient && times > 0 && is_left),
            "item {item} is left and done"
        );
    }
    Ok(())
}

/// A bus that is closed at any moment, with its handlers dropped at any await, loses nothing and
/// leaves nothing leased.
pub async fn a_worker_ended_at_any_moment_loses_nothing(h: &dyn Harness) -> Outcome {
    const ITEMS: u32 = 8;
    let other = open(h).await?;
    for round in 0..60 {
        let name = format!("jobs{round}");
        let bus = Bus::new(h.connect().await?);
        let (jobs, done) = (bus.queue::<u32>(&name), Arc::<Mutex<Vec<u32>>>::default());
        jobs.put_all(&(0..ITEMS).collect::<Vec<_>>()).await?;
        let handler = {
            let done = Arc::clone(&done);
            move |item: u32| {
                let done = Arc::clone(&done);
                async move {
                    for _ in 0..item {
                        tokio::task::yield_now().await;
                    }
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(item);
                }
            }
        };
        let concurrency = 1 + (round as usize % 3) * 2;
        jobs.worker(handler)
            .concurrency(concurrency)
            .start()?
            .keep();

        moment(h.clock(), round).await;
        soon("close", bus.close()).await??;

        let rest = other.queue::<u32>(&name);
        until("nothing is leased", async || {
            rest.stats().await.is_ok_and(|stats| stats.leased == 0)
        })
        .await?;
        let mut left = Vec::new();
        while let Some(job) = rest.try_lease().await? {
            assert_eq!(job.attempt(), 1);
            left.push(job.into_inner().await?);
        }
        let to_front = other.provider()?.capabilities().front;
        assert!(concurrency > 1 || left.is_sorted() || !to_front, "{left:?}");
        let done = done.lock().unwrap_or_else(PoisonError::into_inner);
        for item in 0..ITEMS {
            assert!(
                done.contains(&item) || left.contains(&item),
                "round {round}: item {item} is lost"
            );
        }
    }
    Ok(())
}

/// A shutdown waits for a running handler and for its ack.
pub async fn a_shutdown_waits_for_handlers_and_their_acks(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus.queue::<u32>("jobs");
    let (handler, mut gate) = gated();
    jobs.put_all(&[1, 2]).await?;
    jobs.worker(handler).start()?.keep();
    assert_eq!(gate.begun().await?, 1);

    let shutdown = tokio::spawn({
        let bus = bus.clone();
        async move { bus.shutdown(WAIT_LIMIT * 6).await }
    });
    until("the bus takes no new work", async || bus.is_closed()).await?;
    gate.open(2);
    soon("the shutdown", shutdown).await???;

    assert_eq!(gate.finished(), 1);
    let jobs = other.queue::<u32>("jobs");
    assert_eq!(jobs.stats().await?.unfinished(), 1);
    assert_eq!(jobs.try_get().await?, Some(2));
    Ok(())
}
