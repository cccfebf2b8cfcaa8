//! Every task of a bus: spawned through one tracker, stopped by one token, and awaited by one
//! shutdown. No task is detached.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{EnterGuard, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::error::{Error, ErrorKind};
use crate::provider::Provider;

/// Why a bus is closed without a shutdown.
const RUNTIME_ENDED: &str = "the runtime on which the bus was connected has ended; a bus that \
    several `#[tokio::test]`s share, such as that of `pymq::init`, ends with the first of them";

/// How many tasks may run inside each other on one thread.
const MAX_DEPTH: u32 = 8;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// What each operation, or each poll of a task, reads. So it has no lock.
#[derive(Debug, Default)]
struct Flags {
    /// Whether the runtime has ended, and the bus with it.
    is_orphaned: AtomicBool,
    /// Whether tasks are ended. Set before `abort` is cancelled.
    is_aborted: AtomicBool,
}

/// Spawns the tasks of a bus, and stops them.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    /// The runtime of the connection. So a `drop` without a runtime can give a lease back.
    runtime: Handle,
    tracker: TaskTracker,
    /// Cancelled when no new work is to begin. What runs may finish.
    drain: CancellationToken,
    /// Cancelled to end what still runs.
    abort: CancellationToken,
    flags: Arc<Flags>,
    /// Tracks the task that notices the end of the runtime. A shutdown does not wait for it first.
    lookout: TaskTracker,
}

impl Tasks {
    /// Creates the tasks of a bus on the current runtime.
    pub(crate) fn new() -> Self {
        Self {
            runtime: Handle::current(),
            tracker: TaskTracker::new(),
            drain: CancellationToken::new(),
            abort: CancellationToken::new(),
            flags: Arc::default(),
            lookout: TaskTracker::new(),
        }
    }

    /// Ends the bus when the runtime ends, because its tasks have ended with the runtime.
    pub(crate) fn end_with_runtime(&self, provider: &Arc<dyn Provider>) {
        let lookout = Lookout {
            tasks: self.clone(),
            provider: Arc::downgrade(provider),
        };
        let task = async move { lookout.tasks.abort.cancelled().await };
        // It ends with the bus, and a shutdown waits for it.
        drop(self.lookout.spawn_on(task, &self.runtime));
    }

    /// Creates the error of an operation on a closed bus. If the runtime has ended, that is the
    /// cause.
    pub(crate) fn closed(&self, context: impl Into<Box<str>>) -> Error {
        let error = Error::new(ErrorKind::Closed, context);
        if self.is_orphaned() {
            error.with_source(RUNTIME_ENDED)
        } else {
            error
        }
    }

    /// Tells whether the runtime has ended.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.flags.is_orphaned.load(Ordering::Acquire)
    }

    /// Ends all tasks. None of them is polled again.
    fn abort(&self) {
        self.flags.is_aborted.store(true, Ordering::Release);
        self.abort.cancel();
    }

    /// Enters the runtime of the bus: what is created until the guard is dropped belongs to it.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Spawns a task that ends at the latest when the grace time of a shutdown is over.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let (abort, flags) = (self.abort.clone(), Arc::clone(&self.flags));
        self.tracker.spawn_on(
            async move {
                let mut task = pin!(task);
                let mut aborted = pin!(abort.cancelled());
                poll_fn(|cx| {
                    // The abort comes first: once it has begun, no task runs, so none sees that
                    // another one was dropped. Only a task that is pending waits for the abort.
                    let is_aborted = flags.is_aborted.load(Ordering::Acquire);
                    if is_aborted || task.as_mut().poll(cx).is_ready() {
                        Poll::Ready(())
                    } else {
                        aborted.as_mut().poll(cx)
                    }
                })
                .await;
            },
            &self.runtime,
        )
    }

    /// Returns a token for work on a task that is not of the bus. A shutdown waits for it too.
    pub(crate) fn token(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Polls work once on the current task. If it is pending then, it must be spawned.
    ///
    /// It is pending without a poll if tasks are ended, or if too many run inside each other.
    pub(crate) fn poll_here<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        if self.flags.is_aborted.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let Some(_depth) = Depth::enter() else {
            return Poll::Pending;
        };
        // Most callers are on this runtime, and a look at it costs less than to enter it.
        let is_here = Handle::try_current().is_ok_and(|here| here.id() == self.runtime.id());
        let _runtime = (!is_here).then(|| self.enter());
        // The no-op waker is safe: what is pending is spawned, and so polled again.
        poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Returns the token that is cancelled when no new work is to be taken.
    pub(crate) fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    /// Tells whether no new work is to be taken. Unlike the token it takes no lock, because every
    /// operation calls it.
    pub(crate) fn is_closed(&self) -> bool {
        self.tracker.is_closed()
    }

    /// Takes no new work, waits up to `grace` for the tasks and then for `settled`, and ends the
    /// tasks that are left. With a grace of zero no task is polled again.
    ///
    /// It may be called several times, also concurrently: the shortest grace time counts, and each
    /// call returns when no task runs any more. A task that is spawned later ends before it starts.
    pub(crate) async fn shutdown(&self, grace: Duration, settled: impl Future<Output = ()>) {
        self.tracker.close();
        if grace.is_zero() {
            // Before the drain, which would let the waiting events start.
            self.abort();
        }
        self.drain.cancel();
        let finish = async {
            tokio::select! {
                () = async { self.tracker.wait().await; settled.await } => {}
                () = self.abort.cancelled() => {}
            }
        };
        // A timeout is no failure: the next line ends what is left.
        drop(tokio::time::timeout(grace, finish).await);
        self.abort();
        self.tracker.wait().await;
        self.lookout.close();
        self.lookout.wait().await;
    }

    /// Ends all tasks, and does not wait for their end.
    pub(crate) fn abandon(&self) {
        self.tracker.close();
        self.drain.cancel();
        self.abort();
    }
}

/// Counts the tasks that run inside each other on one thread, because each needs stack.
struct Depth;

impl Depth {
    fn enter() -> Option<Self> {
        DEPTH.with(|depth| {
            let is_allowed = depth.get() < MAX_DEPTH;
            is_allowed.then(|| {
                depth.set(depth.get() + 1);
                Self
            })
        })
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Held by a task. If it is dropped before the bus has ended, the runtime has ended.
struct Lookout {
    tasks: Tasks,
    /// Weak, so that the task does not keep the provider alive.
    provider: Weak<dyn Provider>,
}

impl Drop for Lookout {
    fn drop(&mut self) {
        if self.tasks.flags.is_aborted.load(Ordering::Acquire) {
            return;
        }
        self.tasks.flags.is_orphaned.store(true, Ordering::Release);
        self.tasks.abandon();
        let Some(provider) = self.provider.upgrade() else {
            return;
        };
        tracing::warn!(provider = provider.name(), "{RUNTIME_ENDED}");
        // First, so that a provider that wraps another one knows that it need not wait.
        provider.health().close();
        // The first poll ends the operations that wait for the provider on other runtimes. There is
        // no runtime for a second poll.
        let close = provider
            .close()
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Err(error)) = close {
            tracing::debug!(%error, "a provider was not closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::Pin;

    use tokio::runtime::Builder;
    use tokio::sync::oneshot;

    use super::*;

    /// Runs a task on the current one until it first waits, and from there on its own.
    fn spawn_from_here(tasks: &Tasks, mut task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let _token = tasks.token();
        if tasks.poll_here(|cx| task.as_mut().poll(cx)).is_pending() {
            tasks.spawn(task);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_waits_for_tasks_within_its_grace() {
        let tasks = Tasks::new();
        let (done, mut finished) = oneshot::channel();
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            done.send(()).unwrap();
        });

        tasks.shutdown(Duration::from_secs(2), ready(())).await;

        assert_eq!(finished.try_recv(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_shutdown_with_less_grace_ends_the_first() {
        let tasks = Tasks::new();
        tasks.spawn(pending());
        let first = tokio::spawn({
            let tasks = tasks.clone();
            async move { tasks.shutdown(Duration::MAX, ready(())).await }
        });
        tokio::task::yield_now().await;

        tasks.shutdown(Duration::ZERO, ready(())).await;

        first.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_spawned_after_a_shutdown_never_starts() {
        let tasks = Tasks::new();
        tasks.shutdown(Duration::ZERO, ready(())).await;

        let (started, start) = oneshot::channel();
        tasks
            .spawn(async move { started.send(()).unwrap() })
            .await
            .unwrap();
        let (started, start_here) = oneshot::channel();
        spawn_from_here(&tasks, Box::pin(async move { started.send(()).unwrap() }));

        assert!(start.await.is_err());
        assert!(start_here.await.is_err());
    }

    #[tokio::test]
    async fn a_task_that_does_not_wait_runs_here() {
        let tasks = Tasks::new();
        let (done, mut finished) = oneshot::channel();

        spawn_from_here(&tasks, Box::pin(async move { done.send(()).unwrap() }));

        assert_eq!(finished.try_recv(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_waits_goes_on_by_itself() {
        let tasks = Tasks::new();
        let (done, mut finished) = oneshot::channel();

        spawn_from_here(
            &tasks,
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                done.send(()).unwrap();
            }),
        );
        assert!(finished.try_recv().is_err());
        tasks.shutdown(Duration::from_secs(2), ready(())).await;

        assert_eq!(finished.try_recv(), Ok(()));
    }

    #[test]
    fn what_runs_here_is_on_the_runtime_of_the_bus() {
        let runtime = || Builder::new_current_thread().build().unwrap();
        let (of_bus, other) = (runtime(), runtime());
        let tasks = of_bus.block_on(async { Tasks::new() });
        let check = || {
            let polled = tasks.poll_here(|_| Poll::Ready(Handle::current().id()));
            assert_eq!(polled, Poll::Ready(of_bus.handle().id()));
        };

        check();
        other.block_on(async { check() });
        of_bus.block_on(async { check() });
    }

    #[tokio::test]
    async fn tasks_that_start_each_other_do_not_fill_the_stack() {
        fn start(tasks: &Tasks, left: u32, done: oneshot::Sender<()>) {
            let next = tasks.clone();
            spawn_from_here(
                tasks,
                Box::pin(async move {
                    match left.checked_sub(1) {
                        Some(left) => start(&next, left, done),
                        None => done.send(()).unwrap(),
                    }
                }),
            );
        }
        let (done, finished) = oneshot::channel();

        start(&Tasks::new(), 100_000, done);

        finished.await.unwrap();
    }
}
