//! Defects in topics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use pymq_core::provider::{BufferLimits, Filter, Incoming, Provider, Subscription, subscription};
use pymq_core::{Error, ErrorKind, Message, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{each, relay};
use crate::harness::Wrap;
use crate::twist::Twist;

/// Only the first subscription of a handle receives messages.
pub fn first_subscriber_only() -> Wrap {
    each(FirstOnly::default)
}

#[derive(Debug, Default)]
struct FirstOnly(AtomicBool);

#[async_trait]
impl Twist for FirstOnly {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        if self.0.swap(true, Ordering::SeqCst) {
            return Ok(subscription(&filter, drop).1);
        }
        inner.subscribe(filter).await
    }
}

/// `subscribe` returns before the subscription is live.
pub fn subscribe_returns_early() -> Wrap {
    each(|| Early)
}

#[derive(Debug)]
struct Early;

#[async_trait]
impl Twist for Early {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        let (inlet, subscription) = subscription(&filter, drop);
        let inner = Arc::clone(inner);
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            if let Ok(live) = inner.subscribe(filter).await {
                relay(live, inlet, Some).await;
            }
        });
        Ok(subscription)
    }
}

/// A dropped subscription stays at the backend as long as the handle.
pub fn drop_does_not_unsubscribe() -> Wrap {
    each(|| NoDetach)
}

#[derive(Debug)]
struct NoDetach;

#[async_trait]
impl Twist for NoDetach {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        let mut live = inner.subscribe(filter.clone()).await?;
        let (inlet, subscription) = subscription(&filter, drop);
        tokio::spawn(async move {
            while let Ok(Incoming::Message(published)) = live.recv().await {
                inlet.push(published);
            }
        });
        Ok(subscription)
    }
}

/// Overflowing messages are dropped without a lag.
pub fn silent_overflow() -> Wrap {
    each(|| Silent)
}

#[derive(Debug)]
struct Silent;

#[async_trait]
impl Twist for Silent {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        let mut live = inner.subscribe(filter.clone()).await?;
        let mut limits = BufferLimits::default();
        limits.items = 4;
        live.set_limits(limits);
        let (inlet, subscription) = subscription(&filter, drop);
        tokio::spawn(relay(live, inlet, |incoming| {
            Some(incoming).filter(|incoming| !matches!(incoming, Incoming::Lagged { .. }))
        }));
        Ok(subscription)
    }
}

/// Delivered messages are kept without a limit, read or dropped.
pub fn unbounded_buffer() -> Wrap {
    each(|| Hoarding)
}

#[derive(Debug)]
struct Hoarding;

#[async_trait]
impl Twist for Hoarding {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        let live = inner.subscribe(filter.clone()).await?;
        let (inlet, subscription) = subscription(&filter, drop);
        let hoard = Mutex::new(Vec::new());
        tokio::spawn(relay(live, inlet, move |incoming| {
            let mut hoard = hoard.lock().unwrap_or_else(PoisonError::into_inner);
            hoard.push(incoming.clone());
            Some(incoming)
        }));
        Ok(subscription)
    }
}

/// A publish waits while a subscriber has three unread messages.
pub fn slow_subscriber_blocks() -> Wrap {
    let unread = Arc::new(Semaphore::new(3));
    each(move || Blocking(Arc::clone(&unread)))
}

#[derive(Debug)]
struct Blocking(Arc<Semaphore>);

/// A body that returns its permit when its last copy is dropped.
struct Permitted {
    body: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Permitted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[async_trait]
impl Twist for Blocking {
    async fn publish(
        &self,
        inner: &Arc<dyn Provider>,
        topic: &str,
        mut message: Message,
    ) -> Result<usize> {
        let closed = |_| Error::new(ErrorKind::Closed, "publish");
        let _permit = Arc::clone(&self.0).acquire_owned().await.map_err(closed)?;
        message.body = Bytes::from_owner(Permitted {
            body: message.body,
            _permit,
        });
        inner.publish(topic, message).await
    }
}

/// A publish always returns that it reached a subscriber.
pub fn always_reaches_one() -> Wrap {
    each(|| Optimist)
}

#[derive(Debug)]
struct Optimist;

#[async_trait]
impl Twist for Optimist {
    async fn publish(
        &self,
        inner: &Arc<dyn Provider>,
        topic: &str,
        message: Message,
    ) -> Result<usize> {
        inner
            .publish(topic, message)
            .await
            .map(|reached| reached.max(1))
    }
}

/// Names match without regard to case.
pub fn folds_case() -> Wrap {
    each(|| Folding)
}

#[derive(Debug)]
struct Folding;

#[async_trait]
impl Twist for Folding {
    async fn publish(
        &self,
        inner: &Arc<dyn Provider>,
        topic: &str,
        message: Message,
    ) -> Result<usize> {
        inner.publish(&topic.to_lowercase(), message).await
    }

    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        match filter {
            Filter::Topic(name) => inner.subscribe(Filter::Topic(name.to_lowercase())).await,
            other => inner.subscribe(other).await,
        }
    }
}
