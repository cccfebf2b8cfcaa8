//! Providers that differ from another one in one point: without a capability, or broken on purpose.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::{
    Capabilities, Delivery, Filter, GetOptions, Health, Part, Provider, Put, PutOptions,
    QueueStats, Receipt, Redrive, Replies, RequestOptions, Requests, Settle, Stored, Subscription,
};
use pymq_core::{Message, Result};

/// The difference. Every method that is not overridden is that of the inner provider.
#[async_trait]
#[expect(
    missing_docs,
    reason = "each method is the one of `Provider`, with the provider inside as its first argument"
)]
pub trait Twist: fmt::Debug + Send + Sync + 'static {
    fn capabilities(&self, inner: &Arc<dyn Provider>) -> Capabilities {
        inner.capabilities()
    }

    fn health<'a>(&'a self, inner: &'a Arc<dyn Provider>) -> &'a Health {
        inner.health()
    }

    async fn publish(
        &self,
        inner: &Arc<dyn Provider>,
        topic: &str,
        message: Message,
    ) -> Result<usize> {
        inner.publish(topic, message).await
    }

    /// Publishes one message after the other, so that a twist of `publish` covers this too.
    async fn publish_all(
        &self,
        inner: &Arc<dyn Provider>,
        messages: Vec<(Arc<str>, Message)>,
    ) -> Vec<Result<usize>> {
        let mut reached = Vec::new();
        for (topic, message) in messages {
            reached.push(self.publish(inner, &topic, message).await);
        }
        reached
    }

    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        inner.subscribe(filter).await
    }

    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        inner.queue_put(queue, messages, opts).await
    }

    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        inner.queue_get(queue, opts).await
    }

    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        inner.queue_settle(queue, settlements).await
    }

    async fn queue_peek(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        part: Part,
        max: usize,
    ) -> Result<Vec<Stored>> {
        inner.queue_peek(queue, part, max).await
    }

    async fn queue_redrive(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        which: Redrive,
    ) -> Result<usize> {
        inner.queue_redrive(queue, which).await
    }

    async fn queue_clear(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        part: Part,
    ) -> Result<usize> {
        inner.queue_clear(queue, part).await
    }

    async fn queue_stats(&self, inner: &Arc<dyn Provider>, queue: &str) -> Result<QueueStats> {
        inner.queue_stats(queue).await
    }

    async fn rpc_listen(&self, inner: &Arc<dyn Provider>, channel: &str) -> Result<Requests> {
        inner.rpc_listen(channel).await
    }

    async fn rpc_request(
        &self,
        inner: &Arc<dyn Provider>,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        inner.rpc_request(channel, request, opts).await
    }

    async fn close(&self, inner: &Arc<dyn Provider>) -> Result<()> {
        inner.close().await
    }
}

/// Puts a twist on a provider.
pub fn twisted(inner: Arc<dyn Provider>, twist: impl Twist) -> Arc<dyn Provider> {
    Arc::new(Twisted { inner, twist })
}

/// A provider with a twist.
#[derive(Debug)]
pub(crate) struct Twisted<T> {
    pub(crate) inner: Arc<dyn Provider>,
    pub(crate) twist: T,
}

#[async_trait]
impl<T: Twist> Provider for Twisted<T> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.twist.capabilities(&self.inner)
    }

    fn health(&self) -> &Health {
        self.twist.health(&self.inner)
    }

    async fn publish_all(&self, messages: Vec<(Arc<str>, Message)>) -> Vec<Result<usize>> {
        self.twist.publish_all(&self.inner, messages).await
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<usize> {
        self.twist.publish(&self.inner, topic, message).await
    }

    async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        self.twist.subscribe(&self.inner, filter).await
    }

    async fn queue_put(
        &self,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        self.twist
            .queue_put(&self.inner, queue, messages, opts)
            .await
    }

    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        self.twist.queue_get(&self.inner, queue, opts).await
    }

    async fn queue_settle(
        &self,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        self.twist
            .queue_settle(&self.inner, queue, settlements)
            .await
    }

    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        self.twist.queue_peek(&self.inner, queue, part, max).await
    }

    async fn queue_redrive(&self, queue: &str, which: Redrive) -> Result<usize> {
        self.twist.queue_redrive(&self.inner, queue, which).await
    }

    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize> {
        self.twist.queue_clear(&self.inner, queue, part).await
    }

    async fn queue_stats(&self, queue: &str) -> Result<QueueStats> {
        self.twist.queue_stats(&self.inner, queue).await
    }

    async fn rpc_listen(&self, channel: &str) -> Result<Requests> {
        self.twist.rpc_listen(&self.inner, channel).await
    }

    async fn rpc_request(
        &self,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        self.twist
            .rpc_request(&self.inner, channel, request, opts)
            .await
    }

    async fn close(&self) -> Result<()> {
        self.twist.close(&self.inner).await
    }
}
