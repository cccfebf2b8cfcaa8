//! What was taken from a queue on behalf of a caller. Until it is delivered it is a [`Taken`], and one that is dropped,
//! wherever that happens, goes back to the front with no attempt counted. A take that is itself dropped halfway is
//! finished by a task of its own first: see [`Finish`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use pymq::provider::{Delivery, Settle};
use pymq::{ErrorKind, Result};
use tokio::time::sleep;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::store::Store;
use super::{Shared, receipt};
use crate::connection;
use crate::wire;

/// Messages that have left the queue and not reached anybody.
#[derive(Debug)]
pub(super) struct Taken {
    store: Store,
    _held: TaskTrackerToken,
    /// The lease batch; none if they were removed.
    batch: Option<Arc<str>>,
    /// The place of the first in its batch, from 1.
    first: usize,
    payloads: Vec<Bytes>,
}

impl Taken {
    /// Messages that were removed.
    pub(super) fn removed(store: Store, payloads: Vec<Bytes>) -> Self {
        Self::new(store, None, 1, payloads)
    }

    /// Messages that make up a lease batch.
    pub(super) fn leased(store: Store, batch: &str, payloads: Vec<Bytes>) -> Self {
        Self::new(store, Some(batch.into()), 1, payloads)
    }

    fn new(store: Store, batch: Option<Arc<str>>, first: usize, payloads: Vec<Bytes>) -> Self {
        Self {
            _held: store.shared().core.held.token(),
            store,
            batch,
            first,
            payloads,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// Splits off up to `max` messages from the front.
    pub(super) fn split(&mut self, max: usize) -> Self {
        let rest = self.payloads.split_off(max.min(self.payloads.len()));
        let payloads = std::mem::replace(&mut self.payloads, rest);
        let first = self.first;
        self.first += payloads.len();
        Self::new(self.store.clone(), self.batch.clone(), first, payloads)
    }

    /// Takes back what was split off last.
    pub(super) fn rejoin(&mut self, mut part: Self) {
        self.first = part.first;
        let rest = std::mem::replace(&mut self.payloads, std::mem::take(&mut part.payloads));
        self.payloads.extend(rest);
    }

    /// Hands the messages to the caller: from here on they are its own.
    pub(super) fn deliver(mut self) -> Vec<Delivery> {
        let payloads = std::mem::take(&mut self.payloads);
        let deliver = |(offset, payload)| {
            let (message, extra) = wire::decode_with(payload);
            let receipt = self
                .batch
                .as_deref()
                .map(|batch| receipt::issue(batch, self.first + offset));
            Delivery::new(message, extra.attempt.saturating_add(1), receipt)
        };
        payloads.into_iter().enumerate().map(deliver).collect()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.payloads.is_empty() {
            return;
        }
        let payloads = std::mem::take(&mut self.payloads);
        let (store, batch, first) = (self.store.clone(), self.batch.take(), self.first);
        let shared = Arc::clone(self.store.shared());
        shared.spawn(async move {
            match batch {
                Some(batch) => release(&store, &batch, first, payloads.len()).await,
                None => give_back(&store, payloads).await,
            }
        });
    }
}

/// Ends the lease of messages nobody has seen. If that fails for good it ends by itself.
async fn release(store: &Store, batch: &str, first: usize, count: usize) {
    let all: Vec<_> = (first..first + count)
        .map(|index| (receipt::issue(batch, index), Settle::Release))
        .collect();
    insist(store, count, || store.settle(&all)).await;
}

/// Puts messages nobody has seen back, exactly once.
async fn give_back(store: &Store, mut payloads: Vec<Bytes>) {
    payloads.reverse();
    let mark = store.new_mark();
    if insist(store, payloads.len(), || store.give_back(&mark, &payloads)).await {
        // Nobody will ask again. If this fails the mark ends by itself.
        drop(store.unmark(&mark).await);
    }
}

/// Tries until it works or cannot.
async fn insist<T, F: Future<Output = Result<T>>>(
    store: &Store,
    count: usize,
    mut attempt: impl FnMut() -> F,
) -> bool {
    let mut failures = 0;
    loop {
        match attempt().await {
            Ok(_) => return true,
            Err(error) if matches!(error.kind(), ErrorKind::Closed | ErrorKind::WrongType) => {
                tracing::error!(queue = store.name(), count, %error, "could not give messages back");
                return false;
            }
            Err(error) => {
                tracing::warn!(queue = store.name(), count, %error, "cannot give messages back yet");
            }
        }
        sleep(connection::pause(failures).max(Duration::from_millis(5))).await;
        failures = failures.saturating_add(1);
    }
}

/// A future that runs to its end: by its caller, or when dropped halfway by a task of its own, which drops the outcome.
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
