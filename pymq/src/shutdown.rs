//! Every task of a bus: spawned through one tracker, told to stop by one token, awaited by one
//! shutdown. Nothing is detached.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where a bus spawns, and how it stops what it spawned.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    /// Captured at connect, so that a lease can be given back from a plain `drop`.
    runtime: Handle,
    tracker: TaskTracker,
    /// Asks for no new work; what runs may finish.
    drain: CancellationToken,
    /// Ends what still runs.
    abort: CancellationToken,
}

impl Tasks {
    /// Creates the tasks of a bus on the current runtime.
    pub(crate) fn new() -> Self {
        Self {
            runtime: Handle::current(),
            tracker: TaskTracker::new(),
            drain: CancellationToken::new(),
            abort: CancellationToken::new(),
        }
    }

    /// Spawns a task that ends at the latest when the grace time of a shutdown is over.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let abort = self.abort.clone();
        self.tracker.spawn_on(
            async move {
                tokio::select! {
                    biased;
                    () = abort.cancelled() => {}
                    () = task => {}
                }
            },
            &self.runtime,
        )
    }

    /// Returns the token that is cancelled when no new work is to be taken.
    pub(crate) fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    /// Takes no new work, waits for what runs up to `grace`, and ends the rest.
    pub(crate) async fn shutdown(&self, grace: std::time::Duration) {
        self.drain.cancel();
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait())
            .await
            .is_err()
        {
            self.abort.cancel();
            self.tracker.wait().await;
        }
    }
}
