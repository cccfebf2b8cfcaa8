//! What the providers of pymq build on: the seam, and the topics, queues and remotes above it.
//!
//! An application uses the crate `pymq`, which holds all of this and the providers behind features.
//!
//! - [`provider`] is the seam: [`Provider`](provider::Provider), its options and its building
//!   blocks.
//! - [`codec`] converts values to payloads. [`codec::json`] finds the parts of a payload.
//! - [`Bus`] is the typed layer on a provider.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bus;
mod client;
pub mod codec;
mod connect;
mod error;
mod event;
pub mod glob;
mod handler;
mod isolation;
mod message;
pub mod name;
pub mod provider;
mod queue;
mod remote_error;
mod retry;
mod rpc;
mod state;
mod text;
mod time;
mod topic;

pub use self::bus::Bus;
pub use self::client::{BusStats, MAX_PAYLOAD, Running};
pub use self::codec::Raw;
pub use self::connect::{Connect, IntoProviderUrl, Parameters, ProviderUrl, Registry, Scheme};
pub use self::error::{Error, ErrorKind, Result};
pub use self::event::Event;
pub use self::handler::{Handler, HandlerOutput, Meta};
pub use self::message::{Encoding, Headers, Message, MessageId, Published};
pub use self::provider::{
    BufferLimits, Lifecycle, LifecycleEvent, Put, QueueStats, Status, WhenFull,
};
pub use self::queue::{DeadLetter, DeadLetters, ItemMeta, Items, Lease, Queue, WorkerBuilder};
pub use self::rpc::{
    Args, CallMeta, IntoReply, Json, Params, Remote, RemoteError, RemoteFunction, Responses, Stub,
};
pub use self::state::State;
pub use self::topic::{Events, Pattern, Publication, Received, SubscriptionBuilder, Topic};

#[doc(hidden)]
pub use self::event::path as __private;
#[doc(hidden)]
pub use self::state::States as __States;
