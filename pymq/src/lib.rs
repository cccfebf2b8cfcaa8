//! Topics, queues and remote calls over a transport you already run.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bus;
pub mod codec;
mod connect;
mod error;
mod event;
pub mod glob;
mod lease;
mod message;
pub mod name;
pub mod provider;
mod queue;
mod retry;
mod rpc;
mod shutdown;

pub use self::bus::{Bus, MAX_PAYLOAD};
pub use self::codec::Raw;
pub use self::connect::{Connect, Parameters, ProviderUrl, Registry, Scheme};
pub use self::error::{Error, ErrorKind, Result};
pub use self::event::Event;
pub use self::lease::Lease;
pub use self::message::{Encoding, Headers, Message, MessageId};
pub use self::provider::QueueStats;
pub use self::queue::{DeadLetter, DeadLetters, Items, Queue};
pub use self::rpc::{Args, IntoReply, Json, Params, RemoteError};

#[doc(hidden)]
pub use self::event::path as __private;
