//! What a `Bus` adds to a provider: typed events, handlers, guards, and an end to all of them.

mod buffered;
mod draining;
mod ending;
mod events;
mod handlers;
mod hurried;
mod limits;
mod runtimes;
mod slow;
mod state;

use std::future::{Ready, ready};

use pymq_core::{Bus, Error, ErrorKind, Result};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub use self::buffered::*;
pub use self::draining::*;
pub use self::ending::*;
pub use self::events::*;
pub use self::handlers::*;
pub use self::hurried::*;
pub use self::limits::*;
pub use self::runtimes::*;
pub use self::slow::*;
pub use self::state::*;
use crate::wait::soon;
use crate::{Failure, Harness};

/// Opens a bus on a handle of its own, as another process does.
pub async fn open(h: &dyn Harness) -> Result<Bus> {
    h.connect().await.map(Bus::new)
}

/// Returns the kind of the error, if it is one.
pub fn kind<T>(result: &Result<T>) -> Option<ErrorKind> {
    result.as_ref().err().map(Error::kind)
}

/// Creates a handler that forwards its events, and the receiver of them.
pub fn recorder<T: Send + 'static>() -> (
    impl Fn(T) -> Ready<()> + Send + Sync + 'static,
    UnboundedReceiver<T>,
) {
    let (seen, arrived) = unbounded_channel();
    let record = move |value| {
        // The test has seen enough.
        drop(seen.send(value));
        ready(())
    };
    (record, arrived)
}

/// Receives an item that must come.
pub async fn next<T>(arrived: &mut UnboundedReceiver<T>) -> Result<T, Failure> {
    let received = soon("a value to arrive", arrived.recv()).await?;
    received.ok_or_else(|| "its sender is gone".into())
}
