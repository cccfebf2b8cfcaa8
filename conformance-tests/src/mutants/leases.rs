//! Defects in leases.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pymq_core::provider::{Delivery, GetOptions, Provider, Put, PutOptions, Receipt, Settle};
use pymq_core::{Error, ErrorKind, Headers, Message, Result};
use tokio::time::Instant;

use super::each;
use super::queues::TakesOn;
use crate::harness::Wrap;
use crate::twist::Twist;

/// The lease starts at the put.
pub fn lease_from_put_time() -> Wrap {
    each(FromPut::default)
}

#[derive(Debug, Default)]
struct FromPut(Mutex<Option<Instant>>);

#[async_trait]
impl Twist for FromPut {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        *self.0.lock().expect("nothing panics under it") = Some(Instant::now());
        inner.queue_put(queue, messages, opts).await
    }

    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        mut opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let put = *self.0.lock().expect("nothing panics under it");
        let gone = put.map_or(Duration::ZERO, |put| put.elapsed());
        opts.lease = opts.lease.map(|lease| lease.saturating_sub(gone));
        inner.queue_get(queue, opts).await
    }
}

/// A leased message is gone.
pub fn lease_is_a_get() -> Wrap {
    each(|| AckedAtOnce)
}

#[derive(Debug)]
struct AckedAtOnce;

#[async_trait]
impl Twist for AckedAtOnce {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let taken = inner.queue_get(queue, opts).await?;
        let receipts = taken.iter().filter_map(|delivery| delivery.receipt.clone());
        inner
            .queue_settle(
                queue,
                receipts.map(|receipt| (receipt, Settle::Ack)).collect(),
            )
            .await?;
        Ok(taken)
    }
}

/// A lease that is dropped while it waits is taken, and has no holder.
pub fn cancelled_lease_is_held() -> Wrap {
    each(|| TakesOn)
}

/// Any receipt is accepted.
pub fn stale_receipt_accepted() -> Wrap {
    each(|| AcceptsAll)
}

#[derive(Debug)]
struct AcceptsAll;

#[async_trait]
impl Twist for AcceptsAll {
    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        let answers = inner.queue_settle(queue, settlements).await?;
        Ok(answers
            .into_iter()
            .map(|answer| {
                answer.or_else(|error| {
                    if error.kind() == ErrorKind::LeaseLost {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })
            })
            .collect())
    }
}

/// A receipt that was never issued fails every settlement of its call.
pub fn one_bad_receipt_fails_all() -> Wrap {
    each(AllOrNone::default)
}

/// The receipts that were issued.
#[derive(Debug, Default)]
struct AllOrNone(Mutex<Vec<Bytes>>);

#[async_trait]
impl Twist for AllOrNone {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let taken = inner.queue_get(queue, opts).await?;
        let receipts = taken
            .iter()
            .filter_map(|delivery| delivery.receipt.as_ref());
        let receipts = receipts.map(|receipt| Bytes::copy_from_slice(receipt.as_bytes()));
        self.0
            .lock()
            .expect("nothing panics under it")
            .extend(receipts);
        Ok(taken)
    }

    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        let are_known = {
            let known = self.0.lock().expect("nothing panics under it");
            let mut receipts = settlements.iter().map(|(receipt, _)| receipt.as_bytes());
            receipts.all(|receipt| known.iter().any(|known| known == receipt))
        };
        if are_known {
            return inner.queue_settle(queue, settlements).await;
        }
        let lost = |_| Err(Error::new(ErrorKind::LeaseLost, "a receipt is malformed"));
        Ok(settlements.into_iter().map(lost).collect())
    }
}

/// Every delivery is reported as the first.
pub fn attempt_always_one() -> Wrap {
    deliveries(|delivery| delivery.attempt = 1)
}

/// Only the first delivery has its headers.
pub fn redelivery_drops_headers() -> Wrap {
    deliveries(|delivery| {
        if delivery.attempt > 1 {
            delivery.message.headers = Headers::new();
        }
    })
}

fn deliveries(change: fn(&mut Delivery)) -> Wrap {
    each(move || OtherDelivery(change))
}

#[derive(Debug)]
struct OtherDelivery(fn(&mut Delivery));

#[async_trait]
impl Twist for OtherDelivery {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let mut taken = inner.queue_get(queue, opts).await?;
        taken.iter_mut().for_each(self.0);
        Ok(taken)
    }
}

/// A nacked message goes to the back, as if it were new.
pub fn retry_goes_to_back() -> Wrap {
    each(PutsAgain::default)
}

#[derive(Debug, Default)]
struct PutsAgain(Mutex<HashMap<Receipt, Message>>);

#[async_trait]
impl Twist for PutsAgain {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let taken = inner.queue_get(queue, opts).await?;
        let leased = taken
            .iter()
            .filter_map(|delivery| Some((delivery.receipt.clone()?, delivery.message.clone())));
        self.0
            .lock()
            .expect("nothing panics under it")
            .extend(leased);
        Ok(taken)
    }

    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        let mut answers = Vec::new();
        for (receipt, how) in settlements {
            let is_nack = matches!(how, Settle::Nack { delay } if delay.is_zero());
            let message = self
                .0
                .lock()
                .expect("nothing panics under it")
                .get(&receipt)
                .cloned();
            let how = if is_nack { Settle::Ack } else { how };
            answers.extend(inner.queue_settle(queue, vec![(receipt, how)]).await?);
            if let (true, Some(message)) = (is_nack, message) {
                inner
                    .queue_put(queue, vec![message], PutOptions::default())
                    .await?;
            }
        }
        Ok(answers)
    }
}

/// A receipt names the message and not its lease: an earlier holder can settle it for the current
/// one.
pub fn no_owner_token() -> Wrap {
    let latest = Arc::default();
    each(move || NoOwner {
        latest: Arc::clone(&latest),
    })
}

#[derive(Debug)]
struct NoOwner {
    latest: Arc<Mutex<Holders>>,
}

/// The messages that were taken, by their receipts, and the receipt of the current holder.
#[derive(Debug, Default)]
struct Holders {
    bodies: HashMap<Receipt, Bytes>,
    current: HashMap<Bytes, Receipt>,
}

impl NoOwner {
    /// Returns the receipt of the current holder of the message.
    fn holder(&self, receipt: Receipt) -> Receipt {
        let holders = self.latest.lock().expect("nothing panics under it");
        let body = holders.bodies.get(&receipt);
        let current = body.and_then(|body| holders.current.get(body)).cloned();
        current.unwrap_or(receipt)
    }
}

#[async_trait]
impl Twist for NoOwner {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let taken = inner.queue_get(queue, opts).await?;
        let mut holders = self.latest.lock().expect("nothing panics under it");
        for delivery in &taken {
            if let Some(receipt) = &delivery.receipt {
                let body = delivery.message.body.clone();
                holders.bodies.insert(receipt.clone(), body.clone());
                holders.current.insert(body, receipt.clone());
            }
        }
        drop(holders);
        Ok(taken)
    }

    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        let settlements = settlements
            .into_iter()
            .map(|(receipt, how)| (self.holder(receipt), how))
            .collect();
        inner.queue_settle(queue, settlements).await
    }
}

/// Ended leases are not found.
pub fn never_sweeps() -> Wrap {
    each(|| Endless)
}

#[derive(Debug)]
struct Endless;

#[async_trait]
impl Twist for Endless {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        mut opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        opts.lease = opts.lease.map(|_| Duration::MAX);
        inner.queue_get(queue, opts).await
    }
}

/// Each settlement of a call is a call of its own.
pub fn settles_one_by_one() -> Wrap {
    settlements(Some)
}

/// A release counts as much as a nack.
pub fn release_counts_an_attempt() -> Wrap {
    settlements(|how| match how {
        Settle::Release => Some(Settle::Nack {
            delay: Duration::ZERO,
        }),
        how => Some(how),
    })
}

/// An extension is accepted and ignored.
pub fn extend_does_nothing() -> Wrap {
    settlements(|how| match how {
        Settle::Extend { .. } => None,
        how => Some(how),
    })
}

/// A buried message is gone.
pub fn bury_is_an_ack() -> Wrap {
    settlements(|how| match how {
        Settle::Bury { .. } => Some(Settle::Ack),
        how => Some(how),
    })
}

/// Replaces some settlements and makes the others one by one. A settlement without a replacement is
/// reported as made.
pub(super) fn settlements(change: fn(Settle) -> Option<Settle>) -> Wrap {
    each(move || OtherSettlement(change))
}

#[derive(Debug)]
struct OtherSettlement(fn(Settle) -> Option<Settle>);

#[async_trait]
impl Twist for OtherSettlement {
    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        let mut answers = Vec::new();
        for (receipt, how) in settlements {
            match (self.0)(how) {
                Some(how) => answers.extend(inner.queue_settle(queue, vec![(receipt, how)]).await?),
                None => answers.push(Ok(())),
            }
        }
        Ok(answers)
    }
}
