//! What a worker asks of its provider. It holds no handle of the bus: a task that did would keep it alive for ever.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::super::Taking;
use crate::client::counters::Counters;
use crate::client::{LocalQueue, Session, Tasks};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::{Delivery, GetOptions, Provider, Receipt, Settle, Wait};

/// One queue, as a worker sees it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    provider: Arc<dyn Provider>,
    local: Arc<LocalQueue>,
    pub(super) tasks: Tasks,
    pub(super) counters: Arc<Counters>,
}

impl Source {
    pub(super) fn new(session: &Session, local: &Arc<LocalQueue>) -> Self {
        Self {
            provider: Arc::clone(session.provider()),
            local: Arc::clone(local),
            tasks: session.tasks().clone(),
            counters: Arc::clone(session.counters()),
        }
    }

    pub(super) fn queue(&self) -> &Arc<str> {
        self.local.name()
    }

    pub(super) fn has_delays(&self) -> bool {
        self.provider.capabilities().delays
    }

    /// Waits for items and leases up to `max` of them. Cancel safe: what was taken for a dropped future goes back.
    pub(super) async fn take(self, max: NonZeroUsize, lease: Duration) -> Result<Vec<Delivery>> {
        let opts = GetOptions::default()
            .max(max)
            .wait(Wait::Forever)
            .lease(lease);
        let taking = Taking {
            provider: &*self.provider,
            tasks: &self.tasks,
            counters: &self.counters,
            local: &self.local,
        };
        taking.take("lease from", opts).await
    }

    /// Settles, and answers for each.
    pub(super) async fn settle(self, settlements: Vec<(Receipt, Settle)>) -> Vec<Result<()>> {
        let count = settlements.len();
        let answers = self.provider.queue_settle(self.queue(), settlements).await;
        let error = match answers {
            Ok(answers) if answers.len() == count => return answers,
            Ok(answers) => self.broken(&format!("{} answers to {count}", answers.len())),
            Err(error) => error,
        };
        vec![Err(error); count]
    }

    fn broken(&self, how: &str) -> Error {
        let context = format!(
            "{}: settle on `{}`: {how}",
            self.provider.name(),
            self.queue()
        );
        Error::new(ErrorKind::Provider, context)
    }
}
