//! What was taken from a queue on behalf of a caller. A [`Taken`] that is dropped before it is
//! delivered goes back to the taker of its queue, with no attempt counted. A take that is itself
//! dropped halfway is finished by a task of its own first: see [`Finish`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use pymq_core::provider::{Delivery, Receipt, Settle};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::queue::{CHUNK, CHUNK_BYTES, Store};
use super::{Shared, receipt, waiters};
use crate::wire;

/// Messages in a row that one take brought.
#[derive(Debug)]
pub(super) struct Part {
    /// Keeps the connection up until these are seen to.
    held: TaskTrackerToken,
    /// The number of the take.
    take: u64,
    /// The place of the first in its take, from 1.
    first: usize,
    lease: Option<Lease>,
    payloads: Vec<Bytes>,
}

#[derive(Clone, Debug)]
struct Lease {
    batch: Arc<str>,
    time: Duration,
    /// When the take was sent: by our clock the lease does not end later than counted from here.
    sent: Instant,
}

impl Part {
    fn new(
        store: &Store,
        take: u64,
        lease: Option<Lease>,
        first: usize,
        payloads: Vec<Bytes>,
    ) -> Self {
        Self {
            held: store.shared().core.held.token(),
            take,
            first,
            lease,
            payloads,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// Returns how long these are leased; none if they were removed.
    pub(super) fn lease(&self) -> Option<Duration> {
        self.lease.as_ref().map(|lease| lease.time)
    }

    /// Returns what orders parts as their messages were in the queue.
    pub(super) fn place(&self) -> (u64, usize) {
        (self.take, self.first)
    }

    /// Tells whether the lease has ended, by our clock.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| now.duration_since(lease.sent) >= lease.time)
    }

    /// Tells whether too little of the lease is left to hand it to another caller.
    pub(super) fn is_half_over(&self, now: Instant) -> bool {
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| now.duration_since(lease.sent) >= lease.time / 2)
    }

    /// Splits off up to `max` messages from the front.
    pub(super) fn split(&mut self, max: usize) -> Self {
        let rest = self.payloads.split_off(max.min(self.payloads.len()));
        let payloads = std::mem::replace(&mut self.payloads, rest);
        let first = self.first;
        self.first += payloads.len();
        Self {
            held: self.held.clone(),
            take: self.take,
            first,
            lease: self.lease.clone(),
            payloads,
        }
    }

    /// Takes back what was split off last.
    pub(super) fn rejoin(&mut self, mut part: Self) {
        self.first = part.first;
        let rest = std::mem::replace(&mut self.payloads, std::mem::take(&mut part.payloads));
        self.payloads.extend(rest);
    }

    /// Splits off from the back what goes into one command.
    pub(super) fn split_last(&mut self) -> Self {
        let mut bytes = 0;
        let fits = |payload: &&Bytes| {
            let is_first = bytes == 0;
            bytes += payload.len().max(1);
            is_first || bytes <= CHUNK_BYTES
        };
        let last = self.payloads.iter().rev().take(CHUNK);
        let rest = self.payloads.len() - last.take_while(fits).count();
        let kept = self.split(rest);
        std::mem::replace(self, kept)
    }

    /// Returns what releases these; none if they were removed.
    pub(super) fn releases(&self) -> Option<Vec<(Receipt, Settle)>> {
        let lease = self.lease.as_ref()?;
        let releases = (self.first..self.first + self.payloads.len())
            .map(|index| (receipt::issue(&lease.batch, index), Settle::Release));
        Some(releases.collect())
    }

    /// Takes the payloads out: the caller has to see to them.
    pub(super) fn into_payloads(self) -> Vec<Bytes> {
        self.payloads
    }
}

/// Messages that have left the queue and have not reached a caller.
#[derive(Debug)]
pub(super) struct Taken {
    store: Store,
    /// Absent once it has been taken out.
    part: Option<Part>,
}

impl Taken {
    pub(super) fn new(store: &Store, part: Part) -> Self {
        Self {
            store: store.clone(),
            part: Some(part),
        }
    }

    pub(super) fn nothing(store: &Store) -> Self {
        Self::new(store, Part::new(store, 0, None, 1, Vec::new()))
    }

    /// Messages that a take has removed.
    pub(super) fn removed(store: &Store, take: u64, payloads: Vec<Bytes>) -> Self {
        Self::new(store, Part::new(store, take, None, 1, payloads))
    }

    /// Messages that make up a lease batch. `sent` is when the take was sent.
    pub(super) fn leased(
        store: &Store,
        take: u64,
        batch: &str,
        time: Duration,
        sent: Instant,
        payloads: Vec<Bytes>,
    ) -> Self {
        let lease = Lease {
            batch: batch.into(),
            time,
            sent,
        };
        Self::new(store, Part::new(store, take, Some(lease), 1, payloads))
    }

    /// Takes the messages out: the caller has to see to them.
    pub(super) fn into_part(mut self) -> Part {
        self.part
            .take()
            .unwrap_or_else(|| Part::new(&self.store, 0, None, 1, Vec::new()))
    }

    /// Hands the messages to the caller: from here on they are its own.
    pub(super) fn deliver(self) -> Vec<Delivery> {
        let part = self.into_part();
        let (batch, first) = (part.lease.map(|lease| lease.batch), part.first);
        let deliver = |(offset, payload)| {
            let (message, extra) = wire::decode_with(payload);
            let receipt = batch
                .as_deref()
                .map(|batch| receipt::issue(batch, first + offset));
            Delivery::new(message, extra.attempt.saturating_add(1), receipt)
        };
        part.payloads.into_iter().enumerate().map(deliver).collect()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(part) = self.part.take().filter(|part| !part.is_empty()) {
            waiters::give_back(&self.store, part);
        }
    }
}

/// A future that runs to its end: by its caller, or when dropped halfway by a task of its own, which
/// drops the outcome.
pub(super) struct Finish<T: Send + 'static> {
    shared: Arc<Shared>,
    _held: TaskTrackerToken,
    future: Option<BoxFuture<'static, T>>,
}

impl<T: Send + 'static> Finish<T> {
    pub(super) fn new(
        shared: Arc<Shared>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self {
            _held: shared.core.held.token(),
            shared,
            future: Some(Box::pin(future)),
        }
    }
}

impl<T: Send + 'static> Future for Finish<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        let outcome = std::task::ready!(future.as_mut().poll(cx));
        self.future = None;
        Poll::Ready(outcome)
    }
}

impl<T: Send + 'static> Drop for Finish<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.shared.spawn(async move { drop(future.await) });
        }
    }
}
