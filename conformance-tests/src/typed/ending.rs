//! The end of a bus: by shutdown, with what runs finished or ended; by its last handle; never by halves.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use pymq_core::{Bus, ErrorKind, Event, Running, Status};
use serde::{Deserialize, Serialize};
use tokio::runtime::{self, Runtime};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{kind, next, open, recorder};
use crate::typed_queues::poll_once;
use crate::wait::{PATIENCE, soon, until};
use crate::{Failure, Harness, Outcome};

/// A time that is waited out.
const SHORT: Duration = Duration::from_millis(40);

#[derive(Deserialize, Serialize)]
struct Ticked;
pymq_core::event!(Ticked, topic = "ticked");

/// A handler that says when it starts, waits at a gate, and counts when it is done.
pub(super) struct Gated {
    pub(super) starts: UnboundedReceiver<u64>,
    pub(super) gate: Arc<Semaphore>,
    finished: Arc<AtomicU64>,
}

impl Gated {
    /// Subscribes one to `numbers`, until shutdown.
    pub(super) async fn subscribe(bus: &Bus) -> pymq_core::Result<Self> {
        let (gated, guard) = Self::guarded(bus).await?;
        guard.keep();
        Ok(gated)
    }

    /// Subscribes one to `numbers`, until its guard is dropped.
    pub(super) async fn guarded(bus: &Bus) -> pymq_core::Result<(Self, Running)> {
        let (started, starts) = unbounded_channel();
        let (gate, finished) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
        let shared = (Arc::clone(&gate), Arc::clone(&finished));
        let handler = move |n: u64| {
            let (started, (gate, finished)) = (started.clone(), shared.clone());
            async move {
                started.send(n).ok();
                drop(gate.acquire().await);
                finished.fetch_add(1, Ordering::SeqCst);
            }
        };
        let guard = bus.topic("numbers").subscribe(handler).await?;
        let gated = Self {
            starts,
            gate,
            finished,
        };
        Ok((gated, guard))
    }

    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::SeqCst)
    }
}

/// A shutdown returns when the handlers have finished.
pub async fn shutdown_waits_for_handlers_within_grace(h: &dyn Harness) -> Outcome {
    let (bus, sender) = (open(h).await?, open(h).await?);
    let mut gated = Gated::subscribe(&bus).await?;
    sender.topic("numbers").publish(&0).await?;
    next(&mut gated.starts).await?;

    let shutdown = tokio::spawn({
        let bus = bus.clone();
        async move { bus.shutdown(PATIENCE * 6).await }
    });
    until("the bus takes no new work", async || bus.is_closed()).await?;
    assert!(!shutdown.is_finished());
    gated.gate.add_permits(8);
    soon("the shutdown", shutdown).await???;

    assert_eq!(gated.finished(), 1);
    Ok(())
}

/// When the grace time is over, what still runs is ended before the shutdown returns.
pub async fn shutdown_aborts_after_grace(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut gated = Gated::subscribe(&bus).await?;
    bus.topic("numbers").publish(&0).await?;
    next(&mut gated.starts).await?;

    soon("the shutdown", bus.shutdown(SHORT)).await??;
    gated.gate.add_permits(8);

    assert_eq!(gated.finished(), 0);
    assert_eq!(Arc::strong_count(&gated.finished), 1, "the handler is gone");
    Ok(())
}

/// Handlers that work on many events at once are all waited for, or all ended.
pub async fn nothing_runs_after_a_shutdown(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (started, mut starts) = unbounded_channel();
    let alive = Arc::new(());
    let handler = {
        let alive = Arc::clone(&alive);
        move |n: u64| {
            let (started, alive) = (started.clone(), Arc::clone(&alive));
            async move {
                // In effect for ever: busy ones have to be ended as well as idle ones.
                while Arc::strong_count(&alive) > 0 {
                    started.send(n).ok();
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    bus.topic("numbers")
        .concurrency(16)
        .subscribe(handler)
        .await?
        .keep();
    for n in 0..32 {
        bus.topic("numbers").publish(&n).await?;
    }
    next(&mut starts).await?;

    soon("the shutdown", bus.shutdown(Duration::ZERO)).await??;

    assert_eq!(Arc::strong_count(&alive), 1, "every handler is gone");
    Ok(())
}

/// A handler that finishes during a shutdown may still publish and put.
pub async fn handlers_may_publish_while_they_finish(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let (record, mut arrived) = recorder::<u64>();
    let _guard = other.topic("results").subscribe(record).await?;
    let (started, mut starts) = unbounded_channel();
    let handler = {
        let bus = bus.clone();
        move |n: u64| {
            let (bus, started) = (bus.clone(), started.clone());
            async move {
                started.send(n).ok();
                while !bus.is_closed() {
                    tokio::task::yield_now().await;
                }
                bus.topic("results").publish(&(n * 2)).await.map(drop)
            }
        }
    };
    bus.topic("numbers").subscribe(handler).await?.keep();
    other.topic("numbers").publish(&21).await?;
    next(&mut starts).await?;

    soon("the shutdown", bus.shutdown(PATIENCE)).await??;

    assert_eq!(next(&mut arrived).await?, 42);
    Ok(())
}

/// Shutting down twice, also at the same time, is as good as once; the shorter grace wins.
pub async fn a_second_shutdown_finds_nothing_to_do(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut gated = Gated::subscribe(&bus).await?;
    bus.topic("numbers").publish(&0).await?;
    next(&mut gated.starts).await?;

    let patient = tokio::spawn({
        let bus = bus.clone();
        async move { bus.shutdown(Duration::MAX).await }
    });
    until("the first has begun", async || bus.is_closed()).await?;
    soon("the second", bus.close()).await??;
    soon("the first", patient).await???;
    soon("a third", bus.shutdown(Duration::MAX)).await??;

    assert_eq!(Arc::strong_count(&gated.finished), 1, "the handler is gone");
    Ok(())
}

/// A shutdown given up halfway can be taken up again.
pub async fn a_cancelled_shutdown_can_be_repeated(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut gated = Gated::subscribe(&bus).await?;
    bus.topic("numbers").publish(&0).await?;
    next(&mut gated.starts).await?;

    let given_up = tokio::time::timeout(SHORT, bus.shutdown(Duration::MAX)).await;
    assert!(given_up.is_err());
    gated.gate.add_permits(8);
    soon("the second", bus.shutdown(Duration::MAX)).await??;

    assert_eq!(gated.finished(), 1);
    assert_eq!(kind(&bus.ping(PATIENCE).await), Some(ErrorKind::Closed));
    Ok(())
}

/// After a shutdown every operation answers `Closed`.
pub async fn operations_after_shutdown_are_closed(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    bus.ping(PATIENCE).await?;
    assert!(!bus.is_closed());

    bus.shutdown(Duration::ZERO).await?;

    assert!(bus.is_closed());
    let stub = bus.stub::<(), ()>("f");
    let kinds = [
        kind(&bus.ping(PATIENCE).await),
        kind(&bus.publish(&Ticked).await),
        kind(&bus.topic("t").publish(&1).await),
        kind(&bus.topic("t").stream::<u64>().await),
        kind(
            &bus.topic(Ticked::TOPIC)
                .subscribe(async |_: Ticked| {})
                .await,
        ),
        kind(&bus.subscribe(async |_: Ticked| {}).await),
        kind(&bus.queue::<i32>("q").put(&1).await),
        kind(&bus.queue::<u64>("q").get().await),
        kind(&bus.expose("f", async || {}).await),
        kind(&stub.call(()).await),
        kind(&stub.call_all(()).await),
    ];
    assert_eq!(kinds, [Some(ErrorKind::Closed); 11]);
    Ok(())
}

/// A shutdown of one bus leaves another on the same backend alone.
pub async fn a_shutdown_concerns_one_bus(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let (record, mut arrived) = recorder::<u64>();
    let _guard = other.topic("numbers").subscribe(record).await?;

    bus.shutdown(Duration::ZERO).await?;

    assert_eq!(other.topic("numbers").publish(&7).await?, 1);
    assert_eq!(next(&mut arrived).await?, 7);
    Ok(())
}

/// When the last handle is dropped, kept handlers and remotes end, and nobody waits for them.
pub async fn dropping_the_last_handle_ends_its_tasks(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let mut gated = Gated::subscribe(&bus).await?;
    bus.expose("f", async || {}).await?.keep();
    other.topic("numbers").publish(&0).await?;
    next(&mut gated.starts).await?;

    drop(bus.clone());
    assert_eq!(
        other.topic("numbers").publish(&1).await?,
        1,
        "a clone is not the last"
    );
    drop(bus);

    until("the handler is gone", async || {
        let is_free = other
            .topic("numbers")
            .publish(&2)
            .await
            .is_ok_and(|reached| reached == 0);
        is_free && Arc::strong_count(&gated.finished) == 1
    })
    .await?;
    until("the remote is gone", async || {
        kind(&other.stub::<(), ()>("f").call(()).await) == Some(ErrorKind::NoSuchRemote)
    })
    .await
}

/// A guard is a handle: its handler goes on without any other.
pub async fn a_guard_keeps_its_bus_alive(h: &dyn Harness) -> Outcome {
    let other = open(h).await?;
    let (record, mut arrived) = recorder::<u64>();
    let guard = open(h).await?.topic("numbers").subscribe(record).await?;

    other.topic("numbers").publish(&7).await?;

    assert_eq!(next(&mut arrived).await?, 7);
    drop(guard);
    until("the handler is gone", async || {
        other
            .topic("numbers")
            .publish(&8)
            .await
            .is_ok_and(|reached| reached == 0)
    })
    .await
}

/// A bus may be dropped where there is no runtime, and after its runtime is gone.
pub async fn a_bus_may_be_dropped_anywhere(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let guard = bus.topic("numbers").subscribe(async |_: u64| {}).await?;

    let dropped = std::thread::spawn(move || drop((guard, bus)));

    soon(
        "the thread",
        tokio::task::spawn_blocking(move || dropped.join()),
    )
    .await??
    .map_err(|_| "it panicked")?;
    Ok(())
}

/// Everything a bus hands out may be dropped after the runtime it was made on is gone: it neither panics nor waits.
pub async fn a_bus_may_outlive_its_runtime(h: &dyn Harness) -> Outcome {
    let outlive = || -> Outcome {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let held = runtime.block_on(async {
            let bus = open(h).await?;
            let guard = bus.topic("t").subscribe(async |_: u64| {}).await?;
            let stream = bus.topic("t").stream::<u64>().await?;
            let exposed = bus.expose("f", async || 1).await?;
            let queue = bus.queue::<u64>("q");
            queue.put(&1).await?;
            let lease = if bus.provider()?.capabilities().leases {
                Some(queue.lease().await?)
            } else {
                None
            };
            Ok::<_, Failure>((guard, stream, exposed, lease, bus))
        })?;
        drop(runtime);
        drop(held);
        Ok(())
    };

    // On a thread of its own: a runtime cannot be made or dropped where another one runs.
    std::thread::scope(|scope| scope.spawn(outlive).join())
        .map_err(|_| "it panicked")?
        .map_err(|error| error.to_string().into())
}

/// Runs a test that makes and drops runtimes on a thread of its own: where one runs, none can be.
fn on_a_thread(test: impl FnOnce() -> Outcome + Send) -> Outcome {
    std::thread::scope(|scope| {
        scope
            .spawn(|| test().map_err(|error| error.to_string()))
            .join()
    })
    .map_err(|_| "it panicked")?
    .map_err(Into::into)
}

fn runtime() -> std::io::Result<Runtime> {
    runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Checks that an operation failed since the runtime of its bus has ended, and says so.
fn assert_orphaned<T>(operation: &str, result: pymq_core::Result<T>) {
    let error = result.err().expect(operation);
    assert_eq!(error.kind(), ErrorKind::Closed, "{operation}: {error}");
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert!(
        source.as_ref().is_some_and(|it| it.contains("the runtime")),
        "{operation}: {source:?}"
    );
}

/// When the runtime has ended on which a bus was connected, the bus is closed: every operation says so at once, and why.
/// Its handlers, workers and remotes run no more, so to go on as if nothing were would be to lose in silence.
pub async fn a_bus_ends_with_its_runtime(h: &dyn Harness) -> Outcome {
    on_a_thread(|| {
        let (first, second) = (runtime()?, runtime()?);
        let (bus, lease) = first.block_on(async {
            let bus = open(h).await?;
            bus.topic("t").subscribe(async |_: u64| {}).await?.keep();
            bus.expose("f", async || 1).await?.keep();
            let queue = bus.queue::<u64>("q");
            queue.put(&1).await?;
            let lease = if bus.provider()?.capabilities().leases {
                Some(queue.lease().await?)
            } else {
                None
            };
            queue.put(&2).await?;
            Ok::<_, Failure>((bus, lease))
        })?;
        drop(first);

        second.block_on(async {
            assert!(bus.is_closed());
            assert_eq!(bus.status(), Status::Closed);
            let mut lifecycle = bus.lifecycle();
            while soon("the end", lifecycle.recv()).await?.is_some() {}
            soon("all operations", operations_fail(&bus)).await?;
            if let Some(lease) = lease {
                assert_orphaned("ack", lease.ack().await);
            }
            // To be shut down again is no harm, and the way to a new process-wide bus.
            soon("shutdown", bus.shutdown(PATIENCE)).await??;
            let other = open(h).await?;
            assert_eq!(other.topic("t").publish(&1).await?, 0);
            Ok(())
        })
    })
}

async fn operations_fail(bus: &Bus) {
    let (topic, queue) = (bus.topic("t"), bus.queue::<u64>("q"));
    let stub = bus.stub::<(), u64>("f");
    assert_orphaned("ping", bus.ping(PATIENCE).await);
    assert_orphaned("publish", bus.publish(&Ticked).await);
    assert_orphaned("publish on a topic", topic.publish(&1).await);
    assert_orphaned("with a header", topic.header("a", "b").publish(&1).await);
    assert_orphaned("subscribe", bus.subscribe(async |_: Ticked| {}).await);
    assert_orphaned("stream", topic.stream::<u64>().await);
    assert_orphaned("expose", bus.expose("g", async || {}).await);
    assert_orphaned("call", stub.call(()).await);
    assert_orphaned("call_all", stub.call_all(()).await);
    assert_orphaned("put", queue.put(&1).await);
    assert_orphaned("try_put", queue.try_put(&1).await);
    assert_orphaned("put_all", queue.put_all(&[1, 2]).await);
    assert_orphaned("put_once", queue.put_once("id", &1).await);
    assert_orphaned("put_after", queue.put_after(&1, SHORT).await);
    assert_orphaned("put, bounded", queue.clone().maxsize(1).put(&1).await);
    assert_orphaned("get", queue.get().await);
    assert_orphaned("get_timeout", queue.get_timeout(PATIENCE).await);
    assert_orphaned("try_get", queue.try_get().await);
    assert_orphaned("get_many", queue.get_many(2).await);
    assert_orphaned("len", queue.len().await);
    assert_orphaned("stats", queue.stats().await);
    assert_orphaned("clear", queue.clear().await);
    assert_orphaned("join", queue.join().await);
    assert_orphaned("worker", queue.worker(async |_: u64| {}).start());
    assert_orphaned("lease", queue.lease().await);
    assert_orphaned("try_lease", queue.try_lease().await);
    let dead = queue.dead_letters();
    assert_orphaned("dead letters", dead.len().await);
    assert_orphaned("peek", dead.peek(1).await);
    assert_orphaned("clear dead letters", dead.clear().await);
    assert_eq!(queue.stream().next().await.map(drop_ok), None);
}

/// A stream ends without an error when its bus is closed.
fn drop_ok(item: pymq_core::Result<u64>) -> Option<ErrorKind> {
    item.err().map(|error| error.kind())
}

/// What waits on another runtime when that of the bus ends is woken.
pub async fn the_end_of_a_runtime_wakes_what_waits_elsewhere(h: &dyn Harness) -> Outcome {
    on_a_thread(|| {
        let (first, second) = (runtime()?, runtime()?);
        let bus = first.block_on(open(h))?;
        let (queue, full) = (bus.queue::<u64>("q"), bus.queue::<u64>("full").maxsize(1));
        let (called, mut call_runs) = unbounded_channel();
        let never = move || {
            called.send(()).expect("the test listens");
            pending::<()>()
        };
        let (mut stream, _exposed) = second.block_on(async {
            full.put(&1).await?;
            let never = open(h).await?.expose("never", never).await?;
            Ok::<_, pymq_core::Error>((bus.topic("t").stream::<u64>().await?, never))
        })?;
        let stub = bus.stub::<(), ()>("never").timeout(PATIENCE * 2);
        let mut call = Box::pin(stub.call(()));
        let mut get = Box::pin(queue.get());
        let mut get_timeout = Box::pin(queue.get_timeout(PATIENCE));
        let mut put = Box::pin(full.put(&2));
        let mut recv = Box::pin(stream.recv());
        second.block_on(async {
            assert!(poll_once(get.as_mut()).await.is_pending());
            assert!(poll_once(get_timeout.as_mut()).await.is_pending());
            assert!(poll_once(put.as_mut()).await.is_pending());
            assert!(poll_once(recv.as_mut()).await.is_pending());
            tokio::select! {
                answer = &mut call => panic!("{answer:?}"),
                running = soon("the call", call_runs.recv()) => assert!(running?.is_some()),
            }
            Ok::<_, Failure>(())
        })?;

        drop(first);

        second.block_on(async {
            let kinds = [
                kind(&soon("get", get).await?),
                kind(&soon("get_timeout", get_timeout).await?),
                kind(&soon("put", put).await?),
                kind(&soon("recv", recv).await?),
                kind(&soon("call", call).await?),
            ];
            assert_eq!(kinds, [Some(ErrorKind::Closed); 5]);
            Ok(())
        })
    })
}
