//! The behaviours every pymq provider must show, as a library: one table, one harness trait, one macro.
//!
//! A provider's whole test file is a [`Harness`] and one line:
//!
//! ```text
//! pymq_conformance::conformance!(paused, MemoryHarness::open, [patterns, leases, delays]);
//! ```
#![expect(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "a behaviour fails by either"
)]

pub mod faults;
pub mod harness;
pub mod hostile;
pub mod jobs;
pub mod memory;
pub mod moment;
pub mod mutants;
pub mod proxy;
pub mod python;
pub mod redis;
pub mod table;
pub mod toy;
pub mod traffic;
pub mod twist;
pub mod wait;
pub mod without;

mod bomb;
pub mod cancellation;
pub mod cancelled_leases;
pub mod capabilities;
pub mod delays;
pub mod disruption;
pub mod disruption_leases;
pub mod disruption_workers;
pub mod errors;
pub mod health;
pub mod leases;
pub mod lifecycle;
pub mod messages;
pub mod patterns;
pub mod properties;
pub mod queues;
pub mod remotes;
pub mod rpc;
pub mod topics;
pub mod typed;
pub mod typed_backoff;
pub mod typed_cancellation;
pub mod typed_dead_letters;
pub mod typed_delays;
pub mod typed_extremes;
pub mod typed_leases;
pub mod typed_once;
pub mod typed_patterns;
pub mod typed_queues;
pub mod typed_workers;
pub mod unconnected;

pub use harness::{Clock, Failure, Fault, Harness, Outcome};
