//! The untyped half of a lease: a receipt that is settled exactly once, by its owner or by being
//! dropped.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{Session, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::{Provider, Receipt, Settle};

/// The right to settle one delivery.
#[derive(Debug)]
pub(crate) struct Claim {
    session: Arc<Session>,
    queue: Arc<str>,
    receipt: Receipt,
    ticket: Ticket,
    /// What a drop does; none once the provider has answered a settlement.
    on_drop: Option<Settle>,
}

impl Claim {
    /// Takes over the receipt of a delivery. Dropped, it gives the message back at once.
    pub(crate) fn new(session: &Arc<Session>, queue: &Arc<str>, receipt: Receipt) -> Self {
        let ticket = session.leases().hold(queue, receipt.clone());
        Self {
            session: Arc::clone(session),
            queue: Arc::clone(queue),
            receipt,
            ticket,
            on_drop: Some(Settle::Nack {
                delay: Duration::ZERO,
            }),
        }
    }

    pub(crate) fn queue(&self) -> &Arc<str> {
        &self.queue
    }

    /// Settles the delivery. Dropped before the provider answers, it is settled as a drop does.
    ///
    /// If the first settlement succeeded, the second one finds the lease gone and changes nothing.
    pub(crate) async fn settle(mut self, settlement: Settle) -> Result<()> {
        let answer = self.send(settlement).await;
        // After an error too: what did not get through is over when the lease is.
        self.on_drop = None;
        answer
    }

    /// Moves the delivery to the dead letters, also when the future is dropped before that has happened.
    pub(crate) async fn bury(mut self, reason: String) -> Result<()> {
        let settlement = Settle::Bury { reason };
        self.on_drop = Some(settlement.clone());
        self.settle(settlement).await
    }

    /// Prolongs the lease, which stays open.
    pub(crate) async fn send(&self, settlement: Settle) -> Result<()> {
        let context = || format!("settle in `{}`", self.queue);
        self.session.check_runtime(context)?;
        send(
            &**self.session.provider(),
            &self.queue,
            self.receipt.clone(),
            settlement,
        )
        .await
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(settlement) = self.on_drop.take() else {
            self.session.leases().let_go(self.ticket);
            return;
        };
        if !self.session.leases().holds(self.ticket) {
            return;
        }
        let (session, queue) = (Arc::clone(&self.session), Arc::clone(&self.queue));
        let (receipt, ticket) = (self.receipt.clone(), self.ticket);
        // A drop cannot wait. Should a shutdown end this task early, the ticket is still there for it to find.
        drop(self.session.tasks().spawn(async move {
            if let Err(error) = send(&**session.provider(), &queue, receipt, settlement).await {
                tracing::debug!(queue = &*queue, %error, "a dropped lease was not given back");
            }
            session.leases().let_go(ticket);
        }));
    }
}

async fn send(
    provider: &dyn Provider,
    queue: &str,
    receipt: Receipt,
    settlement: Settle,
) -> Result<()> {
    let answers = provider
        .queue_settle(queue, vec![(receipt, settlement)])
        .await?;
    answers.into_iter().next().unwrap_or_else(|| {
        let context = format!("{}: settle on `{queue}`: no answer", provider.name());
        Err(Error::new(ErrorKind::Provider, context))
    })
}
