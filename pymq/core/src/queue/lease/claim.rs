//! The untyped half of a lease: a receipt that is settled once, by its owner or when it is dropped.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{ConnectedQueue, Session, Ticket};
use crate::error::Result;
use crate::provider::{Receipt, Settle};

/// The right to settle one delivery.
#[derive(Debug)]
pub(crate) struct Claim {
    queue: Arc<ConnectedQueue>,
    /// Keeps the bus alive until the claim is settled. A worker does not keep its bus alive.
    session: Option<Arc<Session>>,
    receipt: Receipt,
    ticket: Ticket,
    on_drop: OnDrop,
}

/// What the drop of a claim does.
#[derive(Debug)]
enum OnDrop {
    Settle(Settle),
    /// Lets the lease go: the delivery is settled or the lease has ended.
    LetGo,
    /// Nothing: the lease is let go with others.
    Nothing,
}

impl Claim {
    /// Takes over the receipt of a delivery, which the bus holds by this ticket. Dropped, it gives
    /// the message back at once.
    pub(crate) fn new(
        queue: &Arc<ConnectedQueue>,
        session: Option<Arc<Session>>,
        receipt: Receipt,
        ticket: Ticket,
    ) -> Self {
        Self {
            queue: Arc::clone(queue),
            session,
            receipt,
            ticket,
            on_drop: OnDrop::Settle(Settle::Nack {
                delay: Duration::ZERO,
            }),
        }
    }

    pub(crate) fn queue(&self) -> &Arc<str> {
        self.queue.name()
    }

    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub(crate) fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Settles the delivery.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before the provider answers, the delivery is settled as by a drop
    /// of the claim. If the first settlement succeeded, the second one finds the lease gone and
    /// changes nothing.
    pub(crate) async fn settle(self, settlement: Settle) -> Result<()> {
        let answer = self.send(settlement).await;
        // After an error too: the message comes back when its lease ends.
        self.end();
        answer
    }

    /// Moves the delivery to the dead letters, and logs why. If the future is dropped early, the
    /// delivery is moved too.
    pub(crate) async fn bury(mut self, attempt: u32, reason: String) -> Result<()> {
        let settlement = burial(self.queue(), attempt, reason);
        self.on_drop = OnDrop::Settle(settlement.clone());
        self.settle(settlement).await
    }

    /// Sends a settlement and leaves the claim open, as after an extension of the lease.
    pub(crate) async fn send(&self, settlement: Settle) -> Result<()> {
        self.queue.settle(self.receipt.clone(), settlement).await
    }

    /// Ends the claim: the delivery is settled, or the lease has ended. The drop changes nothing.
    pub(crate) fn end(mut self) {
        self.on_drop = OnDrop::LetGo;
    }

    /// Ends claims of one bus, as [`end`](Self::end) does, in one step.
    pub(crate) fn end_all(mut claims: Vec<Self>) {
        for claim in &mut claims {
            claim.on_drop = OnDrop::Nothing;
        }
        if let Some(first) = claims.first() {
            let leases = &first.queue.leases;
            leases.let_go(claims.iter().map(|claim| claim.ticket));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let settlement = match std::mem::replace(&mut self.on_drop, OnDrop::Nothing) {
            OnDrop::Settle(settlement) => settlement,
            OnDrop::LetGo => return self.queue.leases.let_go([self.ticket]),
            OnDrop::Nothing => return,
        };
        if !self.queue.leases.holds(self.ticket) {
            return;
        }
        let (queue, session) = (Arc::clone(&self.queue), self.session.take());
        let (receipt, ticket) = (self.receipt.clone(), self.ticket);
        // A drop cannot wait. If a shutdown ends this task early, it finds the ticket.
        drop(self.queue.tasks.spawn(async move {
            let _session = session;
            if let Err(error) = queue.settle(receipt, settlement).await {
                let name = &**queue.name();
                tracing::debug!(queue = name, %error, "a dropped lease was not given back");
            }
            queue.leases.let_go([ticket]);
        }));
    }
}

/// Returns the settlement that makes a dead letter of a message, and logs why.
pub(crate) fn burial(queue: &str, attempt: u32, reason: String) -> Settle {
    tracing::warn!(queue, attempt, reason, "dead letter");
    Settle::Bury { reason }
}
