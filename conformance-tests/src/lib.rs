//! The behaviors that every provider of pymq must show, as tests for yours.
//!
//! # To test a provider
//!
//! ```toml
//! [dev-dependencies]
//! async-trait = "0.1"
//! pymq-conformance = "0.1"
//! ```
//!
//! The whole of `tests/suite.rs` is a [`Harness`] and one macro call:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use pymq_conformance::{Failure, Harness};
//! use pymq_core::Result;
//! use pymq_core::provider::Provider;
//! # use pymq_conformance::toy::Hub as Backend;
//!
//! #[derive(Debug, Default)]
//! struct MyHarness {
//!     here: Backend,
//!     elsewhere: Backend,
//! }
//!
//! impl MyHarness {
//!     /// Each test has a backend, or a namespace, that no other test sees.
//!     async fn open(_test: &str) -> Result<Self, Failure> {
//!         Ok(Self::default())
//!     }
//! }
//!
//! #[async_trait]
//! impl Harness for MyHarness {
//!     async fn connect(&self) -> Result<Arc<dyn Provider>> {
//!         Ok(self.here.connect())
//!     }
//!
//!     async fn connect_elsewhere(&self) -> Result<Arc<dyn Provider>> {
//!         Ok(self.elsewhere.connect())
//!     }
//!
//!     async fn leftovers(&self) -> Vec<String> {
//!         [self.here.leftovers(), self.elsewhere.leftovers()].concat()
//!     }
//! }
//!
//! // The list names what the provider declares of `patterns`, `leases` and `delays`.
//! pymq_conformance::suite!(MyHarness::open, []);
//! # fn main() {}
//! ```
//!
//! Each behavior is a test of its own. Each group is a module:
//!
//! ```text
//! cargo test --test suite                                    # all of them
//! cargo test --test suite topics::                           # one group
//! cargo test --test suite topics::subscribe_is_a_barrier     # one behavior
//! ```
//!
//! On two cores, a full run takes about a second on the memory provider, which has a paused clock,
//! and about a minute and a half on Redis.
//!
//! # To answer a failure
//!
//! Each behavior is one public function here, such as [`topics::subscribe_is_a_barrier`]. Its
//! summary says what it demands, and its body is the shortest program that shows it. What a
//! provider does not declare in its [`Capabilities`](pymq_core::provider::Capabilities) is not
//! demanded. The behavior then demands what still holds, as the field of the capability says.
//! [`table`] is the one list of all behaviors. [`toy`] is a provider to compare with: it has
//! topics, and queues with leases.
//!
//! # Features
//!
//! The suite itself needs none, and depends on no provider.
//!
//! | feature | what it brings |
//! |---|---|
//! | `memory` | the harness of the memory provider |
//! | `redis` | the harness of the Redis provider, and servers for it |
//! | `python` | a process with Python PyMQ as the peer |
//! | `faults` | the faults: processes are killed, servers restart, networks fail |
//! | `tls` | the faults try TLS as well |
#![expect(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "a behavior fails by either"
)]

#[cfg(feature = "faults")]
pub mod faults;
pub mod harness;
#[cfg(feature = "redis")]
pub mod hostile;
pub mod jobs;
#[cfg(feature = "memory")]
pub mod memory;
pub mod moment;
pub mod mutants;
pub mod proxy;
#[cfg(feature = "python")]
pub mod python;
#[cfg(feature = "redis")]
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

pub use harness::{Clock, Failure, Fault, Harness, Outcome, run};
