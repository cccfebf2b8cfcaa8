//! [`Runner`]: what runs the requests of a served channel without a reader.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use tokio::time::Instant;

use super::requests::{Reply, Request, Respond};

/// Runs requests at once, so that they need no reader.
pub(crate) trait Runner: Send + Sync {
    /// Starts a request on a task of its own if there is a slot for it, and returns it otherwise.
    fn start(self: Arc<Self>, request: Request) -> Result<(), Request>;

    /// Runs a request from `now` on this task until it first waits, if there is a slot for it, and
    /// returns it otherwise. Returns the reply if it is there by then.
    ///
    /// A request that waits gets its way to reply from `respond`.
    fn run_here(
        self: Arc<Self>,
        request: Request,
        now: Instant,
        respond: &mut dyn FnMut() -> Respond,
    ) -> Result<Option<Reply>, Request>;
}

/// What both ends know besides the buffer. Each request reads it, so it has no lock.
#[derive(Default)]
pub(super) struct Side {
    /// Weak, so that a provider does not keep the function alive. Set once.
    runner: OnceLock<Weak<dyn Runner>>,
    pub(super) is_running: AtomicBool,
    /// How many requests are in the buffer. Changed under the lock of the buffer.
    pub(super) buffered: AtomicUsize,
}

impl Side {
    /// Lets a runner start requests. Only the first one counts.
    pub(super) fn set_runner(&self, runner: Weak<dyn Runner>) {
        let is_first = self.runner.set(runner).is_ok();
        self.is_running.store(is_first, Ordering::Release);
    }

    /// Returns the runner, if a request need not wait behind earlier ones.
    pub(super) fn runner(&self) -> Option<Arc<dyn Runner>> {
        if !self.is_running.load(Ordering::Acquire) || self.buffered.load(Ordering::Acquire) > 0 {
            return None;
        }
        self.runner.get()?.upgrade()
    }
}
