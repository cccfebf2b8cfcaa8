//! What the providers of pymq build on: the seam, and the topics, queues and remotes above it.
//!
//! An application uses the crate `pymq`, which holds all of this and the providers behind features.
//!
//! - [`provider`] is the seam: [`Provider`](provider::Provider), its options, and what a provider may build on.
//! - [`codec`] says what crosses the wire.
//! - [`Bus`] is the typed layer above a provider.
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
