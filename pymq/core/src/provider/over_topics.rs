//! [`rpc_over_topics`]: both RPC methods for a provider that has topics and queues.
//!
//! A request is published on a topic of its own for each channel, where only servers listen; none reached is
//! `NoSuchRemote`. Answers come back on one queue for each client, which one task reads.
//!
//! # One server runs
//!
//! A request for one server reaches every server. Each claims it by a put with `maxsize` 1 on a queue named for the
//! call, and only the one whose put is accepted runs it. An idle server waits up to 3 ms before it claims, by chance, and
//! a busy one a little longer, so that work spreads.
//!
//! What keeps a call from being won twice is that the claim stays in its queue until every server that was reached has
//! said what became of its attempt: the winner by its answer, the others by declining. Then nobody can claim any more, and
//! the caller clears the queue. If a server never says anything because it died, the claim stays for another 10 minutes
//! after the caller has given up; by then nobody is still reading the request. A caller that dies itself leaves the claims
//! of its open calls behind, and the answers to them on their way: a transport that can should let queues of the
//! prefix `__rpc_` expire.
//!
//! A caller that leaves a call without an answer takes the claim itself: a server that was stopped meanwhile, or reads
//! the request late, cannot win it any more. A request for all servers has no claim, so a late server may run it.
//!
//! If all decline, as when the only server has just stopped, the caller is told at once.

mod caller;
mod frame;
mod server;

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::caller::Calls;
#[cfg(fuzzing)]
pub use self::frame::open_frames;
use self::server::{Outbox, Served};
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::provider::{
    Capabilities, Delivery, Filter, GetOptions, Health, Part, Provider, Put, PutOptions,
    QueueStats, Receipt, Redrive, Replies, RequestOptions, Requests, Settle, Status, Stored,
    Subscription,
};

/// Gives a provider both RPC methods, out of [`publish`](Provider::publish) with a count,
/// [`subscribe`](Provider::subscribe), and queues with [`maxsize`](PutOptions::maxsize).
///
/// The provider's own RPC methods are never called; they answer `Unsupported`. It needs no optional capability. Must be
/// called on a tokio runtime, on which its tasks then run: one reads the answers, one sends them, one serves each channel.
///
/// # Delivery
///
/// At most once for each server; [`Target::One`](crate::provider::Target::One) runs on exactly one. Servers are counted as the provider
/// counts subscribers, so one whose publish counts patterns for reserved names reports `NoSuchRemote` too seldom, and a
/// handle serves a channel once: a second [`rpc_listen`](Provider::rpc_listen) is
/// [`AlreadyExposed`](crate::ErrorKind::AlreadyExposed) until the first has ended.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// use pymq::provider::{Provider, Reply, RequestOptions, rpc_over_topics};
/// use pymq::{Connect, Message};
/// # use pymq::memory::MemoryConfig;
///
/// # let yours = MemoryConfig::default().open()?;
/// let provider = rpc_over_topics(yours);
///
/// let mut requests = provider.rpc_listen("double").await?;
/// let mut replies = provider.rpc_request("double", Message::json("[21]"), RequestOptions::default()).await?;
/// let answer = Reply::Ok { body: "42".into(), type_name: "int".into() };
/// requests.recv().await?.respond(answer.clone());
///
/// assert_eq!(replies.recv().await.transpose()?, Some(answer));
/// # provider.close().await }
/// ```
pub fn rpc_over_topics<P: Provider>(provider: P) -> RpcOverTopics<P> {
    RpcOverTopics {
        calls: Arc::new(Calls::new()),
        work: Work {
            provider: Arc::new(provider),
            runtime: Handle::current(),
            tracker: TaskTracker::new(),
            closing: CancellationToken::new(),
        },
        is_reading: OnceLock::new(),
        served: Served::default(),
        outbox: OnceLock::new(),
    }
}

/// A provider with both RPC methods, made by [`rpc_over_topics`]. Dropping it ends its tasks.
pub struct RpcOverTopics<P> {
    work: Work<P>,
    calls: Arc<Calls>,
    /// Set with the first call, which starts the task that reads the answers.
    is_reading: OnceLock<()>,
    served: Served,
    /// Set with the first channel served, which starts the task that sends the answers.
    outbox: OnceLock<Outbox>,
}

/// What every task of the decorator holds: the provider, and when to end.
struct Work<P> {
    provider: Arc<P>,
    /// Captured at the start: a later caller may be on a runtime that ends before this does.
    runtime: Handle,
    tracker: TaskTracker,
    closing: CancellationToken,
}

impl<P: Provider> RpcOverTopics<P> {
    fn check(&self, operation: &str, channel: &str) -> Result<()> {
        if self.work.closing.is_cancelled() {
            return Err(self.work.error(ErrorKind::Closed, operation, channel));
        }
        Ok(())
    }

    fn outbox(&self) -> &Outbox {
        self.outbox.get_or_init(|| server::start_outbox(&self.work))
    }
}

impl<P: Provider> Work<P> {
    fn error(&self, kind: ErrorKind, operation: &str, name: &str) -> Error {
        Error::new(
            kind,
            format!("{}: {operation} `{name}`", self.provider.name()),
        )
    }

    /// Returns what gives this back for as long as the provider is there.
    fn downgrade(&self) -> impl Fn() -> Option<Self> + Send + Sync + use<P> {
        let provider = Arc::downgrade(&self.provider);
        let (runtime, tracker) = (self.runtime.clone(), self.tracker.clone());
        let closing = self.closing.clone();
        move || {
            Some(Self {
                provider: provider.upgrade()?,
                runtime: runtime.clone(),
                tracker: tracker.clone(),
                closing: closing.clone(),
            })
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Ends by itself once `closing` is cancelled; `close` waits for it.
        drop(self.tracker.spawn_on(task, &self.runtime));
    }
}

impl<P> Clone for Work<P> {
    fn clone(&self) -> Self {
        Self {
            provider: Arc::clone(&self.provider),
            runtime: self.runtime.clone(),
            tracker: self.tracker.clone(),
            closing: self.closing.clone(),
        }
    }
}

impl<P> Drop for RpcOverTopics<P> {
    fn drop(&mut self) {
        self.work.closing.cancel();
    }
}

impl<P: fmt::Debug> fmt::Debug for RpcOverTopics<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcOverTopics")
            .field("provider", &self.work.provider)
            .finish_non_exhaustive()
    }
}

/// The topic on which the requests to a channel are published.
fn topic_of(channel: &str) -> String {
    format!("__rpc_call:{channel}")
}

#[async_trait]
impl<P: Provider> Provider for RpcOverTopics<P> {
    async fn rpc_listen(&self, channel: &str) -> Result<Requests> {
        self.check("listen on", channel)?;
        server::listen(&self.work, &self.served, channel, self.outbox().clone()).await
    }

    async fn rpc_request(
        &self,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        self.check("request to", channel)?;
        self.is_reading
            .get_or_init(|| caller::start_reading(&self.work, &self.calls));
        caller::request(&self.work, &self.calls, channel, request, opts).await
    }

    async fn close(&self) -> Result<()> {
        self.work.closing.cancel();
        self.calls
            .close(|channel| self.work.error(ErrorKind::Closed, "request to", channel));
        self.work.tracker.close();
        // With the runtime everything has ended already: no task can say more, and none is waited for.
        let can_finish = self.work.provider.health().status() != Status::Closed;
        if can_finish {
            self.work.tracker.wait().await;
        }
        if can_finish && self.is_reading.get().is_some() {
            // For whoever answered in the last moment; after an earlier close there is nothing to clear.
            drop(
                self.work
                    .provider
                    .queue_clear(self.calls.inbox(), Part::Ready)
                    .await,
            );
        }
        self.work.provider.close().await
    }

    fn name(&self) -> &'static str {
        self.work.provider.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.work.provider.capabilities()
    }

    fn health(&self) -> &Health {
        self.work.provider.health()
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<usize> {
        self.work.provider.publish(topic, message).await
    }

    async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        self.work.provider.subscribe(filter).await
    }

    async fn queue_put(
        &self,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        self.work.provider.queue_put(queue, messages, opts).await
    }

    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        self.work.provider.queue_get(queue, opts).await
    }

    async fn queue_settle(
        &self,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        self.work.provider.queue_settle(queue, settlements).await
    }

    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        self.work.provider.queue_peek(queue, part, max).await
    }

    async fn queue_redrive(&self, queue: &str, which: Redrive) -> Result<usize> {
        self.work.provider.queue_redrive(queue, which).await
    }

    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize> {
        self.work.provider.queue_clear(queue, part).await
    }

    async fn queue_stats(&self, queue: &str) -> Result<QueueStats> {
        self.work.provider.queue_stats(queue).await
    }
}
