//! A provider such as a third party would write, from the documentation of `Provider` alone.
//!
//! Topics and queues are one locked struct, and remotes come from `rpc_over_topics`. It has no
//! patterns and no delays. Which other capabilities it declares, and so how it behaves, is a
//! parameter.

mod queue;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{
    Capabilities, Delivery, Filter, GetOptions, Health, Inlet, Part, Provider, Put, PutOptions,
    QueueStats, Receipt, Redrive, Replies, RequestOptions, Requests, Settle, Stored, Subscription,
    Wait, subscription,
};
use pymq_core::{Error, ErrorKind, Message, Published, Result};
use pymq_rpc_over_topics::rpc_over_topics;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use self::queue::Queue;
use crate::twist::{Twist, twisted};
use crate::{Clock, Failure, Harness};

/// A time that is longer than every test and does not overflow a clock.
const FOREVER: Duration = Duration::from_secs(1 << 32);

/// A backend in this process. All clones are one backend.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capabilities: Capabilities,
    state: Mutex<State>,
    /// Wakes every waiting take: for a message, for the end of a lease, or for the close of its
    /// handle.
    changed: Notify,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    listeners: Vec<Listener>,
    queues: HashMap<String, Queue>,
}

#[derive(Debug)]
struct Listener {
    handle: u64,
    number: u64,
    topic: Arc<str>,
    inlet: Inlet,
}

impl Default for Hub {
    /// Creates a backend of topics and queues, without leases.
    fn default() -> Self {
        Self::new(exact(Capabilities::none()))
    }
}

/// Adds every promise about exactness.
fn exact(capabilities: Capabilities) -> Capabilities {
    capabilities
        .with_counted()
        .with_exact_stats()
        .with_front()
        .with_fenced()
        .with_atomic_batches()
}

impl Hub {
    /// Creates a backend that declares these capabilities, with or without leases. It cannot have
    /// patterns and delays.
    pub fn new(capabilities: Capabilities) -> Self {
        Self(Arc::new(Shared {
            capabilities,
            state: Mutex::default(),
            changed: Notify::new(),
            next: AtomicU64::new(0),
        }))
    }

    /// Opens a handle, with remote calls.
    pub fn connect(&self) -> Arc<dyn Provider> {
        let (hub, id) = (self.clone(), self.number());
        let is_counted = self.0.capabilities.counted;
        // The remotes need a provider that counts.
        let provider = Arc::new(rpc_over_topics(Toy {
            hub,
            id,
            is_closed: AtomicBool::new(false),
            health: Health::new(),
        }));
        if is_counted {
            return provider;
        }
        twisted(provider, Uncounted)
    }

    /// Lists what the hub still holds.
    pub fn leftovers(&self) -> Vec<String> {
        self.with(|state| {
            let topics = state
                .listeners
                .iter()
                .map(|it| format!("topic `{}`", it.topic));
            let queues = state.queues.iter().filter(|(_, queue)| !queue.is_empty());
            let queues = queues.map(|(name, _)| format!("queue `{name}`"));
            topics.chain(queues).collect()
        })
    }

    /// Runs a step on the whole state. No step waits.
    fn with<R>(&self, step: impl FnOnce(&mut State) -> R) -> R {
        step(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn number(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// Reports for a publish only whether it reached any subscriber.
#[derive(Debug)]
struct Uncounted;

#[async_trait]
impl Twist for Uncounted {
    async fn publish(
        &self,
        inner: &Arc<dyn Provider>,
        topic: &str,
        message: Message,
    ) -> Result<usize> {
        let reached = inner.publish(topic, message).await?;
        // A number that looks like a count.
        Ok(if reached > 0 { 7 } else { 0 })
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

    /// Refuses what needs leases, if there are none.
    fn lease_check(&self, is_needed: bool, operation: &str, name: &str) -> Result<()> {
        self.check(operation, name)?;
        if is_needed && !self.capabilities().leases {
            return self.refuse(operation, name);
        }
        Ok(())
    }

    /// Runs a step on a queue, after it has ended the leases that are over.
    fn on<R>(&self, queue: &str, step: impl FnOnce(&mut Queue) -> R) -> R {
        let capabilities = self.capabilities();
        self.hub.with(|state| {
            let queue = state.queues.entry(queue.to_owned()).or_default();
            queue.end_leases(capabilities, Instant::now());
            step(queue)
        })
    }

    /// Ends what this handle has open, and wakes its waiting takes.
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
        self.hub.0.capabilities
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
        self.check("publish to", topic)?;
        Ok(self.hub.with(|state| {
            let mut reached = HashSet::new();
            let published = Published::new(topic, message);
            for listener in state.listeners.iter().filter(|it| *it.topic == *topic) {
                listener.inlet.push(published.clone());
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
            // Checked again under the lock. Otherwise a close at this moment would miss this
            // subscription.
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
        let capabilities = self.capabilities();
        let put = self.on(queue, |it| it.put(capabilities, messages, opts));
        self.hub.0.changed.notify_waiters();
        put.map_err(|kind| error(kind, "put to", queue))
    }

    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        self.lease_check(opts.lease.is_some(), "lease from", queue)?;
        let deadline = Instant::now()
            + match opts.wait {
                Wait::For(time) => time.min(FOREVER),
                Wait::Forever => FOREVER,
                _ => Duration::ZERO,
            };
        loop {
            // From here on every change is noticed, also one before the await.
            let changed = self.hub.0.changed.notified();
            self.check("get from", queue)?;
            let number = || self.hub.number();
            let (taken, next_end) = self.on(queue, |it| {
                (it.take(opts.max.get(), opts.lease, number), it.next_end())
            });
            if !taken.is_empty() {
                // The waiting takes learn when the new leases end.
                self.hub.0.changed.notify_waiters();
                return Ok(taken);
            }
            if deadline <= Instant::now() {
                return Ok(Vec::new());
            }
            // At the deadline it looks once more.
            let until = next_end.map_or(deadline, |end| end.min(deadline));
            drop(timeout_at(until, changed).await);
        }
    }

    async fn queue_settle(
        &self,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        self.lease_check(true, "settle in", queue)?;
        let capabilities = self.capabilities();
        let is_delayed = |how: &Settle| matches!(how, Settle::Nack { delay } if !delay.is_zero());
        if settlements.iter().any(|(_, how)| is_delayed(how)) {
            return self.refuse("settle in", queue);
        }
        let number = || self.hub.number();
        let settled = self.on(queue, |it| it.settle(capabilities, settlements, number));
        self.hub.0.changed.notify_waiters();
        let lost = || error(ErrorKind::LeaseLost, "settle in", queue);
        Ok(settled
            .into_iter()
            .map(|it| it.then_some(()).ok_or_else(lost))
            .collect())
    }

    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        self.lease_check(part == Part::Dead, "peek at", queue)?;
        match part {
            Part::Ready => Ok(self.on(queue, |it| it.ready(max))),
            Part::Dead => Ok(self.on(queue, |it| it.dead(max))),
            _ => self.refuse("peek at", queue),
        }
    }

    async fn queue_redrive(&self, queue: &str, which: Redrive) -> Result<usize> {
        self.lease_check(true, "redrive", queue)?;
        let moved = self.on(queue, |it| it.redrive(which));
        self.hub.0.changed.notify_waiters();
        Ok(moved)
    }

    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize> {
        self.lease_check(part == Part::Dead, "clear", queue)?;
        match part {
            Part::Ready => Ok(self.on(queue, Queue::clear_ready)),
            Part::Dead => Ok(self.on(queue, Queue::clear_dead)),
            _ => self.refuse("clear", queue),
        }
    }

    async fn queue_stats(&self, queue: &str) -> Result<QueueStats> {
        self.check("count", queue)?;
        let capabilities = self.capabilities();
        Ok(self.on(queue, |it| it.stats(capabilities)))
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

/// One hub for each test, and one for the other namespace.
#[derive(Debug)]
pub struct ToyHarness {
    here: Hub,
    elsewhere: Hub,
}

impl ToyHarness {
    /// Creates the hubs for the test of this name: with leases, and exact in every way.
    ///
    /// # Errors
    ///
    /// None.
    #[expect(
        clippy::unused_async,
        reason = "a harness opens as the others do, which start a server"
    )]
    pub async fn open(_test: &str) -> Result<Self, Failure> {
        Ok(Self::lacking(|_| {}))
    }

    /// Creates hubs that lack what `remove` takes from their capabilities.
    pub fn lacking(remove: impl FnOnce(&mut Capabilities)) -> Self {
        let mut capabilities = exact(Capabilities::none().with_leases());
        remove(&mut capabilities);
        Self {
            here: Hub::new(capabilities),
            elsewhere: Hub::new(capabilities),
        }
    }
}

#[async_trait]
impl Harness for ToyHarness {
    async fn connect(&self) -> Result<Arc<dyn Provider>> {
        Ok(self.here.connect())
    }

    async fn connect_elsewhere(&self) -> Result<Arc<dyn Provider>> {
        Ok(self.elsewhere.connect())
    }

    fn clock(&self) -> Clock {
        Clock::Paused
    }

    async fn leftovers(&self) -> Vec<String> {
        [self.here.leftovers(), self.elsewhere.leftovers()].concat()
    }
}
