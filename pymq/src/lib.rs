//! Topics, queues and remote calls over a transport you already run.
//!
//! Three ideas a person can hold in the head, on Redis in production and in process in a unit test;
//! a full peer of Python PyMQ on the same Redis.
//!
//! | idea | say | promise |
//! |---|---|---|
//! | **topics**: every subscriber gets the event | [`Bus::publish`], [`Bus::subscribe`], [`Bus::topic`], [`Bus::pattern`] | at most once; a subscriber that lags is told |
//! | **queues**: each item goes to one taker | [`Bus::queue`] | with [`lease`](queue::Queue::lease) at least once |
//! | **remotes**: call a function by its name | [`Bus::expose`], [`Bus::stub`] | at most once per server; a call into the void fails at once |
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//!
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
//!     let bus = pymq::connect("memory://").await?;
//!
//!     bus.subscribe(bill).await?.keep();
//!     bus.publish(&Placed { order: 7 }).await?;
//!
//!     let jobs = bus.queue::<String>("jobs");
//!     jobs.put("resize 17.png").await?;
//!     jobs.lease().await?.ack().await?;
//!
//!     bus.expose("product", product).await?.keep();
//!     assert_eq!(bus.stub::<(i64, i64), i64>("product").call((6, 7)).await?, 42);
//!
//!     bus.shutdown(Duration::from_secs(5)).await
//! }
//! ```
//!
//! # Features
//!
//! | feature | what it brings |
//! |---|---|
//! | `memory`, on by default | `memory://`: a bus inside the process, for tests and first steps |
//! | `redis` | `redis://`, `redis-sentinel://`, `redis-cluster://` and `redis+unix://` |
//! | `redis-tls` | `rediss://` through rustls, with the trust roots of the system |
//!
//! # Where to look
//!
//! - A bus comes from a URL with [`connect`], or from the configuration of a provider with [`Bus::connect`].
//! - [`init`], [`shutdown`] and the functions beside them are one bus for the whole process; [`process`] has the rest of
//!   them.
//! - [`topic`](mod@topic), [`queue`](mod@queue) and [`rpc`] hold the types of the three ideas, [`health`] how a bus is.
//! - [`Error::kind`] is what to act on; [`Error::outcome_unknown`] tells whether an operation that failed may have happened.
//! - [`provider`] is for the authors of transports, [`codec`] and [`message`] for what crosses the wire.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod connect;
#[cfg(not(all(feature = "memory", feature = "redis")))]
mod off;
pub mod process;

#[cfg(feature = "memory")]
#[doc(inline)]
pub use pymq_provider_memory as memory;
#[cfg(feature = "redis")]
#[doc(inline)]
pub use pymq_provider_redis as redis;

#[doc(inline)]
pub use pymq_core::{Bus, Error, ErrorKind, Event, Headers, Result, Running, State, event};
#[doc(inline)]
pub use pymq_core::{codec, glob, name};

pub use self::connect::{connect, registry};
pub use self::process::{bus, expose, init, publish, queue, shutdown, stub, subscribe, topic};

/// Topics: events for every subscriber, their handlers and streams.
pub mod topic {
    #[doc(inline)]
    pub use pymq_core::{
        BufferLimits, Events, Handler, HandlerOutput, Meta, Pattern, Publication, Received,
        SubscriptionBuilder, Topic, WhenFull,
    };
}

/// Queues: items for one taker each, their leases, workers and dead letters.
pub mod queue {
    #[doc(inline)]
    pub use pymq_core::{
        DeadLetter, DeadLetters, ItemMeta, Items, Lease, Put, Queue, QueueStats, WorkerBuilder,
    };
}

/// Remote calls: functions by name, their callers, arguments and results.
pub mod rpc {
    #[doc(inline)]
    pub use pymq_core::{
        Args, CallMeta, IntoReply, Json, Params, Remote, RemoteError, RemoteFunction, Responses,
        Stub,
    };
}

/// Messages: what a value is on its way.
pub mod message {
    #[doc(inline)]
    pub use pymq_core::{Encoding, Headers, MAX_PAYLOAD, Message, MessageId, Published};
}

/// How a bus is: its status, its events, its counters.
pub mod health {
    #[doc(inline)]
    pub use pymq_core::{BusStats, Lifecycle, LifecycleEvent, Status};
}

/// The seam to transports, and from a URL to one of them. Authors of providers build on the crate
/// `pymq-core`.
pub mod provider {
    #[doc(inline)]
    pub use pymq_core::provider::*;
    #[doc(inline)]
    pub use pymq_core::{Connect, IntoProviderUrl, Parameters, ProviderUrl, Registry, Scheme};
}

/// What most programs use, in one import.
pub mod prelude {
    pub use pymq_core::{
        Bus, CallMeta, ErrorKind, Event, ItemMeta, Json, Lease, Meta, Queue, Received, State, Stub,
        Topic, event,
    };
}

#[doc(hidden)]
pub use pymq_core::__private;

/// The README's examples, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The Rust snippets of the page for Python users; its Python ones run against them in
/// `conformance-tests`.
#[cfg(doctest)]
#[doc = include_str!("../docs/FROM_PYTHON.md")]
struct FromPython;

/// The recipes of the page about operating it.
#[cfg(doctest)]
#[doc = include_str!("../docs/OPERATING.md")]
struct Operating;
