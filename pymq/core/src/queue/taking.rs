//! One take from a queue: by a handle, or by a worker. The task of a worker has no handle: it
//! must not keep its bus alive.

use crate::client::counters::Counters;
use crate::client::{LocalQueue, Tasks};
use crate::error::{Error, Result};
use crate::provider::{Delivery, GetOptions, Provider, Wait};

/// What a take needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taking<'a> {
    pub(crate) provider: &'a dyn Provider,
    pub(crate) tasks: &'a Tasks,
    pub(crate) counters: &'a Counters,
    pub(crate) local: &'a LocalQueue,
}

impl Taking<'_> {
    /// Takes messages. A closed queue is drained without waiting; a bus that shuts down takes nothing more.
    ///
    /// Cancel safe: the message of a take that is dropped stays in the queue, which the seam promises.
    pub(crate) async fn take(self, verb: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        let name = self.local.checked_name()?;
        let drain = self.tasks.drain();
        if drain.is_cancelled() {
            return Err(self.closed(verb));
        }
        if !self.local.is_closed() {
            tokio::select! {
                biased;
                taken = self.provider.queue_get(name, opts.clone()) => return taken.inspect(|taken| self.took(taken)),
                () = self.local.closed() => {}
                () = drain.cancelled() => return Err(self.closed(verb)),
            }
        }
        let rest = self.provider.queue_get(name, opts.wait(Wait::No)).await?;
        if rest.is_empty() {
            return Err(self.closed(verb));
        }
        self.took(&rest);
        Ok(rest)
    }

    fn took(self, deliveries: &[Delivery]) {
        let again = deliveries.iter().filter(|delivery| delivery.attempt > 1);
        self.counters.redelivered.add(again.count() as u64);
        self.local.freed(deliveries.len());
    }

    fn closed(self, verb: &str) -> Error {
        let context = format!("{}: {verb} `{}`", self.provider.name(), self.local.name());
        self.tasks.closed(context)
    }
}
