//! A bus and its runtime: the bus may be dropped anywhere, and it ends with the runtime.

use std::future::pending;
use std::time::Duration;

use futures_util::StreamExt;
use pymq_core::{Bus, ErrorKind, Status};
use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc::unbounded_channel;

use super::ending::Ticked;
use super::{kind, open};
use crate::traffic::assert_reached;
use crate::typed_queues::poll_once;
use crate::wait::{WAIT_LIMIT, soon};
use crate::{Failure, Harness, Outcome};

/// A delay that no operation here waits for.
const SHORT: Duration = Duration::from_millis(40);

/// A bus may be dropped without a runtime, and after its runtime is gone.
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

/// Everything that a bus returns may be dropped after its runtime is gone. The drop neither panics
/// nor waits.
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

    // On a thread of its own, because a runtime cannot be created or dropped where another one
    // runs.
    std::thread::scope(|scope| scope.spawn(outlive).join())
        .map_err(|_| "it panicked")?
        .map_err(|error| error.to_string().into())
}

/// Runs a test that creates and drops runtimes on a thread of its own, because that is not possible
/// where one runs.
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

/// Asserts that an operation failed because the runtime of its bus has ended, and that the error
/// says so.
fn assert_orphaned<T>(operation: &str, result: pymq_core::Result<T>) {
    let error = result.err().expect(operation);
    assert_eq!(error.kind(), ErrorKind::Closed, "{operation}: {error}");
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert!(
        source.as_ref().is_some_and(|it| it.contains("the runtime")),
        "{operation}: {source:?}"
    );
}

/// When the runtime of a bus has ended, the bus is closed: every operation fails at once and says
/// why. Its handlers, workers and remotes do not run any more. If the bus continued, it would lose
/// events silently.
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
            // Another shutdown does no harm, and is the way to a new process-wide bus.
            soon("shutdown", bus.shutdown(WAIT_LIMIT)).await??;
            let other = open(h).await?;
            let reached = other.topic("t").publish(&1).await?;
            assert_reached(other.provider()?, reached, 0);
            Ok(())
        })
    })
}

async fn operations_fail(bus: &Bus) {
    let (topic, queue) = (bus.topic("t"), bus.queue::<u64>("q"));
    let stub = bus.stub::<(), u64>("f");
    assert_orphaned("ping", bus.ping(WAIT_LIMIT).await);
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
    assert_orphaned("get_timeout", queue.get_timeout(WAIT_LIMIT).await);
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

/// An operation that waits on another runtime is woken when the runtime of the bus ends.
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
        let stub = bus.stub::<(), ()>("never").timeout(WAIT_LIMIT * 2);
        let mut call = Box::pin(stub.call(()));
        let mut get = Box::pin(queue.get());
        let mut get_timeout = Box::pin(queue.get_timeout(WAIT_LIMIT));
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
