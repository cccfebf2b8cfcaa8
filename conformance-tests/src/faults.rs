//! Faults: what the library promises, tried while processes are killed, servers restart and networks fail.
//!
//! Each fault is one file with one async function that returns a [`Report`]; [`table::FAULTS`] is the one list.
//! The program `examples/faults.rs` runs them, each in a process of its own, several at once where they leave the
//! machine time. `docs/FAULTS.md` says how to run them and what they measured.
//!
//! # How losses are counted
//!
//! Every message is written down before it is put, and again with the outcome of its put; every consumer writes down
//! what it has worked on, after the work and before the ack. Those [journals](ledger) are files, so that a process that
//! is killed cannot take them along, and the [tally](tally::Tally) of them is what a fault is judged by.
//!
//! # To add one
//!
//! 1. A file here with `pub async fn run(setting: Setting) -> Outcome<Report>`, which says in its first lines what
//!    is broken and what must still hold.
//! 2. A line in [`table::FAULTS`].
//! 3. Everything random comes from [`Setting::dice`], so that a seed repeats it.

pub mod callers;
pub mod certificates;
pub mod command;
pub mod consumer;
pub mod dice;
pub mod ledger;
pub mod memory;
pub mod network;
pub mod producers;
pub mod remote_server;
pub mod report;
pub mod rules;
mod runner;
pub mod scratch;
pub mod setting;
pub mod soak;
pub mod storm;
pub mod table;
pub mod tally;
pub mod topic;
pub mod workshop;

pub mod killed_connections;
pub mod killed_consumers;
pub mod killed_server;
pub mod loading_server;
pub mod long_outage;
pub mod stopped_server;

pub mod broken_network;
pub mod cancelled_takes;
pub mod full_server;
pub mod malformed_payloads;
pub mod many_calls;
pub mod many_topics;
pub mod panicking_handlers;
pub mod refused_access;
pub mod slow_consumer;
pub mod stopped_remotes;
pub mod wiped_server;

mod cut_replies;
mod half_open;
mod tls;

pub use self::dice::Dice;
pub use self::report::Report;
pub use self::rules::Rule;
pub use self::setting::Setting;
