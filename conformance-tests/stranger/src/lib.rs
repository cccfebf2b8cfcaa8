//! A provider of a third party: topics and queues inside the process, remotes made of topics.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::*;
use pymq_core::{Error, ErrorKind, Message, MessageId, Result};
use pymq_rpc_over_topics::rpc_over_topics;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// What all handles share.
#[derive(Debug, Default)]
pub struct Backend {
    listeners: Mutex<Vec<Listener>>,
    queues: Mutex<HashMap<String, Queue>>,
    changed: Notify,
    last: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    /// The ids of put-once, each with the time at which it is forgotten.
    known: HashMap<MessageId, Instant>,
}

/// The handle, the number of the subscription, its topic, and where its messages go.
type Listener = (u64, u64, Arc<str>, Inlet);

#[derive(Debug)]
struct Handle {
    backend: Arc<Backend>,
    number: u64,
    is_closed: AtomicBool,
    health: Health,
}

impl Backend {
    pub fn connect(self: &Arc<Self>) -> Arc<dyn Provider> {
        Arc::new(rpc_over_topics(Handle {
            backend: Arc::clone(self),
            number: self.last.fetch_add(1, SeqCst),
            is_closed: AtomicBool::new(false),
            health: Health::new(),
        }))
    }

    pub fn leftovers(&self) -> Vec<String> {
        let (topics, queues) = (self.listeners.lock().unwrap(), self.queues.lock().unwrap());
        let left = queues.iter().filter(|(_, it)| !it.messages.is_empty());
        topics
            .iter()
            .map(|it| it.2.to_string())
            .chain(left.map(|(name, _)| name.clone()))
            .collect()
    }
}

fn error(kind: ErrorKind, operation: &str, name: &str) -> Error {
    Error::new(kind, format!("stranger: {operation} `{name}`"))
}

impl Handle {
    fn check(&self, is_supported: bool, operation: &str, name: &str) -> Result<()> {
        match (self.is_closed.load(SeqCst), is_supported) {
            (true, _) => Err(error(ErrorKind::Closed, operation, name)),
            (_, false) => Err(error(ErrorKind::Unsupported, operation, name)),
            _ => Ok(()),
        }
    }

    fn with<R>(&self, queue: &str, step: impl FnOnce(&mut Queue) -> R) -> R {
        step(
            self.backend
                .queues
                .lock()
                .unwrap()
                .entry(queue.to_owned())
                .or_default(),
        )
    }

    fn end(&self) {
        let mut listeners = self.backend.listeners.lock().unwrap();
        self.is_closed.store(true, SeqCst);
        for (_, _, topic, inlet) in listeners.extract_if(.., |it| it.0 == self.number) {
            inlet.end(error(ErrorKind::Closed, "subscribe to", &topic));
        }
        self.backend.changed.notify_waiters();
        self.health.close();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

#[async_trait]
impl Provider for Handle {
    fn name(&self) -> &'static str {
        "stranger"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
            .with_counted()
            .with_exact_stats()
            .with_atomic_batches()
    }

    fn health(&self) -> &Health {
        &self.health
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<usize> {
        self.check(true, "publish to", topic)?;
        let listeners = self.backend.listeners.lock().unwrap();
        let mut reached = HashSet::new();
        for (handle, _, topic, inlet) in listeners.iter().filter(|it| *it.2 == *topic) {
            inlet.push(topic, &message);
            reached.insert(*handle);
        }
        Ok(reached.len())
    }

    async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        let topic: Arc<str> = filter.as_str().into();
        let (backend, number) = (
            Arc::clone(&self.backend),
            self.backend.last.fetch_add(1, SeqCst),
        );
        let (inlet, subscription) = subscription(&filter, move |_| {
            backend
                .listeners
                .lock()
                .unwrap()
                .retain(|it| it.1 != number);
        });
        let mut listeners = self.backend.listeners.lock().unwrap();
        self.check(matches!(filter, Filter::Topic(_)), "subscribe to", &topic)?;
        listeners.push((self.number, number, topic, inlet));
        Ok(subscription)
    }

    async fn queue_put(&self, queue: &str, batch: Vec<Message>, opts: PutOptions) -> Result<Put> {
        self.check(opts.delay.is_zero(), "put to", queue)?;
        let put = self.with(queue, |it| {
            it.known.retain(|_, until| *until > Instant::now());
            if batch.is_empty()
                || opts
                    .once
                    .as_ref()
                    .is_some_and(|id| it.known.contains_key(id))
            {
                return Ok(if batch.is_empty() {
                    Put::New
                } else {
                    Put::Known
                });
            }
            if opts
                .maxsize
                .is_some_and(|max| it.messages.len() + batch.len() > max.get())
            {
                return Err(error(ErrorKind::Full, "put to", queue));
            }
            it.known.extend(
                opts.once
                    .map(|id| (id, Instant::now() + once_window(opts.window))),
            );
            it.messages.extend(batch);
            Ok(Put::New)
        });
        self.backend.changed.notify_waiters();
        put
    }

    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        let time = match opts.wait {
            Wait::Forever => Duration::MAX,
            Wait::For(time) => time,
            _ => Duration::ZERO,
        };
        let deadline = Instant::now() + time.min(Duration::from_secs(1 << 32));
        loop {
            let changed = self.backend.changed.notified();
            self.check(opts.lease.is_none(), "get from", queue)?;
            let taken: Vec<_> = self.with(queue, |it| {
                let front = opts.max.get().min(it.messages.len());
                if cfg!(feature = "broken") {
                    it.messages.make_contiguous().reverse();
                }
                it.messages
                    .drain(..front)
                    .map(|it| Delivery::new(it, 1, None))
                    .collect()
            });
            if !taken.is_empty() || deadline <= Instant::now() {
                return Ok(taken);
            }
            drop(timeout_at(deadline, changed).await);
        }
    }

    async fn queue_settle(
        &self,
        queue: &str,
        _: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        self.check(false, "settle in", queue).map(|()| Vec::new())
    }

    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        self.check(part == Part::Ready, "peek at", queue)?;
        let stored = |it: &Message| Stored::new(it.clone(), 0);
        Ok(self.with(queue, |it| {
            it.messages.iter().take(max).map(stored).collect()
        }))
    }

    async fn queue_redrive(&self, queue: &str, _: Redrive) -> Result<usize> {
        self.check(false, "redrive", queue).map(|()| 0)
    }

    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize> {
        self.check(part == Part::Ready, "clear", queue)?;
        Ok(self.with(queue, |it| std::mem::take(&mut it.messages).len()))
    }

    async fn queue_stats(&self, queue: &str) -> Result<QueueStats> {
        self.check(true, "count", queue)?;
        Ok(self.with(queue, |it| QueueStats::new(it.messages.len(), 0, 0, 0)))
    }

    async fn rpc_listen(&self, channel: &str) -> Result<Requests> {
        Err(self.check(false, "serve", channel).unwrap_err())
    }

    async fn rpc_request(&self, channel: &str, _: Message, _: RequestOptions) -> Result<Replies> {
        Err(self.check(false, "call", channel).unwrap_err())
    }

    async fn close(&self) -> Result<()> {
        self.end();
        Ok(())
    }
}
