//! Tests that need Redis: its errors, its connections, its data, and messages from Python.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]
#![expect(
    clippy::similar_names,
    reason = "caller and callee are the words for it"
)]

mod server;

mod bounds;
mod cluster;
mod connecting;
mod disrupted_calls;
mod disruption;
mod freezing_proxy;
mod idle_calls;
mod late;
mod only_server;
mod queues;
mod replicas;
mod rpc;
mod sentinels;
mod taking;
mod topics;
