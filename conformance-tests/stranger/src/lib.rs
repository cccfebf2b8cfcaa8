//! A provider of a third party: topics and queues inside the process, remotes made of topics.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::*;
use pymq_core::{Error, ErrorKind, Message, MessageId, Published, Result};
use pymq_rpc_over_topics::rpc_over_topics;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// What all handles share.
#[derive(Debug, Default)]
pub struct Backend {
    state: Mutex<State>,
    /// Wakes the takes that wait: for a message, or for their handle to close.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the newest handle or subscription.
    last: usize,
    /// By the number of a subscription: its handle, its topic, and where its messages go.
    listeners: BTreeMap<usize, (usize, Arc<str>, Inlet)>,
    queues: HashMap<String, Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    /// The ids of `put_once`, each with the time at which it is forgotten.
    known: HashMap<MessageId, Instant>,
}

/// One connection.
#[derive(Debug)]
struct Handle {
    backend: Arc<Backend>,
    number: usize,
    health: Health,
}

impl Backend {
    pub fn connect(self: &Arc<Self>) -> Arc<dyn Provider> {
        Arc::new(rpc_over_topics(Handle {
            backend: Arc::clone(self),
            number: self.lock().next(),
            health: Health::new(),
        }))
    }

    /// Names the topics and queues that are in use.
    pub fn leftovers(&self) -> Vec<String> {
        let state = self.lock();
        let topics = state.listeners.values().map(|it| it.1.to_string());
        let queues = state.queues.iter().filter(|it| !it.1.messages.is_empty());
        topics.chain(queues.map(|it| it.0.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn next(&mut self) -> usize {
        self.last += 1;
        self.last
    }

    fn queue(&mut self, name: &str) -> &mut Queue {
        self.queues.entry(name.to_owned()).or_default()
    }
}

impl Handle {
    /// Locks the state for an operation. A closed handle runs none.
    fn open(&self, operation: &str, name: &str) -> Result<MutexGuard<'_, State>> {
        let state = self.backend.lock();
        match self.health.status() {
            Status::Closed => Err(error(ErrorKind::Closed, operation, name)),
            _ => Ok(state),
        }
    }

    /// Refuses an operation that needs a capability we do not declare.
    fn refuse<T>(&self, operation: &str, name: &str) -> Result<T> {
        self.open(operation, name)?;
        Err(error(ErrorKind::Unsupported, operation, name))
    }

    fn take(&self, queue: &str, max: usize) -> Result<Vec<Delivery>> {
        let mut state = self.open("get from", queue)?;
        let messages = &mut state.queue(queue).messages;
        let taken = messages.drain(..max.min(messages.len()));
        Ok(taken.map(|it| Delivery::new(it, 1, None)).collect())
    }

    fn end(&self) {
        let mut state = self.backend.lock();
        self.health.close();
        state.listeners.retain(|_, (handle, topic, inlet)| {
            if *handle == self.number {
                inlet.end(error(ErrorKind::Closed, "subscribe to", topic));
            }
            *handle != self.number
        });
        self.backend.changed.notify_waiters();
    }
}

fn error(kind: ErrorKind, operation: &str, name: &str) -> Error {
    Error::new(kind, format!("stranger: {operation} `{name}`"))
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
        let exact = Capabilities::none().with_counted().with_exact_stats();
        exact.with_atomic_batches()
    }

    fn health(&self) -> &Health {
        &self.health
    }

    async fn publish_all(&self, messages: Vec<(Arc<str>, Message)>) -> Vec<Result<usize>> {
        let mut reached = Vec::new();
        for (topic, message) in messages {
            reached.push(self.publish(&topic, message).await);
        }
        reached
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<usize> {
        let state = self.open("publish to", topic)?;
        let mut reached = HashSet::new();
        let published = Published::new(topic, message);
        for (handle, _, inlet) in state.listeners.values().filter(|it| *it.1 == *topic) {
            inlet.push(published.clone());
            reached.insert(*handle);
        }
        Ok(reached.len())
    }

    async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        let topic = filter.as_str();
        if matches!(filter, Filter::Pattern(_)) {
            return self.refuse("subscribe to", topic);
        }
        let mut state = self.open("subscribe to", topic)?;
        let (backend, number) = (Arc::clone(&self.backend), state.next());
        let (inlet, subscription) = subscription(&filter, move |_| {
            backend.lock().listeners.remove(&number);
        });
        let listener = (self.number, topic.into(), inlet);
        state.listeners.insert(number, listener);
        Ok(subscription)
    }

    async fn queue_put(&self, queue: &str, batch: Vec<Message>, opts: PutOptions) -> Result<Put> {
        if !opts.delay.is_zero() {
            return self.refuse("put to", queue);
        }
        let mut state = self.open("put to", queue)?;
        if batch.is_empty() {
            return Ok(Put::New);
        }
        let Queue { messages, known } = state.queue(queue);
        let now = Instant::now();
        known.retain(|_, end| *end > now);
        if opts.once.as_ref().is_some_and(|id| known.contains_key(id)) {
            return Ok(Put::Known);
        }
        let length = messages.len() + batch.len();
        if opts.maxsize.is_some_and(|max| length > max.get()) {
            return Err(error(ErrorKind::Full, "put to", queue));
        }
        let end = now + once_window(opts.window);
        known.extend(opts.once.map(|id| (id, end)));
        messages.extend(batch);
        self.backend.changed.notify_waiters();
        Ok(Put::New)
    }

    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        if opts.lease.is_some() {
            return self.refuse("lease from", queue);
        }
        let max = opts.max.get();
        let first = async {
            loop {
                let changed = self.backend.changed.notified();
                let taken = self.take(queue, max)?;
                if !taken.is_empty() {
                    return Ok(taken);
                }
                changed.await;
            }
        };
        let wait = match opts.wait {
            Wait::Forever => MAX_DURATION,
            Wait::For(time) => time,
            _ => Duration::ZERO,
        };
        timeout(wait, first)
            .await
            .unwrap_or_else(|_| self.take(queue, max))
    }

    async fn queue_settle(
        &self,
        queue: &str,
        _: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        self.refuse("settle in", queue)
    }

    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        if part != Part::Ready {
            return self.refuse("peek at", queue);
        }
        let mut state = self.open("peek at", queue)?;
        let first = state.queue(queue).messages.iter().take(max);
        Ok(first.map(|it| Stored::new(it.clone(), 0)).collect())
    }

    async fn queue_redrive(&self, queue: &str, _: Redrive) -> Result<usize> {
        self.refuse("redrive", queue)
    }

    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize> {
        match part {
            Part::Ready => Ok(self.take(queue, usize::MAX)?.len()),
            _ => self.refuse("clear", queue),
        }
    }

    async fn queue_stats(&self, queue: &str) -> Result<QueueStats> {
        let mut state = self.open("count", queue)?;
        Ok(QueueStats::new(state.queue(queue).messages.len(), 0, 0, 0))
    }

    async fn rpc_listen(&self, channel: &str) -> Result<Requests> {
        self.refuse("serve", channel)
    }

    async fn rpc_request(&self, channel: &str, _: Message, _: RequestOptions) -> Result<Replies> {
        self.refuse("call", channel)
    }

    async fn close(&self) -> Result<()> {
        self.end();
        Ok(())
    }
}
