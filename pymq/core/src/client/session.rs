//! [`Session`]: a connected bus, from its connection to its shutdown.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::counters::Counters;
use super::exposed::Exposed;
use super::leases::HeldLeases;
use super::publishing::PublishBuffer;
use super::served::Served;
use super::tasks::Tasks;
use crate::error::Result;
use crate::provider::Provider;

/// The connection of a bus to its provider, and the tasks on it.
///
/// Handles and guards share it. When the last of them is dropped, its tasks end.
pub(crate) struct Session {
    provider: Arc<dyn Provider>,
    tasks: Tasks,
    counters: Arc<Counters>,
    exposed: Exposed,
    served: Arc<Served>,
    leases: Arc<HeldLeases>,
    publishing: Arc<PublishBuffer>,
}

impl Session {
    /// Creates a session on the current runtime. It ends with the runtime.
    pub(super) fn new(provider: Arc<dyn Provider>) -> Arc<Self> {
        let tasks = Tasks::new();
        tasks.end_with_runtime(&provider);
        Arc::new(Self {
            provider,
            tasks,
            counters: Arc::default(),
            exposed: Exposed::default(),
            served: Arc::default(),
            leases: Arc::default(),
            publishing: Arc::default(),
        })
    }

    pub(crate) fn provider(&self) -> &Arc<dyn Provider> {
        &self.provider
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(crate) fn exposed(&self) -> &Exposed {
        &self.exposed
    }

    pub(crate) fn served(&self) -> &Arc<Served> {
        &self.served
    }

    pub(crate) fn leases(&self) -> &Arc<HeldLeases> {
        &self.leases
    }

    pub(crate) fn publishing(&self) -> &Arc<PublishBuffer> {
        &self.publishing
    }

    /// Tells whether a shutdown has begun, or the runtime has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.tasks.is_closed()
    }

    /// Checks that new work is still taken.
    pub(crate) fn check_open(&self, operation: impl FnOnce() -> String) -> Result<()> {
        if self.is_closed() {
            Err(self.tasks.closed(operation()))
        } else {
            Ok(())
        }
    }

    /// Checks that the runtime has not ended.
    pub(crate) fn check_runtime(&self, operation: impl FnOnce() -> String) -> Result<()> {
        if self.tasks.is_orphaned() {
            Err(self.tasks.closed(operation()))
        } else {
            Ok(())
        }
    }

    /// Takes no new work, waits up to `grace` for running work, gives back the remaining leases,
    /// and closes the provider.
    pub(crate) async fn shutdown(&self, grace: Duration) -> Result<()> {
        self.tasks.shutdown(grace, self.leases.settled()).await;
        self.leases.release_all(&*self.provider).await;
        self.provider.close().await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tasks.abandon();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("provider", &self.provider.name())
            .finish_non_exhaustive()
    }
}
