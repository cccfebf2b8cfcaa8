//! Every public future is dropped after its first poll, its second, and so on to its end. Its
//! effect happens or not. Nothing is lost, doubled or left behind, and the next call is right.

mod queues;
mod remotes;
mod topics;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{
    Delivery, Filter, GetOptions, Provider, Put, PutOptions, QueueStats, Receipt, Replies,
    RequestOptions, Requests, Settle, Subscription,
};
use pymq_core::{Bus, Message, Result};
use tokio::task::yield_now;
use tokio::time::timeout;

pub use self::queues::*;
pub use self::remotes::*;
pub use self::topics::*;

use crate::twist::{Twist, twisted};
use crate::wait::until;
use crate::{Harness, Outcome};

/// More polls than any operation needs that does not wait.
pub(crate) const POLLS: u32 = 60;

/// An operation that is not polled again for this time waits for an event that will not come.
const STUCK: Duration = Duration::from_millis(50);

/// The result of an operation that was to be dropped after some polls.
pub(crate) struct Dropped<T> {
    /// What it had returned.
    pub(crate) output: Option<T>,
    /// It returned, or it waits: more polls would change nothing.
    pub(crate) is_last: bool,
}

impl<T> Dropped<T> {
    pub(crate) fn into_parts(self) -> (Option<T>, bool) {
        (self.output, self.is_last)
    }
}

/// Polls a future up to `polls` times, each time it is woken, and drops it.
pub(crate) async fn dropped_after<F: Future>(polls: u32, future: F) -> Dropped<F::Output> {
    let polled = async {
        let mut future = pin!(future);
        let mut left = polls;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            left -= 1;
            if left == 0 {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        })
        .await
    };
    match timeout(STUCK, polled).await {
        Ok(Some(output)) => Dropped {
            output: Some(output),
            is_last: true,
        },
        Ok(None) => Dropped {
            output: None,
            is_last: false,
        },
        Err(_) => Dropped {
            output: None,
            is_last: true,
        },
    }
}

/// Opens a bus on which each operation takes several polls, even if the provider answers at once.
pub(crate) async fn open_halting(h: &dyn Harness) -> Result<Bus> {
    let provider = h.connect().await?;
    Ok(Bus::new(twisted(provider, Halting)))
}

/// Closes the bus and asserts that nothing is left.
pub(crate) async fn leaves_nothing(h: &dyn Harness, bus: Bus) -> Outcome {
    bus.close().await?;
    drop(bus);
    until("nothing is left", async || h.leftovers().await.is_empty()).await
}

/// Works like the inner provider, with pauses before and after each step. So there are more points
/// at which a future can be dropped.
#[derive(Debug)]
struct Halting;

async fn halt() {
    yield_now().await;
    yield_now().await;
}

#[async_trait]
impl Twist for Halting {
    async fn publish(
        &self,
        inner: &Arc<dyn Provider>,
        topic: &str,
        message: Message,
    ) -> Result<usize> {
        halt().await;
        let published = inner.publish(topic, message).await;
        halt().await;
        published
    }

    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        halt().await;
        let subscribed = inner.subscribe(filter).await;
        halt().await;
        subscribed
    }

    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        halt().await;
        let put = inner.queue_put(queue, messages, opts).await;
        halt().await;
        put
    }

    /// No pause afterwards: a drop in it would lose the messages that were taken.
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        halt().await;
        inner.queue_get(queue, opts).await
    }

    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        halt().await;
        let settled = inner.queue_settle(queue, settlements).await;
        halt().await;
        settled
    }

    async fn queue_stats(&self, inner: &Arc<dyn Provider>, queue: &str) -> Result<QueueStats> {
        halt().await;
        inner.queue_stats(queue).await
    }

    async fn rpc_listen(&self, inner: &Arc<dyn Provider>, channel: &str) -> Result<Requests> {
        halt().await;
        let listening = inner.rpc_listen(channel).await;
        halt().await;
        listening
    }

    async fn rpc_request(
        &self,
        inner: &Arc<dyn Provider>,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        halt().await;
        let requested = inner.rpc_request(channel, request, opts).await;
        halt().await;
        requested
    }

    async fn close(&self, inner: &Arc<dyn Provider>) -> Result<()> {
        halt().await;
        let closed = inner.close().await;
        halt().await;
        closed
    }
}
