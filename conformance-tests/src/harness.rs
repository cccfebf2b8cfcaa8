//! What a behaviour is run against: handles on one backend, in a namespace of the test's own.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pymq::provider::Provider;

/// What a behaviour returns; it fails by an error or by a failed assertion.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One backend, fresh for each test.
#[async_trait]
pub trait Harness: fmt::Debug + Send + Sync {
    /// Opens another handle on the same backend and namespace, as another process would.
    async fn connect(&self) -> pymq::Result<Arc<dyn Provider>>;

    /// Opens a handle on the same backend in another namespace.
    async fn connect_elsewhere(&self) -> pymq::Result<Arc<dyn Provider>>;

    /// Tells how time passes on this backend.
    fn clock(&self) -> Clock;

    /// Cuts every connection there is to the backend, once. Answers false where there is nothing to cut.
    async fn disrupt(&self) -> bool {
        false
    }

    /// Lists what the backend still holds for this namespace, to prove that nothing leaks.
    async fn leftovers(&self) -> Vec<String>;
}

/// How time passes on a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clock {
    /// Tokio's paused clock: a sleep takes no time, and timing is exact.
    Paused,
    /// The wall clock of another process.
    Real,
}
