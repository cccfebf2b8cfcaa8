//! Faults that only a law is wide enough to catch, or that show that it is.

use async_trait::async_trait;
use pymq::provider::{Filter, Provider, PutOptions, Subscription};
use pymq::{Headers, Message, Result};

use super::each;
pub use super::leases::{extend_does_nothing, settles_one_by_one};
use crate::harness::Wrap;
use crate::twist::Twist;

/// A header without a value is none.
pub fn drops_empty_headers() -> Wrap {
    each(|| NoEmptyHeaders)
}

#[derive(Debug)]
struct NoEmptyHeaders;

#[async_trait]
impl Twist for NoEmptyHeaders {
    async fn queue_put(
        &self,
        inner: &dyn Provider,
        queue: &str,
        mut messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<()> {
        for message in &mut messages {
            let kept: Headers = message
                .headers
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .collect();
            message.headers = kept;
        }
        inner.queue_put(queue, messages, opts).await
    }
}

/// A negated class is a class.
pub fn globs_know_no_negation() -> Wrap {
    each(|| NoNegation)
}

#[derive(Debug)]
struct NoNegation;

#[async_trait]
impl Twist for NoNegation {
    async fn subscribe(&self, inner: &dyn Provider, filter: Filter) -> Result<Subscription> {
        let filter = match filter {
            Filter::Pattern(glob) => Filter::Pattern(glob.replace("[^", "[")),
            filter => filter,
        };
        inner.subscribe(filter).await
    }
}
