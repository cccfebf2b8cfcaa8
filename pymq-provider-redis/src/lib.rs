//! The Redis provider of pymq.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod config;
mod connection;
mod core;
mod keys;
mod provider;
mod queues;
mod rpc;
mod subscriptions;
mod topics;
mod wire;

pub use self::config::{Redis, RedisConfig};
pub use self::provider::RedisProvider;
