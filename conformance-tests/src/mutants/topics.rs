//! Faults in topics.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use pymq::Result;
use pymq::provider::{Filter, Provider, Subscription, subscription};

use super::each;
use crate::harness::Wrap;
use crate::twist::Twist;

/// Only the first subscription of a handle gets anything.
pub fn first_subscriber_only() -> Wrap {
    each(FirstOnly::default)
}

#[derive(Debug, Default)]
struct FirstOnly(AtomicBool);

#[async_trait]
impl Twist for FirstOnly {
    async fn subscribe(&self, inner: &dyn Provider, filter: Filter) -> Result<Subscription> {
        if self.0.swap(true, Ordering::SeqCst) {
            return Ok(subscription(&filter, drop).1);
        }
        inner.subscribe(filter).await
    }
}
