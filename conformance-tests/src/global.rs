//! G: the process-wide bus. There is one in a process, so these behaviours take turns.

mod before;
mod life;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::Provider;
use pymq_core::{Connect, Result};
use tokio::sync::{Mutex, MutexGuard};

pub use self::before::*;
pub use self::life::*;
use crate::wait::PATIENCE;
use crate::{Failure, Harness};

/// Held by the behaviour whose turn it is.
static TURN: Mutex<()> = Mutex::const_new(());

/// The process-wide bus for one behaviour: gone before it and after it.
struct Turn<'a> {
    harness: &'a dyn Harness,
    _turn: MutexGuard<'static, ()>,
}

impl<'a> Turn<'a> {
    /// Waits for the turn, and clears what a failed behaviour left behind.
    async fn take(harness: &'a dyn Harness) -> Result<Self, Failure> {
        let turn = TURN.lock().await;
        // The runtime of what was left is gone, so its answer says nothing.
        drop(tokio::time::timeout(PATIENCE, pymq_core::shutdown(Duration::ZERO)).await?);
        Ok(Self {
            harness,
            _turn: turn,
        })
    }

    /// Returns a configuration that connects to the harness' backend.
    async fn config(&self) -> Result<Opened> {
        self.harness.connect().await.map(Opened)
    }

    /// Initializes the bus on the harness' backend.
    async fn init(&self) -> Result<()> {
        pymq_core::init(self.config().await?).await
    }
}

/// A provider that is open already, as a configuration.
struct Opened(Arc<dyn Provider>);

#[async_trait]
impl Connect for Opened {
    async fn connect(self) -> Result<Arc<dyn Provider>> {
        Ok(self.0)
    }
}

/// Shuts down with time enough for every handler.
async fn shutdown() -> Result<()> {
    pymq_core::shutdown(PATIENCE).await
}
