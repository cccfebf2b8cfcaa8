//! The behaviours every pymq provider must show, as a library: one table, one harness trait, one macro.
//!
//! A provider's whole test file is a [`Harness`] and one line:
//!
//! ```text
//! conformance_tests::conformance!(paused, MemoryHarness::open);
//! ```

pub mod harness;
pub mod jobs;
pub mod moment;
pub mod table;
pub mod wait;

pub mod delays;
pub mod leases;
pub mod queues;
pub mod topics;

pub use harness::{Clock, Harness, Outcome};
