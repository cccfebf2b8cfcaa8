//! The Redis provider of pymq: topics, queues and remote calls over a Redis server that you already
//! run. It is a full peer of Python PyMQ.
//!
//! ```no_run
//! use pymq::Bus;
//! use pymq_provider_redis::RedisConfig;
//!
//! # async fn example() -> pymq::Result<()> {
//! let bus = Bus::connect(RedisConfig::default().namespace("shop")).await?;
//! # Ok(()) }
//! ```
//!
//! # What it needs
//!
//! Redis 6.2 or later, or Valkey: one server, the master that Redis Sentinel names, or a Redis
//! Cluster. It opens one connection for commands, one for subscriptions, one for answers from the
//! first call on, one for each queue that a caller waits on, and one for puts if they wait for
//! [`replicas`](RedisConfig::replicas). On a cluster it opens the first and the last of these to
//! each node in use. `maxmemory-policy` must be `noeviction`: other policies evict whole queues, or
//! the marks of `put_once`.
//!
//! A user with an ACL needs at least the keys `~__eventbus:*` and `~{__eventbus:*`, the channels
//! `&__eventbus:*`, and a channel rule of its own for each pattern.
//!
//! # What is different on Redis
//!
//! - A topic and a remote with the same name share a channel. Requests do not reach the subscribers
//!   of the topic, and events do not reach the remote. Counts cannot tell them apart: a subscriber
//!   of the topic counts as a server.
//! - Pub/sub ignores databases. Two namespaces keep buses apart, two databases do not.
//! - Several servers may share a channel. A call then runs on the server that claims it. Unmodified
//!   Python servers do not claim: each of them runs the call.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod config;
mod connection;
mod core;
mod first_connections;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod keys;
mod limits;
mod provider;
mod queues;
mod rpc;
mod slot;
mod subscriptions;
mod topics;
mod wire;

pub use self::config::{Redis, RedisConfig};
pub use self::provider::RedisProvider;
