//! What a behavior runs on: handles on one backend, in a namespace of its own.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{Provider, QueueStats};
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::twist::{Twist, twisted};

/// Why a behavior failed, or could not run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The result of a behavior. It fails by an error or by a failed assertion.
pub type Outcome<T = ()> = Result<T, Failure>;

/// One backend, new for each test.
#[async_trait]
pub trait Harness: fmt::Debug + Send + Sync {
    /// Opens another handle on the same backend and namespace, as another process does.
    async fn connect(&self) -> pymq_core::Result<Arc<dyn Provider>>;

    /// Opens a handle on the same backend in another namespace.
    async fn connect_elsewhere(&self) -> pymq_core::Result<Arc<dyn Provider>>;

    /// Tries to open a handle under a fault. Returns `None` if this fault is not possible, for
    /// example if there is no server. Behaviors then demand that the provider does not declare
    /// itself shared.
    async fn connect_despite(&self, fault: Fault) -> Option<pymq_core::Result<Arc<dyn Provider>>> {
        let _ = fault;
        None
    }

    /// Tells how time passes on this backend.
    fn clock(&self) -> Clock {
        Clock::Real
    }

    /// Cuts every connection to the backend, once. Returns false if there is nothing to cut.
    async fn disrupt(&self) -> bool {
        false
    }

    /// Lists what the backend still holds for this namespace, so that a test can assert that
    /// nothing leaks.
    async fn leftovers(&self) -> Vec<String>;

    /// Returns how long a queue has to be unchanged until it is counted exactly. Used only if
    /// [`exact_stats`](pymq_core::provider::Capabilities::exact_stats) is not declared.
    fn rest(&self) -> Duration {
        Duration::from_millis(10)
    }

    /// Waits for [`rest`](Self::rest) before each count if the provider does not count exactly. So
    /// the behaviors demand that the counts become exact, and need not handle the time in which
    /// they are not.
    fn at_rest(self) -> Wrapped<Self>
    where
        Self: Sized,
    {
        let rest = self.rest();
        Wrapped::new(
            self,
            Box::new(move |provider| counted_after(rest, provider)),
        )
    }
}

/// How time passes on a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clock {
    /// Tokio's paused clock: a sleep takes no time, and times are exact.
    Paused,
    /// The wall clock of another process.
    Real,
}

/// Runs a test on a runtime of its own: one thread with a paused clock, or two threads with a real
/// one.
///
/// # Errors
///
/// Those of the test.
pub fn run(clock: Clock, test: impl Future<Output = Outcome>) -> Outcome {
    let mut builder = match clock {
        Clock::Paused => Builder::new_current_thread(),
        Clock::Real => Builder::new_multi_thread(),
    };
    if clock == Clock::Paused {
        builder.start_paused(true);
    }
    builder
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(test)
}

/// What can be wrong with a server at a connect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// No server listens at the address.
    Down,
    /// A server accepts the connection and never answers.
    Mute,
    /// The server requires a password and gets none.
    NoPassword,
    /// The server requires another password than [`WRONG_PASSWORD`].
    WrongPassword,
    /// The user may connect and has no other right.
    NoRights,
}

/// The password for [`Fault::WrongPassword`]. No error may show it.
pub const WRONG_PASSWORD: &str = "hunter2";

/// Puts a decorator around the provider that a harness opens.
pub type Wrap = Box<dyn Fn(Arc<dyn Provider>) -> Arc<dyn Provider> + Send + Sync>;

/// A harness that wraps all its providers: in a decorator to be tested, or in a mutant to be
/// caught.
pub struct Wrapped<H> {
    harness: H,
    wrap: Wrap,
}

/// Returns the provider itself if it counts exactly, and otherwise one that waits before it counts.
fn counted_after(rest: Duration, provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
    if provider.capabilities().exact_stats {
        return provider;
    }
    twisted(provider, CountedAfter(rest))
}

#[derive(Debug)]
struct CountedAfter(Duration);

#[async_trait]
impl Twist for CountedAfter {
    async fn queue_stats(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
    ) -> pymq_core::Result<QueueStats> {
        sleep(self.0).await;
        inner.queue_stats(queue).await
    }
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

    fn rest(&self) -> Duration {
        self.harness.rest()
    }
}

impl<H: fmt::Debug> fmt::Debug for Wrapped<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapped")
            .field("harness", &self.harness)
            .finish_non_exhaustive()
    }
}
