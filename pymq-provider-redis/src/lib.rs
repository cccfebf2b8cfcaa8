//! The Redis provider of pymq: topics, queues and remote calls over a Redis you already run, as a full peer of Python
//! PyMQ.
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
//! Redis 6.2 or later, or Valkey; one server or a master with replicas, not a cluster of slots. One connection for
//! commands, one for subscriptions, one for answers to calls from the first call on, and one for each queue that
//! somebody waits on. `maxmemory-policy` must be `noeviction`: others evict whole queues, or the marks of `put_once`.
//!
//! A user with an ACL needs at least the keys `~__eventbus:*` and `~{__eventbus:*`, the channels `&__eventbus:*`, and a
//! channel rule of its own for each pattern.
//!
//! # What Redis makes of it
//!
//! - A topic and a remote of one name share a channel. Requests never reach the subscriptions of the topic, and events
//!   never reach the remote, but counts cannot tell them apart: a subscriber to the topic counts as a server.
//! - Pub/sub does not know databases: two namespaces keep buses apart, two databases do not.
//! - A call whose channel several servers share runs on the one that claims it. Unmodified Python servers do not
//!   claim: each runs it.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod config;
mod connection;
mod core;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod hostile;
mod keys;
mod limits;
mod provider;
mod queues;
mod rpc;
mod subscriptions;
mod topics;
mod wire;

pub use self::config::{Redis, RedisConfig};
pub use self::provider::RedisProvider;
