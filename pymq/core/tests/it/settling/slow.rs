//! A provider that settles when a test lets it, and notes what each call settles. It may also break
//! its contract.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{
    Capabilities, Delivery, Filter, GetOptions, Health, Part, Provider, Put, PutOptions,
    QueueStats, Receipt, Redrive, Replies, RequestOptions, Requests, Settle, Stored, Subscription,
};
use pymq_core::{Error, ErrorKind, Message, Result};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long a call waits for its permit: longer than any test.
const LIMIT: Duration = Duration::from_secs(24 * 3_600);

/// The memory provider, but for its settlements.
#[derive(Debug)]
pub(crate) struct Slow {
    inner: Arc<dyn Provider>,
    calls: Mutex<Vec<Vec<Settle>>>,
    /// Each call settles with one of them.
    permits: Semaphore,
    /// Whether calls fail in place of settling.
    pub(crate) fails: AtomicBool,
    /// Whether calls panic in place of settling.
    pub(crate) panics: AtomicBool,
    /// Whether it gives no outcome for the last of several messages that it publishes.
    pub(crate) forgets: AtomicBool,
}

impl Slow {
    pub(crate) async fn connect() -> Arc<Self> {
        let bus = pymq::connect("memory://").await;
        let inner = bus.and_then(|bus| bus.provider().cloned());
        Arc::new(Self {
            inner: inner.expect("the memory provider connects"),
            calls: Mutex::default(),
            permits: Semaphore::new(0),
            fails: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            forgets: AtomicBool::new(false),
        })
    }

    /// Lets this number of calls settle.
    pub(crate) fn permit(&self, calls: usize) {
        self.permits.add_permits(calls);
    }

    /// Returns the settlements of each call that has begun.
    pub(crate) fn calls(&self) -> Vec<Vec<Settle>> {
        self.calls.lock().expect("nothing panics under it").clone()
    }

    /// Counts the settlements of each call that has begun.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.calls().iter().map(Vec::len).collect()
    }
}

#[async_trait]
impl Provider for Slow {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn health(&self) -> &Health {
        self.inner.health()
    }

    async fn queue_settle(
        &self,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        let call = settlements.iter().map(|(_, how)| how.clone()).collect();
        self.calls
            .lock()
            .expect("nothing panics under it")
            .push(call);
        // With a timer, as a provider on a network has.
        let failed = |kind| Err(Error::new(kind, "slow: settle"));
        match timeout(LIMIT, self.permits.acquire()).await {
            Ok(Ok(permit)) => permit.forget(),
            Ok(Err(_)) => return failed(ErrorKind::Closed),
            Err(_) => return failed(ErrorKind::Timeout),
        }
        assert!(!self.panics.load(Ordering::SeqCst), "told to panic");
        if self.fails.load(Ordering::SeqCst) {
            return failed(ErrorKind::Provider);
        }
        self.inner.queue_settle(queue, settlements).await
    }

    async fn publish_all(&self, messages: Vec<(Arc<str>, Message)>) -> Vec<Result<usize>> {
        let mut outcomes = self.inner.publish_all(messages).await;
        if self.forgets.load(Ordering::Relaxed) {
            outcomes.pop();
        }
        outcomes
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<usize> {
        self.inner.publish(topic, message).await
    }

    async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        self.inner.subscribe(filter).await
    }

    async fn queue_put(
        &self,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        self.inner.queue_put(queue, messages, opts).await
    }

    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        self.inner.queue_get(queue, opts).await
    }

    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        self.inner.queue_peek(queue, part, max).await
    }

    async fn queue_redrive(&self, queue: &str, which: Redrive) -> Result<usize> {
        self.inner.queue_redrive(queue, which).await
    }

    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize> {
        self.inner.queue_clear(queue, part).await
    }

    async fn queue_stats(&self, queue: &str) -> Result<QueueStats> {
        self.inner.queue_stats(queue).await
    }

    async fn rpc_listen(&self, channel: &str) -> Result<Requests> {
        self.inner.rpc_listen(channel).await
    }

    async fn rpc_request(
        &self,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        self.inner.rpc_request(channel, request, opts).await
    }

    async fn close(&self) -> Result<()> {
        // The one inside stays open, for the test to look at it.
        self.permits.close();
        Ok(())
    }
}
