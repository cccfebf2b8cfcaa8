//! Topics, queues and remote calls over a transport you already run.
//!
//! Three ideas a person can hold in the head, on Redis in production and in process in a unit test; a full peer of
//! Python PyMQ on the same Redis.
//!
//! | idea | say | promise |
//! |---|---|---|
//! | **topics**: everyone who listens gets the event | [`Bus::publish`], [`Bus::subscribe`], [`Bus::topic`], [`Bus::pattern`] | at most once; who lags is told |
//! | **queues**: each item goes to one taker | [`Bus::queue`] | with [`lease`](Queue::lease) at least once |
//! | **remotes**: call a function by its name | [`Bus::expose`], [`Bus::stub`] | at most once per server; a call into the void fails at once |
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//!
//! use pymq::Bus;
//! use pymq_provider_memory::MemoryConfig;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, Serialize)]
//! struct Placed {
//!     order: u64,
//! }
//! pymq::event!(Placed);
//!
//! async fn bill(placed: Placed) {
//!     println!("order {}", placed.order);
//! }
//!
//! async fn product(a: i64, b: i64) -> i64 {
//!     a * b
//! }
//!
//! #[tokio::main]
//! async fn main() -> pymq::Result<()> {
//!     let bus = Bus::connect(MemoryConfig::default()).await?;
//!
//!     bus.subscribe(bill).await?.keep();
//!     bus.publish(&Placed { order: 7 }).await?;
//!
//!     let jobs = bus.queue::<String>("jobs");
//!     jobs.put(&"resize 17.png".to_owned()).await?;
//!     jobs.lease().await?.ack().await?;
//!
//!     bus.expose("product", product).await?.keep();
//!     assert_eq!(bus.stub::<(i64, i64), i64>("product").call((6, 7)).await?, 42);
//!
//!     bus.shutdown(Duration::from_secs(5)).await
//! }
//! ```
//!
//! # Where to look
//!
//! - A bus comes from the configuration of a provider with [`Bus::connect`], or from a URL with a [`Registry`].
//! - [`init`], [`shutdown`] and the free functions beside them are one bus for the whole process.
//! - [`Error::kind`] is what to act on; [`Error::outcome_unknown`] tells what may have happened all the same.
//! - [`provider`] is for the authors of transports, [`codec`] for what crosses the wire.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bus;
pub mod codec;
mod connect;
mod counters;
mod error;
mod event;
pub mod glob;
mod global;
mod handler;
mod isolation;
mod lease;
mod message;
pub mod name;
mod pattern;
pub mod provider;
mod publication;
mod queue;
mod registration;
mod retry;
mod rpc;
mod shutdown;
mod stats;
mod subscription;
mod text;
mod topic;
mod worker;

pub use self::bus::{Bus, MAX_PAYLOAD};
pub use self::codec::Raw;
pub use self::connect::{Connect, IntoProviderUrl, Parameters, ProviderUrl, Registry, Scheme};
pub use self::error::{Error, ErrorKind, Result};
pub use self::event::Event;
pub use self::global::{
    bus, call_all, expose, header, init, init_with, pattern, ping, publish, queue, shutdown, stub,
    subscribe, topic,
};
pub use self::handler::{Handler, HandlerOutput, Meta};
pub use self::lease::Lease;
pub use self::message::{Encoding, Headers, Message, MessageId};
pub use self::pattern::Pattern;
pub use self::provider::{
    BufferLimits, Lifecycle, LifecycleEvent, Put, QueueStats, Status, WhenFull,
};
pub use self::publication::{Publication, TopicPublication};
pub use self::queue::{DeadLetter, DeadLetters, Items, Queue};
pub use self::rpc::{
    Args, CallMeta, IntoReply, Json, Params, RemoteError, RemoteFunction, RemoteGuard, Responses,
    Stub,
};
pub use self::stats::BusStats;
pub use self::subscription::{Events, Received, SubscriptionBuilder, SubscriptionGuard};
pub use self::topic::Topic;
pub use self::worker::{ItemMeta, WorkerBuilder, WorkerGuard};

#[doc(hidden)]
pub use self::event::path as __private;

/// The README's examples, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The Rust snippets of the page for Python users; its Python ones run against them in `conformance-tests`.
#[cfg(doctest)]
#[doc = include_str!("../../docs/FROM_PYTHON.md")]
struct FromPython;

/// The recipes of the page for those who run it.
#[cfg(doctest)]
#[doc = include_str!("../../docs/OPERATING.md")]
struct Operating;
