//! Defects in opening, closing and cleaning up.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::{
    Delivery, GetOptions, Provider, PutOptions, Replies, RequestOptions, Requests, Subscription,
    Wait,
};
use pymq_core::provider::{Filter, Reply, requests, subscription};
use pymq_core::{Message, Result};
use tokio::sync::Mutex;

use super::each;
use crate::harness::Wrap;
use crate::twist::Twist;

/// A close waits for the close before it, which never ends.
pub fn close_hangs() -> Wrap {
    each(Hanging::default)
}

#[derive(Debug, Default)]
struct Hanging(Mutex<()>);

#[async_trait]
impl Twist for Hanging {
    async fn close(&self, inner: &Arc<dyn Provider>) -> Result<()> {
        // Never released: the first close takes it.
        let _lock = std::mem::ManuallyDrop::new(self.0.lock().await);
        inner.close().await
    }
}

/// A closed handle works as if it were open.
pub fn works_after_close() -> Wrap {
    each(|| Undead)
}

#[derive(Debug)]
struct Undead;

#[async_trait]
impl Twist for Undead {
    async fn close(&self, _inner: &Arc<dyn Provider>) -> Result<()> {
        Ok(())
    }
}

/// A close does not wake a waiting take.
pub fn close_forgets_waiting_takes() -> Wrap {
    each(|| Forgetful)
}

#[derive(Debug)]
struct Forgetful;

#[async_trait]
impl Twist for Forgetful {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let waits = opts.wait == Wait::Forever;
        match inner.queue_get(queue, opts).await {
            Err(_) if waits => std::future::pending().await,
            other => other,
        }
    }
}

/// Subscriptions and servers of a closed handle wait for ever.
pub fn close_ends_nothing() -> Wrap {
    each(|| Endless)
}

#[derive(Debug)]
struct Endless;

#[async_trait]
impl Twist for Endless {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        let mut live = inner.subscribe(filter.clone()).await?;
        let (inlet, subscription) = subscription(&filter, drop);
        tokio::spawn(async move {
            while let Ok(pymq_core::provider::Incoming::Message(published)) = live.recv().await {
                inlet.push(published);
            }
        });
        Ok(subscription)
    }

    async fn rpc_listen(&self, inner: &Arc<dyn Provider>, channel: &str) -> Result<Requests> {
        let mut live = inner.rpc_listen(channel).await?;
        let (inlet, requests) = requests(drop);
        tokio::spawn(async move {
            while let Ok(request) = live.recv().await {
                inlet.push(request);
            }
        });
        Ok(requests)
    }
}

/// Each call leaves its reply under a name of its own.
pub fn leaks_reply_keys() -> Wrap {
    each(Leaking::default)
}

#[derive(Debug, Default)]
struct Leaking(std::sync::atomic::AtomicUsize);

#[async_trait]
impl Twist for Leaking {
    async fn rpc_request(
        &self,
        inner: &Arc<dyn Provider>,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        inner
            .queue_put(
                &format!("__rpc_{n}"),
                vec![request.clone()],
                PutOptions::default(),
            )
            .await?;
        inner.rpc_request(channel, request, opts).await
    }
}

/// Each subscription leaves a task that waits for ever.
pub fn leaks_tasks() -> Wrap {
    each(|| Littering)
}

#[derive(Debug)]
struct Littering;

#[async_trait]
impl Twist for Littering {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        tokio::spawn(std::future::pending::<()>());
        inner.subscribe(filter).await
    }
}

/// A reply is lost if the server closes right afterwards.
pub fn close_drops_replies() -> Wrap {
    each(|| Hasty)
}

#[derive(Debug)]
struct Hasty;

#[async_trait]
impl Twist for Hasty {
    async fn rpc_listen(&self, inner: &Arc<dyn Provider>, channel: &str) -> Result<Requests> {
        let mut live = inner.rpc_listen(channel).await?;
        let (inlet, requests) = requests(drop);
        tokio::spawn(async move {
            while let Ok(request) = live.recv().await {
                let (answer, answered) = tokio::sync::oneshot::channel::<Reply>();
                let relayed =
                    pymq_core::provider::Request::new(request.message().clone(), move |reply| {
                        drop(answer.send(reply));
                    });
                inlet.push(relayed);
                // Only a loop that the close ends first would send it.
                tokio::select! {
                    biased;
                    _ = live.recv() => return,
                    Ok(reply) = answered => {
                        tokio::task::yield_now().await;
                        request.respond(reply);
                    }
                }
            }
        });
        Ok(requests)
    }
}
