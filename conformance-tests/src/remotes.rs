//! Remotes, from a typed stub to an exposed function: values, failures, deadlines, many servers and
//! their ends.

mod answers;
mod exposing;
mod many;
mod time;

use std::sync::Arc;

use pymq_core::{Bus, Result};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub use self::answers::*;
pub use self::exposing::*;
pub use self::many::*;
pub use self::time::*;

/// A remote `f(n) -> n` that reports its start and waits at a gate.
struct Gated {
    starts: UnboundedReceiver<u64>,
    gate: Arc<Semaphore>,
    guard: pymq_core::Running,
}

impl Gated {
    /// Exposes one as `f`.
    async fn expose(bus: &Bus) -> Result<Self> {
        let (started, starts) = unbounded_channel();
        let gate = Arc::new(Semaphore::new(0));
        let function = {
            let gate = Arc::clone(&gate);
            move |n: u64| {
                let (started, gate) = (started.clone(), Arc::clone(&gate));
                async move {
                    started.send(n).ok();
                    gate.acquire().await.map(|_| n)
                }
            }
        };
        let guard = bus.expose("f", function).await?;
        Ok(Self {
            starts,
            gate,
            guard,
        })
    }
}
