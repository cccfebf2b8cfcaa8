//! A provider such as a third party would write, from the documentation of `Provider` alone: topics and
//! queues in one locked struct, remotes by `rpc_over_topics`, and no optional capability.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{
    Capabilities, Delivery, Filter, GetOptions, Health, Inlet, Part, Provider, Put, PutOptions,
    QueueStats, Receipt, Redrive, Replies, RequestOptions, Requests, Settle, Stored, Subscription,
    Wait, once_window, rpc_over_topics, subscription,
};
use pymq_core::{Error, ErrorKind, Message, MessageId, Result};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// A backend in this process; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Tells whoever waits for a message, or for its handle to close, to look again.
    changed: Notify,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    listeners: Vec<Listener>,
    queues: HashMap<String, VecDeque<Message>>,
    /// The ids of put-onces, each with when it is forgotten.
    once: HashMap<(String, MessageId), Instant>,
}

#[derive(Debug)]
struct Listener {
    handle: u64,
    number: u64,
    topic: Arc<str>,
    inlet: Inlet,
}

impl Hub {
    /// Opens a handle, with remote calls.
    pub fn connect(&self) -> Arc<dyn Provider> {
        let (hub, id) = (self.clone(), self.number());
        Arc::new(rpc_over_topics(Toy {
            hub,
            id,
            is_closed: AtomicBool::new(false),
            health: Health::new(),
        }))
    }

    /// Lists what the hub still holds.
    pub fn leftovers(&self) -> Vec<String> {
        self.with(|state| {
            let topics = state
                .listeners
                .iter()
                .map(|it| format!("topic `{}`", it.topic));
            let queues = state.queues.keys().map(|name| format!("queue `{name}`"));
            topics.chain(queues).collect()
        })
    }

    /// Runs a step on everything there is. No step waits.
    fn with<R>(&self, step: impl FnOnce(&mut State) -> R) -> R {
        step(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn number(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl State {
    fn put(
        &mut self,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put, ErrorKind> {
        if messages.is_empty() {
            return Ok(Put::New);
        }
        let now = Instant::now();
        self.once.retain(|_, until| *until > now);
        let once = opts.once.map(|id| (queue.to_owned(), id));
        if once.as_ref().is_some_and(|id| self.once.contains_key(id)) {
            return Ok(Put::Known);
        }
        let after = self.queues.get(queue).map_or(0, VecDeque::len) + messages.len();
        if opts.maxsize.is_some_and(|maxsize| after > maxsize.get()) {
            return Err(ErrorKind::Full);
        }
        let until = now + once_window(opts.window);
        self.once.extend(once.map(|id| (id, until)));
        let line = self.queues.entry(queue.to_owned()).or_default();
        line.extend(messages);
        Ok(Put::New)
    }

    fn take(&mut self, queue: &str, max: usize) -> Vec<Delivery> {
        let Some(messages) = self.queues.get_mut(queue) else {
            return Vec::new();
        };
        let front = messages.drain(..max.min(messages.len()));
        let taken = front.map(|it| Delivery::new(it, 1, None)).collect();
        if messages.is_empty() {
            self.queues.remove(queue);
        }
        taken
    }
}

/// One handle on a hub.
#[derive(Debug)]
struct Toy {
    hub: Hub,
    id: u64,
    is_closed: AtomicBool,
    health: Health,
}

impl Toy {
    fn check(&self, operation: &str, name: &str) -> Result<()> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(error(ErrorKind::Closed, operation, name));
        }
        Ok(())
    }

    fn refuse<T>(&self, operation: &str, name: &str) -> Result<T> {
        self.check(operation, name)?;
        Err(error(ErrorKind::Unsupported, operation, name))
    }

    /// Ends what this handle has open and wakes what waits on it.
    fn shut(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.hub.with(|state| {
            for ended in state.listeners.extract_if(.., |it| it.handle == self.id) {
                ended
                    .inlet
                    .end(error(ErrorKind::Closed, "subscribe to", &ended.topic));
            }
        });
        self.hub.0.changed.notify_waiters();
        self.health.close();
    }
}

fn error(kind: ErrorKind, operation: &str, name: &str) -> Error {
    Error::new(kind, format!("toy: {operation} `{name}`"))
}

impl Drop for Toy {
    fn drop(&mut self) {
        self.shut();
    }
}

#[async_trait]
impl Provider for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }

    fn health(&self) -> &Health {
        &self.health
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<usize> {
        self.check("publish to", topic)?;
        Ok(self.hub.with(|state| {
            let mut reached = HashSet::new();
            for listener in state.listeners.iter().filter(|it| *it.topic == *topic) {
                listener.inlet.push(&listener.topic, &message);
                reached.insert(listener.handle);
            }
            reached.len()
        }))
    }

    async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        self.check("subscribe to", filter.as_str())?;
        if matches!(filter, Filter::Pattern(_)) {
            return self.refuse("subscribe to", filter.as_str());
        }
        let (hub, number) = (self.hub.clone(), self.hub.number());
        let (inlet, subscription) = subscription(&filter, move |detached| {
            hub.with(|state| state.listeners.retain(|listener| listener.number != number));
            drop(detached);
        });
        let topic = filter.as_str().into();
        self.hub.with(|state| {
            // Looked at again under the lock, or a close just now would miss this one.
            self.check("subscribe to", filter.as_str())?;
            let handle = self.id;
            state.listeners.push(Listener {
                handle,
                number,
                topic,
                inlet,
            });
            Ok(())
        })?;
        Ok(subscription)
    }

    async fn queue_put(
        &self,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        self.check("put to", queue)?;
        if !opts.delay.is_zero() {
            return self.refuse("put to", queue);
        }
        let put = self.hub.with(|state| state.put(queue, messages, opts));
        let put = put.map_err(|kind| error(kind, "put to", queue))?;
        self.hub.0.changed.notify_waiters();
        Ok(put)
    }

    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        self.check("get from", queue)?;
        if opts.lease.is_some() {
            return self.refuse("lease from", queue);
        }
        let deadline = match opts.wait {
            // Further than a century there is no need to look.
            Wait::For(time) => Some(Instant::now() + time.min(Duration::from_secs(1 << 32))),
            Wait::Forever => None,
            _ => Some(Instant::now()),
        };
        loop {
            // From here on every change is noticed, also one before the await.
            let changed = self.hub.0.changed.notified();
            self.check("get from", queue)?;
            let taken = self.hub.with(|state| state.take(queue, opts.max.get()));
            if !taken.is_empty() || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(taken);
            }
            match deadline {
                // At the deadline it looks once more.
                Some(deadline) => drop(timeout_at(deadline, changed).await),
                None => changed.await,
            }
        }
    }

    async fn queue_settle(
        &self,
        queue: &str,
        _: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        self.refuse("settle in", queue)
    }

    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        self.check("peek at", queue)?;
        if part != Part::Ready {
            return self.refuse("peek at", queue);
        }
        Ok(self.hub.with(|state| {
            let front = state.queues.get(queue).into_iter().flatten().take(max);
            front.map(|it| Stored::new(it.clone(), 0)).collect()
        }))
    }

    async fn queue_redrive(&self, queue: &str, _: Redrive) -> Result<usize> {
        self.refuse("redrive", queue)
    }

    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize> {
        self.check("clear", queue)?;
        if part != Part::Ready {
            return self.refuse("clear", queue);
        }
        let cleared = self.hub.with(|state| state.queues.remove(queue));
        Ok(cleared.map_or(0, |messages| messages.len()))
    }

    async fn queue_stats(&self, queue: &str) -> Result<QueueStats> {
        self.check("count", queue)?;
        let count = |state: &mut State| state.queues.get(queue).map_or(0, VecDeque::len);
        Ok(QueueStats::new(self.hub.with(count), 0, 0, 0))
    }

    async fn rpc_listen(&self, channel: &str) -> Result<Requests> {
        self.refuse("listen on", channel)
    }

    async fn rpc_request(&self, channel: &str, _: Message, _: RequestOptions) -> Result<Replies> {
        self.refuse("request to", channel)
    }

    async fn close(&self) -> Result<()> {
        self.shut();
        Ok(())
    }
}
