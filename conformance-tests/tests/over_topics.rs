//! The suite on the memory provider, with `rpc_over_topics` in place of its own remotes.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use pymq_conformance::harness::Wrapped;
use pymq_conformance::memory::MemoryHarness;
use pymq_conformance::twist::{Twist, twisted};
use pymq_conformance::wait::{soon, until};
use pymq_conformance::without::with_remotes_over_topics;
use pymq_conformance::{Failure, Outcome};
use pymq_core::provider::{Provider, Put, PutOptions, Reply, RequestOptions, Target};
use pymq_core::{Connect, Message};
use pymq_provider_memory::MemoryConfig;
use tokio::time::timeout;

async fn open(test: &str) -> Result<Wrapped<MemoryHarness>, Failure> {
    Ok(Wrapped::new(
        MemoryHarness::open(test).await?,
        Box::new(with_remotes_over_topics),
    ))
}

pymq_conformance::suite!(open, paused, [patterns, leases, delays]);

/// A network between callers and servers of remotes. It can hold requests back and forward them
/// later.
#[derive(Clone, Debug, Default)]
struct Network(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_holding: bool,
    held: Vec<(String, Message)>,
    /// The queues with puts: claims, and inboxes.
    queues: Vec<String>,
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics under it")
    }

    fn claims(&self) -> Vec<String> {
        let mut queues = self.state().queues.clone();
        queues.retain(|queue| queue.contains(':'));
        queues
    }

    async fn pass_on(&self, provider: &Arc<dyn Provider>) -> pymq_core::Result<()> {
        self.state().is_holding = false;
        let held = std::mem::take(&mut self.state().held);
        for (topic, message) in held {
            assert_eq!(provider.publish(&topic, message).await?, 1);
        }
        Ok(())
    }
}

#[async_trait]
impl Twist for Network {
    async fn publish(
        &self,
        inner: &Arc<dyn Provider>,
        topic: &str,
        message: Message,
    ) -> pymq_core::Result<usize> {
        if self.state().is_holding {
            self.state().held.push((topic.to_owned(), message));
            return Ok(1);
        }
        inner.publish(topic, message).await
    }

    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> pymq_core::Result<Put> {
        let put = inner.queue_put(queue, messages, opts).await;
        if put.is_ok() {
            self.state().queues.push(queue.to_owned());
        }
        put
    }
}

fn to_one() -> RequestOptions {
    RequestOptions::default()
        .to(Target::One)
        .timeout(Duration::from_secs(60))
}

async fn all_are_cleared(provider: &Arc<dyn Provider>, network: &Network) -> Outcome {
    until("all claims are cleared", || async {
        for claim in network.claims() {
            let stats = provider.queue_stats(&claim).await;
            if stats.is_ok_and(|stats| stats.ready > 0) {
                return false;
            }
        }
        true
    })
    .await
}

#[tokio::test]
async fn a_call_that_its_caller_has_left_is_not_run_by_a_late_server() -> Outcome {
    let (inner, network) = (MemoryConfig::default().connect().await?, Network::default());
    let provider = with_remotes_over_topics(twisted(Arc::clone(&inner), network.clone()));
    let mut requests = provider.rpc_listen("f").await?;

    network.state().is_holding = true;
    let late = provider
        .rpc_request("f", Message::json("[1]"), to_one())
        .await?;
    drop(late);
    until("the caller has taken the claim", || async {
        !network.claims().is_empty()
    })
    .await?;
    network.pass_on(&inner).await?;
    all_are_cleared(&inner, &network).await?;
    let mut replies = provider
        .rpc_request("f", Message::json("[2]"), to_one())
        .await?;

    let request = soon("a request", requests.recv()).await??;
    assert_eq!(request.message().body, "[2]");
    let answer = Reply::Ok {
        body: "2".into(),
        type_name: "int".into(),
    };
    request.respond(answer.clone());
    assert_eq!(
        soon("the answer", replies.recv()).await?.transpose()?,
        Some(answer)
    );
    all_are_cleared(&inner, &network).await?;
    Ok(provider.close().await?)
}

#[tokio::test]
async fn calls_that_are_left_at_any_moment_leave_no_claim() -> Outcome {
    let (inner, network) = (MemoryConfig::default().connect().await?, Network::default());
    let provider = with_remotes_over_topics(twisted(Arc::clone(&inner), network.clone()));
    let mut requests = provider.rpc_listen("f").await?;
    let serving = tokio::spawn(async move {
        while let Ok(request) = requests.recv().await {
            request.respond(Reply::Ok {
                body: "2".into(),
                type_name: "int".into(),
            });
        }
    });

    for round in 0..200 {
        let mut replies = provider
            .rpc_request("f", Message::json("[1]"), to_one())
            .await?;
        // A server claims within some milliseconds.
        let moment = Duration::from_micros(round % 40 * 250);
        drop(timeout(moment, replies.recv()).await);
    }

    all_are_cleared(&inner, &network).await?;
    assert!(!network.claims().is_empty());
    provider.close().await?;
    Ok(serving.await?)
}
