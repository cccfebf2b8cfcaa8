//! One take from a queue: by a handle, or by a worker.

use std::sync::Arc;
use std::time::Duration;

use super::lease::Claim;
use crate::client::{ConnectedQueue, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::provider::{Delivery, GetOptions, Wait};

const LEASE: &str = "lease from";

/// A message that is leased, and the right to settle it.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) claim: Claim,
    pub(crate) message: Message,
    pub(crate) attempt: u32,
}

impl ConnectedQueue {
    /// Takes messages. A closed queue is drained without waiting. A bus that shuts down takes
    /// nothing more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the provider promises that the messages of a dropped take stay in the queue.
    pub(crate) async fn take(&self, verb: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        let name = self.local.checked_name()?;
        let closed = || self.tasks.closed(self.context(verb));
        if self.tasks.is_closed() {
            return Err(closed());
        }
        if !self.local.is_closed() {
            tokio::select! {
                biased;
                taken = self.provider.queue_get(name, opts.clone()) => {
                    return taken.inspect(|taken| self.took(taken));
                }
                // A block, so that only a take that waits creates the token.
                () = async { self.ended().cancelled().await } => {}
            }
            if self.tasks.is_closed() {
                return Err(closed());
            }
        }
        let rest = self.provider.queue_get(name, opts.wait(Wait::No)).await?;
        if rest.is_empty() {
            return Err(closed());
        }
        self.took(&rest);
        Ok(rest)
    }

    /// Takes messages under a lease. The bus knows each lease before anything else happens to it.
    ///
    /// `session` is what the claims keep alive.
    ///
    /// # Cancel safety
    ///
    /// As [`take`](Self::take).
    pub(crate) async fn claim(
        self: &Arc<Self>,
        session: Option<&Arc<Session>>,
        lease: Duration,
        opts: GetOptions,
    ) -> Result<Vec<Claimed>> {
        let deliveries = self.take(LEASE, opts.lease(lease)).await?;
        let receipts = deliveries.iter().filter_map(|taken| taken.receipt.clone());
        let mut tickets = self.leases.hold(self.name(), receipts)..;
        let mut claimed = Vec::with_capacity(deliveries.len());
        let mut without_receipt = None;
        for delivery in deliveries {
            let with_ticket = |receipt| Some((receipt, tickets.next()?));
            let Some((receipt, ticket)) = delivery.receipt.and_then(with_ticket) else {
                let context = format!("{}: the delivery has no receipt", self.context(LEASE));
                let error = Error::new(ErrorKind::Provider, context);
                tracing::error!(attempt = delivery.attempt, %error, "a message is lost");
                without_receipt = Some(error);
                continue;
            };
            claimed.push(Claimed {
                claim: Claim::new(self, session.cloned(), receipt, ticket),
                message: delivery.message,
                attempt: delivery.attempt,
            });
        }
        match without_receipt {
            Some(error) if claimed.is_empty() => Err(error),
            _ => Ok(claimed),
        }
    }

    fn took(&self, deliveries: &[Delivery]) {
        let again = deliveries.iter().filter(|delivery| delivery.attempt > 1);
        self.counters.redelivered.add(again.count() as u64);
        self.local.freed(deliveries.len());
        let finished = deliveries
            .iter()
            .filter(|delivery| delivery.receipt.is_none());
        self.local.finish(finished.count());
    }
}
