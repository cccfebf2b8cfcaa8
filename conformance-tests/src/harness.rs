//! What a behaviour is run against: handles on one backend, in a namespace of the test's own.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::Provider;

/// Why a behaviour failed, or could not be run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a behaviour returns; it fails by an error or by a failed assertion.
pub type Outcome<T = ()> = Result<T, Failure>;

/// One backend, fresh for each test.
#[async_trait]
pub trait Harness: fmt::Debug + Send + Sync {
    /// Opens another handle on the same backend and namespace, as another process would.
    async fn connect(&self) -> pymq_core::Result<Arc<dyn Provider>>;

    /// Opens a handle on the same backend in another namespace.
    async fn connect_elsewhere(&self) -> pymq_core::Result<Arc<dyn Provider>>;

    /// Tries to open a handle where something is wrong. Answers none where that cannot go wrong, as when there is no
    /// server; behaviours then demand that the provider does not call itself shared.
    async fn connect_despite(&self, fault: Fault) -> Option<pymq_core::Result<Arc<dyn Provider>>> {
        let _ = fault;
        None
    }

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

/// What can be wrong with a server when one connects to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Nobody listens at the address.
    Down,
    /// Somebody listens and never says a word.
    Mute,
    /// The server wants a password and gets none.
    NoPassword,
    /// The server wants another password than [`WRONG_PASSWORD`].
    WrongPassword,
    /// The user may connect and do nothing else.
    NoRights,
}

/// What is given as the password for [`Fault::WrongPassword`]; no error may ever show it.
pub const WRONG_PASSWORD: &str = "hunter2";

/// Puts something between a behaviour and the provider a harness opens.
pub type Wrap = Box<dyn Fn(Arc<dyn Provider>) -> Arc<dyn Provider> + Send + Sync>;

/// A harness whose providers are all wrapped: by a decorator to be tested, or by a mutant to be caught.
pub struct Wrapped<H> {
    harness: H,
    wrap: Wrap,
}

impl<H: Harness> Wrapped<H> {
    /// Wraps every provider that the harness opens.
    pub fn new(harness: H, wrap: Wrap) -> Self {
        Self { harness, wrap }
    }
}

#[async_trait]
impl<H: Harness> Harness for Wrapped<H> {
    async fn connect(&self) -> pymq_core::Result<Arc<dyn Provider>> {
        self.harness.connect().await.map(&self.wrap)
    }

    async fn connect_elsewhere(&self) -> pymq_core::Result<Arc<dyn Provider>> {
        self.harness.connect_elsewhere().await.map(&self.wrap)
    }

    async fn connect_despite(&self, fault: Fault) -> Option<pymq_core::Result<Arc<dyn Provider>>> {
        Some(self.harness.connect_despite(fault).await?.map(&self.wrap))
    }

    fn clock(&self) -> Clock {
        self.harness.clock()
    }

    async fn disrupt(&self) -> bool {
        self.harness.disrupt().await
    }

    async fn leftovers(&self) -> Vec<String> {
        self.harness.leftovers().await
    }
}

impl<H: fmt::Debug> fmt::Debug for Wrapped<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapped")
            .field("harness", &self.harness)
            .finish_non_exhaustive()
    }
}
