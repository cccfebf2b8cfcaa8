//! Rules of the library that can be broken on purpose, to see that a fault notices. A test that
//! cannot fail proves nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::Result;
use pymq_core::provider::{
    Delivery, Filter, GetOptions, Incoming, Provider, Subscription, subscription,
};
use serde::{Deserialize, Serialize};

use crate::twist::{Twist, twisted};

/// A rule to break.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Rule {
    /// Consumers ack before they work; [`consumer`](super::consumer) checks it.
    AckBeforeWork,
    /// A lease that ends is never swept.
    NoSweep,
    /// A subscription does not outlive an outage.
    BoundedRetries,
    /// The buffer of a subscriber has no bound.
    UnboundedBuffer,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::AckBeforeWork,
        Self::NoSweep,
        Self::BoundedRetries,
        Self::UnboundedBuffer,
    ];

    /// Returns the fault that must fail when this rule is broken.
    pub fn caught_by(self) -> &'static str {
        match self {
            Self::AckBeforeWork | Self::NoSweep => "F1",
            Self::BoundedRetries => "F6",
            Self::UnboundedBuffer => "F8",
        }
    }

    /// Breaks the rule in a provider, if it is a rule of the provider.
    pub fn broken_in(self, provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
        match self {
            Self::AckBeforeWork => provider,
            Self::NoSweep => twisted(provider, NoSweep),
            Self::BoundedRetries => twisted(provider, BoundedRetries),
            Self::UnboundedBuffer => twisted(provider, UnboundedBuffer),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AckBeforeWork => "ack-before-work",
            Self::NoSweep => "no-sweep",
            Self::BoundedRetries => "bounded-retries",
            Self::UnboundedBuffer => "unbounded-buffer",
        })
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|rule| rule.to_string() == text)
            .ok_or_else(|| {
                let known = Self::ALL.map(|rule| rule.to_string()).join(", ");
                format!("no rule `{text}` to break; there are {known}")
            })
    }
}

/// A lease that is longer than the test is never swept.
#[derive(Debug)]
struct NoSweep;

#[async_trait]
impl Twist for NoSweep {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        mut opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        opts.lease = opts.lease.map(|_| Duration::from_secs(24 * 60 * 60));
        inner.queue_get(queue, opts).await
    }
}

/// A subscription that receives nothing more after it lost its connection for the first time.
#[derive(Debug)]
struct BoundedRetries;

#[async_trait]
impl Twist for BoundedRetries {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        let mut source = inner.subscribe(filter.clone()).await?;
        let (inlet, subscription) = subscription(&filter, drop);
        tokio::spawn(async move {
            while let Ok(Incoming::Message(published)) = source.recv().await {
                inlet.push(published);
            }
            // The inlet stays open, so the reader is not told.
            std::future::pending::<()>().await;
        });
        Ok(subscription)
    }
}

/// A subscription that keeps every message, whatever the limits of its buffer.
#[derive(Debug)]
struct UnboundedBuffer;

#[async_trait]
impl Twist for UnboundedBuffer {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        let mut source = inner.subscribe(filter.clone()).await?;
        let (inlet, subscription) = subscription(&filter, drop);
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                match source.recv().await {
                    Ok(Incoming::Message(published)) => {
                        inlet.push(published.clone());
                        kept.push(published);
                    }
                    Ok(_) => inlet.gap(),
                    Err(error) => return inlet.end(error),
                }
            }
        });
        Ok(subscription)
    }
}
