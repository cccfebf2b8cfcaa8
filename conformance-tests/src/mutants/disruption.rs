//! Defects in reconnecting. They need a connection that can be cut, so they run only where there is
//! one.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::{Filter, Incoming, Inlet, Provider, Subscription, subscription};
use pymq_core::{Error, ErrorKind, Result};

use super::each;
use crate::harness::Wrap;
use crate::twist::Twist;

/// A subscription comes back once and not again.
pub fn bounded_retries() -> Wrap {
    each(|| Tired)
}

#[derive(Debug)]
struct Tired;

#[async_trait]
impl Twist for Tired {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        let live = inner.subscribe(filter.clone()).await?;
        let (inlet, subscription) = subscription(&filter, drop);
        tokio::spawn(until_the_second_gap(live, inlet));
        Ok(subscription)
    }
}

async fn until_the_second_gap(mut live: Subscription, inlet: Inlet) {
    let mut gaps = 0;
    while gaps < 2 {
        match live.recv().await {
            Ok(Incoming::Message(published)) => inlet.push(published),
            Ok(_) => {
                gaps += 1;
                inlet.gap();
            }
            Err(end) => return inlet.end(end),
        }
    }
    inlet.end(Error::new(ErrorKind::Disconnected, "redis: subscription"));
}
