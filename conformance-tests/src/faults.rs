//! Faults: the promises of the library, tested while processes are killed, servers restart and
//! networks fail.
//!
//! Each fault is one file with one async function that returns a [`Report`]. [`table::FAULTS`] is
//! the one list. The program `examples/faults.rs` runs each fault in a process of its own, and
//! several at once where the machine has time for them. `docs/FAULTS.md` says how to run them and
//! what they measured.
//!
//! # How losses are counted
//!
//! A producer records every message before it is put, and then the outcome of the put. A consumer
//! records every message after its work and before the ack. These [journals](ledger) are files, so
//! a killed process loses none of them. The [tally](tally::Tally) of the journals decides whether a
//! fault passes.
//!
//! # To add one
//!
//! 1. Add a file here with `pub async fn run(setting: Setting) -> Outcome<Report>`. Its first lines
//!    say what is broken and what must still hold.
//! 2. Add a line to [`table::FAULTS`].
//! 3. Take every random choice from [`Setting::dice`], so that a seed repeats it.

pub mod callers;
pub mod certificates;
pub mod cluster_work;
pub mod command;
pub mod consumer;
pub mod dice;
pub mod failovers;
pub mod ledger;
pub mod memory;
pub mod network;
pub mod producers;
pub mod remote_server;
pub mod report;
pub mod rules;
mod runner;
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
pub mod frozen_owner;
pub mod full_server;
pub mod killed_owner;
pub mod malformed_payloads;
pub mod many_calls;
pub mod many_topics;
pub mod moved_slots;
pub mod panicking_handlers;
pub mod refused_access;
pub mod replaced_master;
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
