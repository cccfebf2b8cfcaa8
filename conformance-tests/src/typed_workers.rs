//! Workers, which run a handler on each item of a queue.

mod counting;
mod ending;
mod failures;
mod handling;
mod leasing;
mod order;
mod outages;
mod taking;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub use self::counting::*;
pub use self::ending::*;
pub use self::failures::*;
pub use self::handling::*;
pub use self::leasing::*;
pub use self::order::*;
pub use self::outages::*;
pub use self::taking::*;
use crate::Failure;
use crate::typed::next;

/// The test's side of a handler. The handler reports the item that it begins, waits until it may
/// continue, and counts what it finishes.
pub(crate) struct Gate {
    begun: UnboundedReceiver<u32>,
    permits: Arc<Semaphore>,
    finished: Arc<AtomicU64>,
}

/// Creates such a handler. Clones of the gate's parts show how many handlers are alive.
pub(crate) fn gated() -> (
    impl Fn(u32) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    Gate,
) {
    let (tell, begun) = unbounded_channel();
    let (permits, finished) = (Arc::new(Semaphore::new(0)), Arc::<AtomicU64>::default());
    let gate = Gate {
        begun,
        permits: Arc::clone(&permits),
        finished: Arc::clone(&finished),
    };
    let handler = move |item| {
        let (permits, finished) = (Arc::clone(&permits), Arc::clone(&finished));
        // The test has seen enough.
        tell.send(item).ok();
        async move {
            permits
                .acquire()
                .await
                .expect("it is never closed")
                .forget();
            finished.fetch_add(1, Ordering::SeqCst);
        }
        .boxed()
    };
    (handler, gate)
}

impl Gate {
    /// Waits for the next item to begin.
    pub(crate) async fn begun(&mut self) -> Result<u32, Failure> {
        next(&mut self.begun).await
    }

    /// Returns an item that has begun by now.
    pub(crate) fn try_begun(&mut self) -> Option<u32> {
        self.begun.try_recv().ok()
    }

    /// Lets this many handlers finish.
    pub(crate) fn open(&self, handlers: usize) {
        self.permits.add_permits(handlers);
    }

    /// Counts the handlers that have finished.
    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::SeqCst)
    }

    /// Counts the running handlers, without the handler function itself.
    pub(crate) fn alive(&self) -> usize {
        Arc::strong_count(&self.finished).saturating_sub(2)
    }
}

/// What was seen, in order. All clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Noted<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Noted<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Noted<T> {
    pub(crate) fn note(&self, seen: T) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(seen);
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
