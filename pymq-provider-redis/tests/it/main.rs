//! What only Redis can show: its errors, its connections, what lies in it, and what Python would send.

mod server;

mod connecting;
mod disruption;
mod rpc;
mod topics;
