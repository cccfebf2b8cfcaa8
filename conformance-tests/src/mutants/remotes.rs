//! Defects in remote calls.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pymq_core::provider::{
    Provider, Replies, Reply, Request, RequestOptions, Requests, Target, replies, requests,
};
use pymq_core::{ErrorKind, Message, Result};
use tokio::time::timeout;

use super::each;
use crate::harness::Wrap;
use crate::twist::Twist;

/// A call for one server goes to all of them, and the first answer is used.
pub fn call_runs_everywhere() -> Wrap {
    each(|| Everywhere)
}

#[derive(Debug)]
struct Everywhere;

#[async_trait]
impl Twist for Everywhere {
    async fn rpc_request(
        &self,
        inner: &Arc<dyn Provider>,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        let is_one = opts.to == Target::One;
        let replies = inner
            .rpc_request(channel, request, opts.to(Target::All))
            .await?;
        Ok(if is_one {
            replies.expecting(1)
        } else {
            replies
        })
    }
}

/// Two calls at the same time get each other's answers.
pub fn replies_mixed_up() -> Wrap {
    each(MixedUp::default)
}

/// The call that waits for another one to swap answers with.
#[derive(Debug, Default)]
struct MixedUp {
    waiting: Arc<Mutex<Option<(Request, Reply)>>>,
}

#[async_trait]
impl Twist for MixedUp {
    async fn rpc_listen(&self, inner: &Arc<dyn Provider>, channel: &str) -> Result<Requests> {
        let mut live = inner.rpc_listen(channel).await?;
        let (inlet, requests) = requests(drop);
        let waiting = Arc::clone(&self.waiting);
        tokio::spawn(async move {
            while let Ok(request) = live.recv().await {
                let (message, remaining) = (request.message().clone(), request.remaining());
                let waiting = Arc::clone(&waiting);
                let swapped = Request::new(message, move |reply| {
                    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    match waiting.take() {
                        None => *waiting = Some((request, reply)),
                        Some((other, others_reply)) => {
                            other.respond(reply);
                            request.respond(others_reply);
                        }
                    }
                });
                inlet.push(swapped.with_timeout(remaining));
            }
        });
        Ok(requests)
    }
}

/// A call that reaches no server waits for an answer.
pub fn no_server_times_out() -> Wrap {
    each(|| Hopeful)
}

#[derive(Debug)]
struct Hopeful;

#[async_trait]
impl Twist for Hopeful {
    async fn rpc_request(
        &self,
        inner: &Arc<dyn Provider>,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        match inner.rpc_request(channel, request, opts).await {
            // The inlet is dropped, which ends nothing.
            Err(error) if error.kind() == ErrorKind::NoSuchRemote => Ok(replies(drop).1),
            other => other,
        }
    }
}

/// Answers are collected one after the other, each with the whole timeout of the call.
pub fn per_reply_timeout() -> Wrap {
    each(|| OneByOne)
}

#[derive(Debug)]
struct OneByOne;

#[async_trait]
impl Twist for OneByOne {
    async fn rpc_request(
        &self,
        inner: &Arc<dyn Provider>,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        let each = opts.timeout.unwrap_or_default();
        let mut live = inner.rpc_request(channel, request, opts).await?;
        let (inlet, collected) = replies(drop);
        let collected = collected.expecting(live.expected());
        for _ in 0..live.expected() {
            if let Ok(Some(Ok(reply))) = timeout(each, live.recv()).await {
                inlet.push(reply);
            }
        }
        Ok(collected)
    }
}

/// The remaining time of a caller is not sent.
pub fn forgets_deadlines() -> Wrap {
    each(|| Timeless)
}

#[derive(Debug)]
struct Timeless;

#[async_trait]
impl Twist for Timeless {
    async fn rpc_request(
        &self,
        inner: &Arc<dyn Provider>,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        inner
            .rpc_request(channel, request, RequestOptions::default().to(opts.to))
            .await
    }
}
