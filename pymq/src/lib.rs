//! Topics, queues and remote calls over a transport you already run.
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
mod subscription;
mod topic;

pub use self::bus::{Bus, MAX_PAYLOAD};
pub use self::codec::Raw;
pub use self::connect::{Connect, Parameters, ProviderUrl, Registry, Scheme};
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
pub use self::provider::QueueStats;
pub use self::publication::{Publication, TopicPublication};
pub use self::queue::{DeadLetter, DeadLetters, Items, Queue};
pub use self::rpc::{
    Args, CallMeta, IntoReply, Json, Params, RemoteError, RemoteFunction, RemoteGuard, Responses,
    Stub,
};
pub use self::subscription::{Events, Received, SubscriptionBuilder, SubscriptionGuard};
pub use self::topic::Topic;

#[doc(hidden)]
pub use self::event::path as __private;
