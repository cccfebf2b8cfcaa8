//! Messages taken from a queue for a caller. A [`Taken`] that is dropped before its delivery goes
//! back to the taker of its queue, and no attempt is counted. A take whose future is dropped is
//! completed by a task first: see [`RunToCompletion`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use pymq_core::provider::{Delivery, Receipt, Settle};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::queue::{MAX_SCRIPT_BYTES, MAX_SCRIPT_MESSAGES, Queue};
use super::{Shared, receipt, waiters};
use crate::wire;

/// Consecutive messages of one take.
#[derive(Debug)]
pub(super) struct Segment {
    /// Keeps the connection up until the messages are delivered or back.
    held: TaskTrackerToken,
    /// The number of the take.
    take: u64,
    /// The index of the first message in its take, from 1.
    first: usize,
    lease: Option<Lease>,
    payloads: Vec<Bytes>,
}

#[derive(Clone, Debug)]
struct Lease {
    batch: Arc<str>,
    time: Duration,
    /// When the take was sent. By the local clock, the lease ends at the latest this long after it.
    sent: Instant,
}

impl Segment {
    fn new(
        queue: &Queue,
        take: u64,
        lease: Option<Lease>,
        first: usize,
        payloads: Vec<Bytes>,
    ) -> Self {
        Self {
            held: queue.shared().core.held.token(),
            take,
            first,
            lease,
            payloads,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.payloads.len()
    }

    /// Returns the time of the lease, or `None` if the messages were removed.
    pub(super) fn lease(&self) -> Option<Duration> {
        self.lease.as_ref().map(|lease| lease.time)
    }

    /// Returns a key that sorts segments into the order of the queue.
    pub(super) fn place(&self) -> (u64, usize) {
        (self.take, self.first)
    }

    /// Tells whether the lease has ended, by the local clock.
    pub(super) fn is_lease_over(&self, now: Instant) -> bool {
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| now.duration_since(lease.sent) >= lease.time)
    }

    /// Tells whether too little time is left of the lease for another caller.
    pub(super) fn is_lease_half_over(&self, now: Instant) -> bool {
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

    /// Joins the segment that was split off last again.
    pub(super) fn rejoin(&mut self, mut segment: Self) {
        self.first = segment.first;
        let rest = std::mem::replace(&mut self.payloads, std::mem::take(&mut segment.payloads));
        self.payloads.extend(rest);
    }

    /// Splits off from the end what fits into one command.
    pub(super) fn split_last(&mut self) -> Self {
        let mut bytes = 0;
        let fits = |payload: &&Bytes| {
            let is_first = bytes == 0;
            bytes += payload.len().max(1);
            is_first || bytes <= MAX_SCRIPT_BYTES
        };
        let last = self.payloads.iter().rev().take(MAX_SCRIPT_MESSAGES);
        let rest = self.payloads.len() - last.take_while(fits).count();
        let kept = self.split(rest);
        std::mem::replace(self, kept)
    }

    /// Returns the settlements that release the messages, or `None` if they were removed.
    pub(super) fn releases(&self) -> Option<Vec<(Receipt, Settle)>> {
        let lease = self.lease.as_ref()?;
        let releases = (self.first..self.first + self.payloads.len())
            .map(|index| (receipt::issue(&lease.batch, index), Settle::Release));
        Some(releases.collect())
    }

    /// Returns the payloads. The caller must deliver them or give them back.
    pub(super) fn into_payloads(self) -> Vec<Bytes> {
        self.payloads
    }
}

/// Messages that have left the queue and have not reached a caller.
#[derive(Debug)]
pub(super) struct Taken {
    queue: Queue,
    /// `None` once it is moved out.
    segment: Option<Segment>,
}

impl Taken {
    pub(super) fn new(queue: &Queue, segment: Segment) -> Self {
        Self {
            queue: queue.clone(),
            segment: Some(segment),
        }
    }

    pub(super) fn nothing(queue: &Queue) -> Self {
        Self::new(queue, Segment::new(queue, 0, None, 1, Vec::new()))
    }

    /// Messages that a take removed from the queue.
    pub(super) fn removed(queue: &Queue, take: u64, payloads: Vec<Bytes>) -> Self {
        Self::new(queue, Segment::new(queue, take, None, 1, payloads))
    }

    /// The messages of a lease batch. `sent` is when the take was sent.
    pub(super) fn leased(
        queue: &Queue,
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
        Self::new(queue, Segment::new(queue, take, Some(lease), 1, payloads))
    }

    /// Returns the messages. The caller must deliver them or give them back.
    pub(super) fn into_segment(mut self) -> Segment {
        self.segment
            .take()
            .unwrap_or_else(|| Segment::new(&self.queue, 0, None, 1, Vec::new()))
    }

    /// Delivers the messages: from here on they belong to the caller.
    pub(super) fn deliver(self) -> Vec<Delivery> {
        let segment = self.into_segment();
        let (batch, first) = (segment.lease.map(|lease| lease.batch), segment.first);
        let deliver = |(offset, payload)| {
            let (message, extra) = wire::decode_with(payload);
            let receipt = batch
                .as_deref()
                .map(|batch| receipt::issue(batch, first + offset));
            Delivery::new(message, extra.attempt.saturating_add(1), receipt)
        };
        segment
            .payloads
            .into_iter()
            .enumerate()
            .map(deliver)
            .collect()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(segment) = self.segment.take().filter(|segment| !segment.is_empty()) {
            waiters::give_back(&self.queue, segment);
        }
    }
}

/// A future that always runs to completion. If its caller drops it, a task runs the rest of it and
/// drops the output.
pub(super) struct RunToCompletion<T: Send + 'static> {
    shared: Arc<Shared>,
    _held: TaskTrackerToken,
    future: Option<BoxFuture<'static, T>>,
}

impl<T: Send + 'static> RunToCompletion<T> {
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

impl<T: Send + 'static> Future for RunToCompletion<T> {
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

impl<T: Send + 'static> Drop for RunToCompletion<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.shared.spawn(async move { drop(future.await) });
        }
    }
}
