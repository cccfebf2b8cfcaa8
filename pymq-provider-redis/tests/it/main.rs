//! What only Redis can show: its errors, its connections, what lies in it, and what Python would send.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod server;

mod connecting;
mod disruption;
mod queues;
mod rpc;
mod topics;
