//! [`rpc_over_topics`]: both RPC methods for a provider that has topics and queues.
//!
//! A provider without remote calls of its own lets both methods fail with `Unsupported`, and wraps
//! itself.
//!
//! Each channel has a topic of its own, to which only its servers subscribe. A request is
//! published on it; if it reaches no server, the call fails with `NoSuchRemote`. Each caller has
//! one queue for the answers, which one task reads.
//!
//! # One server runs a request
//!
//! A request for one server reaches every server. Each server tries to claim it with a put with
//! `maxsize` 1 on a queue that is named after the call. The server with the accepted put runs the
//! request. To distribute the work, an idle server waits a random time of up to 3 ms before it
//! claims, and a busy server waits a little longer.
//!
//! No call is claimed twice, because the claim stays in its queue until every reached server has
//! answered: the server with the claim sends its reply, the others decline. Then no server can
//! claim the call, and the caller clears the queue. If a server crashes and never answers, the
//! claim stays for 10 minutes after the caller has given up. By then no server still reads the
//! request. A caller that crashes leaves the claims of its open calls and the answers to them
//! behind, so a transport should let queues with the prefix `__rpc_` expire if it can.
//!
//! A caller that gives up on a call without a reply claims it itself. Then a server that was
//! suspended, or that reads the request late, cannot claim it. A request for all servers has no
//! claim, so a late server may run it.
//!
//! If all servers decline, as when the only server has just stopped, the caller gets an error at
//! once.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod caller;
mod frame;
mod server;

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use pymq_core::provider::{
    Capabilities, Delivery, Filter, GetOptions, Health, Part, Provider, Put, PutOptions,
    QueueStats, Receipt, Redrive, Replies, RequestOptions, Requests, Settle, Status, Stored,
    Subscription,
};
use pymq_core::{Error, ErrorKind, Message, Result};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::caller::Calls;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use self::frame::open_frames;
use self::server::{Outbox, Served};

/// Adds both RPC methods to a provider.
///
/// They use [`publish`](Provider::publish) with its count, [`subscribe`](Provider::subscribe), and
/// queues with [`maxsize`](PutOptions::maxsize). No optional capability is needed. The provider's
/// own RPC methods are never called; let them fail with `Unsupported`.
///
/// Call this function on a tokio runtime. Its tasks run there: one reads the answers, one sends
/// them, and one serves each channel.
///
/// # Delivery
///
/// At most once for each server. [`Target::One`](pymq_core::provider::Target::One) runs on exactly
/// one.
///
/// Servers are counted as the provider counts subscribers. If its publish also counts patterns for
/// reserved names, a call without a server may time out instead of failing with `NoSuchRemote`. A
/// handle can serve a channel once: a second [`rpc_listen`](Provider::rpc_listen) fails with
/// [`AlreadyExposed`](ErrorKind::AlreadyExposed) until the first has ended.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq_core::Result<()> {
/// use pymq_core::Message;
/// use pymq_core::provider::{Provider, Reply, RequestOptions};
/// use pymq_rpc_over_topics::rpc_over_topics;
///
/// # use pymq::memory::MemoryConfig;
/// # let yours = MemoryConfig::default().open()?;
/// let provider = rpc_over_topics(yours);
///
/// let mut requests = provider.rpc_listen("double").await?;
/// let request = Message::json("[21]");
/// let mut replies = provider.rpc_request("double", request, RequestOptions::default()).await?;
/// let answer = Reply::Ok { body: "42".into(), type_name: "int".into() };
/// requests.recv().await?.respond(answer.clone());
///
/// assert_eq!(replies.recv().await.transpose()?, Some(answer));
/// # provider.close().await }
/// ```
pub fn rpc_over_topics<P: Provider>(provider: P) -> RpcOverTopics<P> {
    RpcOverTopics {
        calls: Arc::new(Calls::new()),
        shared: Shared {
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

/// A provider with both RPC methods, from [`rpc_over_topics`]. Dropping it ends its tasks.
pub struct RpcOverTopics<P> {
    shared: Shared<P>,
    calls: Arc<Calls>,
    /// Set by the first call, which starts the task that reads the answers.
    is_reading: OnceLock<()>,
    served: Served,
    /// Set by the first served channel, which starts the task that sends the answers.
    outbox: OnceLock<Outbox>,
}

/// What each task of the decorator holds.
struct Shared<P> {
    provider: Arc<P>,
    /// The runtime of the constructor, because a later caller may be on a runtime that ends
    /// earlier.
    runtime: Handle,
    tracker: TaskTracker,
    closing: CancellationToken,
}

impl<P: Provider> RpcOverTopics<P> {
    fn check(&self, operation: &str, channel: &str) -> Result<()> {
        if self.shared.closing.is_cancelled() {
            return Err(self.shared.error(ErrorKind::Closed, operation, channel));
        }
        Ok(())
    }

    fn outbox(&self) -> &Outbox {
        self.outbox
            .get_or_init(|| server::start_outbox(&self.shared))
    }
}

impl<P: Provider> Shared<P> {
    fn error(&self, kind: ErrorKind, operation: &str, name: &str) -> Error {
        Error::new(
            kind,
            format!("{}: {operation} `{name}`", self.provider.name()),
        )
    }

    /// Returns a function that returns this value while the provider exists.
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
        // The task ends when `closing` is cancelled, and `close` waits for it.
        drop(self.tracker.spawn_on(task, &self.runtime));
    }
}

impl<P> Clone for Shared<P> {
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
        self.shared.closing.cancel();
    }
}

impl<P: fmt::Debug> fmt::Debug for RpcOverTopics<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcOverTopics")
            .field("provider", &self.shared.provider)
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
        server::listen(&self.shared, &self.served, channel, self.outbox().clone()).await
    }

    async fn rpc_request(
        &self,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        self.check("request to", channel)?;
        self.is_reading
            .get_or_init(|| caller::start_reading(&self.shared, &self.calls));
        caller::request(&self.shared, &self.calls, channel, request, opts).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.closing.cancel();
        self.calls
            .close(|channel| self.shared.error(ErrorKind::Closed, "request to", channel));
        self.shared.tracker.close();
        // If the health is closed, the runtime has ended, and so have the tasks.
        let can_finish = self.shared.provider.health().status() != Status::Closed;
        if can_finish {
            self.shared.tracker.wait().await;
        }
        if can_finish && self.is_reading.get().is_some() {
            // Removes late answers. It fails after an earlier close, when nothing is left to
            // remove.
            drop(
                self.shared
                    .provider
                    .queue_clear(self.calls.inbox(), Part::Ready)
                    .await,
            );
        }
        self.shared.provider.close().await
    }

    fn name(&self) -> &'static str {
        self.shared.provider.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.shared.provider.capabilities()
    }

    fn health(&self) -> &Health {
        self.shared.provider.health()
    }

    async fn publish_all(&self, messages: Vec<(Arc<str>, Message)>) -> Vec<Result<usize>> {
        self.shared.provider.publish_all(messages).await
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<usize> {
        self.shared.provider.publish(topic, message).await
    }

    fn try_publish(&self, topic: &str, message: Message) -> Result<Result<usize>, Message> {
        self.shared.provider.try_publish(topic, message)
    }

    async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        self.shared.provider.subscribe(filter).await
    }

    async fn queue_put(
        &self,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        self.shared.provider.queue_put(queue, messages, opts).await
    }

    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        self.shared.provider.queue_get(queue, opts).await
    }

    async fn queue_settle(
        &self,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        self.shared.provider.queue_settle(queue, settlements).await
    }

    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        self.shared.provider.queue_peek(queue, part, max).await
    }

    async fn queue_redrive(&self, queue: &str, which: Redrive) -> Result<usize> {
        self.shared.provider.queue_redrive(queue, which).await
    }

    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize> {
        self.shared.provider.queue_clear(queue, part).await
    }

    async fn queue_stats(&self, queue: &str) -> Result<QueueStats> {
        self.shared.provider.queue_stats(queue).await
    }
}
