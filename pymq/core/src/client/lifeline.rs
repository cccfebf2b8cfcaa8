//! A handle on something that runs: its owner has one end, and what runs has the other.

use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::tasks::Tasks;

/// Creates the two ends of a handle on something that runs until its owner or its bus ends it.
pub(crate) fn lifeline() -> (Stop, Arc<Alive>) {
    let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
    let alive = Alive {
        stop: stop.clone(),
        _ended: ended.clone().drop_guard(),
    };
    (Stop { stop, ended }, Arc::new(alive))
}

/// The end of the owner. It asks to stop, and waits until nothing runs any more.
#[derive(Debug)]
pub(crate) struct Stop {
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Stop {
    /// Asks to stop, and returns at once.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves when the other end is dropped.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// The end of what runs. It is held from the registration until the last handler has ended.
#[derive(Debug)]
pub(crate) struct Alive {
    stop: CancellationToken,
    _ended: DropGuard,
}

impl Alive {
    /// Tells whether the owner asked to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves when the owner asks to stop.
    pub(crate) async fn stopped_by_owner(&self) {
        self.stop.cancelled().await;
    }

    /// Resolves when the owner asks to stop or the bus takes no new work.
    pub(crate) async fn stopped(&self, tasks: &Tasks) {
        tokio::select! {
            () = self.stopped_by_owner() => {}
            () = tasks.drain().cancelled() => {}
        }
    }
}
