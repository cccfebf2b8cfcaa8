//! The in-process provider of pymq: no server, and the same behavior and payloads as on a server.
//!
//! Use it in programs that need one process only, and in tests. It is exact under tokio's paused
//! clock: a test of an hour-long lease takes no real time.
//!
//! - `memory://` is a new broker for each connect.
//! - `memory://name` is one broker that the process shares.
//! - A [`MemoryBroker`] opens as many handles as a test needs. Each handle stands for a process.
//!
//! # Examples
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
//! use pymq::provider::{GetOptions, Provider, PutOptions, Wait};
//! use pymq::message::Message;
//! use pymq::provider::Connect;
//! use pymq_provider_memory::{MemoryBroker, MemoryConfig};
//!
//! let broker = MemoryBroker::new();
//! let shop = MemoryConfig::from(&broker).connect().await?;
//! let kitchen = MemoryConfig::from(&broker).connect().await?;
//!
//! shop.queue_put("orders", vec![Message::json(r#""tea""#)], PutOptions::default()).await?;
//! let orders = kitchen.queue_get("orders", GetOptions::default().wait(Wait::Forever)).await?;
//!
//! assert_eq!(orders[0].message, Message::json(r#""tea""#));
//! # Ok(()) }
//! ```
//!
//! # Guarantees
//!
//! Those of every provider, with one restriction: the messages are gone when the broker is gone.
//! A broker lives as long as a handle on it or a [`MemoryBroker`] value. It runs no task: a taker
//! that waits for a delayed message sets its own timer.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod broker;
mod config;
mod handle;
mod queues;
mod rpc;
mod table;
mod topics;

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::{
    Capabilities, Delivery, Filter, GetOptions, Health, Part, Provider, Put, PutOptions,
    QueueStats, Receipt, Redrive, Replies, RequestOptions, Requests, Settle, Stored, Subscription,
    Wait,
};
use pymq_core::{Message, Result};

pub use self::broker::MemoryBroker;
pub use self::config::{Memory, MemoryConfig};

use self::handle::Handle;

/// One handle on a broker in this process, as a connection is one on a server.
///
/// [`MemoryConfig`] creates it. Dropping it closes it.
#[derive(Debug)]
pub struct MemoryProvider {
    handle: Arc<Handle>,
}

impl MemoryProvider {
    pub(crate) fn new(broker: &MemoryBroker, namespace: &str) -> Self {
        Self {
            handle: Arc::new(Handle::new(broker, namespace)),
        }
    }
}

impl Drop for MemoryProvider {
    fn drop(&mut self) {
        self.handle.close();
    }
}

#[async_trait]
impl Provider for MemoryProvider {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
            .with_patterns()
            .with_leases()
            .with_delays()
            .with_counted()
            .with_exact_stats()
            .with_front()
            .with_fenced()
            .with_atomic_batches()
    }

    fn health(&self) -> &Health {
        self.handle.health()
    }

    async fn publish_all(&self, messages: Vec<(Arc<str>, Message)>) -> Vec<Result<usize>> {
        let mut reached = Vec::with_capacity(messages.len());
        for (topic, message) in messages {
            reached.push(self.handle.publish(&topic, message));
        }
        reached
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<usize> {
        self.handle.publish(topic, message)
    }

    fn try_publish(&self, topic: &str, message: Message) -> Result<Result<usize>, Message> {
        Ok(self.handle.publish(topic, message))
    }

    async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        topics::subscribe(&self.handle, &filter)
    }

    async fn queue_put(
        &self,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        // Lets the takers run while a task puts in a loop. A put never waits.
        tokio::task::coop::consume_budget().await;
        self.handle.check("put to", queue)?;
        self.handle.space().queues.put(queue, messages, opts)
    }

    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        // Lets other tasks run while a task takes in a loop. A take of ready messages never waits.
        tokio::task::coop::consume_budget().await;
        self.handle.check("get from", queue)?;
        let queues = &self.handle.space().queues;
        let taken = queues.take(queue, &opts);
        if !taken.is_empty() || opts.wait == Wait::No {
            return Ok(taken);
        }
        let is_closed = || self.handle.is_closed();
        // Boxed, because it is much larger than the rest of this future, which often is not needed.
        let taken = Box::pin(queues.wait(queue, &opts, is_closed)).await;
        match taken {
            Some(taken) => Ok(taken),
            // The handle is closed, and `check` says so.
            None => self.handle.check("get from", queue).map(|()| Vec::new()),
        }
    }

    async fn queue_settle(
        &self,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        self.handle.check("settle on", queue)?;
        Ok(self.handle.space().queues.settle(queue, settlements))
    }

    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>> {
        self.handle.check("peek at", queue)?;
        Ok(self.handle.space().queues.peek(queue, part, max))
    }

    async fn queue_redrive(&self, queue: &str, which: Redrive) -> Result<usize> {
        self.handle.check("redrive", queue)?;
        Ok(self.handle.space().queues.redrive(queue, which))
    }

    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize> {
        self.handle.check("clear", queue)?;
        Ok(self.handle.space().queues.clear(queue, part))
    }

    async fn queue_stats(&self, queue: &str) -> Result<QueueStats> {
        self.handle.check("count", queue)?;
        Ok(self.handle.space().queues.stats(queue))
    }

    async fn rpc_listen(&self, channel: &str) -> Result<Requests> {
        rpc::listen(&self.handle, channel)
    }

    async fn rpc_request(
        &self,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        rpc::request(&self.handle, channel, request, &opts)
    }

    async fn close(&self) -> Result<()> {
        self.handle.close();
        Ok(())
    }
}
