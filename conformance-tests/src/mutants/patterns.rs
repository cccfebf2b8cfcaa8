//! Defects in patterns.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::{Filter, Provider, Replies, RequestOptions, Subscription};
use pymq_core::{Message, Result};

use super::each;
use crate::harness::Wrap;
use crate::twist::Twist;

/// Declares patterns, and treats each as the name of a topic.
pub fn claims_patterns_without_them() -> Wrap {
    each(|| Literal)
}

#[derive(Debug)]
struct Literal;

#[async_trait]
impl Twist for Literal {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        inner
            .subscribe(Filter::Topic(filter.as_str().to_owned()))
            .await
    }
}

/// A request is published on a topic with the name of its channel, where every pattern receives it.
pub fn requests_are_published() -> Wrap {
    each(|| Overheard)
}

#[derive(Debug)]
struct Overheard;

#[async_trait]
impl Twist for Overheard {
    async fn rpc_request(
        &self,
        inner: &Arc<dyn Provider>,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        inner.publish(channel, request.clone()).await?;
        inner.rpc_request(channel, request, opts).await
    }
}

/// A backslash is an ordinary character.
pub fn knows_no_escape() -> Wrap {
    each(|| Unescaped)
}

#[derive(Debug)]
struct Unescaped;

#[async_trait]
impl Twist for Unescaped {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        match filter {
            Filter::Pattern(glob) => {
                inner
                    .subscribe(Filter::Pattern(glob.replace('\\', r"\\")))
                    .await
            }
            other => inner.subscribe(other).await,
        }
    }
}
