//! Providers broken on purpose. Each names the behaviour that must notice; a suite that does not is the one that fails.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use pymq::provider::Provider;

use crate::harness::{Wrap, Wrapped};
use crate::table::{self, Behaviour};
use crate::twist::{Twist, Twisted};
use crate::{Failure, Harness, Outcome};

/// A fault, and what must catch it.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// What is wrong.
    pub name: &'static str,
    /// Makes the fault for one backend: all handles wrapped by the result share it.
    pub build: fn() -> Wrap,
    /// The group and the name of the behaviour that must fail.
    pub caught_by: (&'static str, &'static str),
}

/// Every mutant there is.
pub const MUTANTS: &[&[Mutant]] = &[];

/// Longer than any behaviour takes, also on a provider that hangs; on a paused clock it costs nothing.
const HANGS: Duration = Duration::from_secs(24 * 3_600);

/// Wraps each handle in a twist made for it.
pub fn twist<T: Twist>(make: impl Fn() -> T + Send + Sync + 'static) -> Wrap {
    Box::new(move |provider: Arc<dyn Provider>| Twisted::new(provider, make()))
}

/// Runs the behaviour that must catch a mutant: it has to pass on the provider as it is, and to fail on the mutant by
/// an error, a panic, or by never ending.
///
/// # Errors
///
/// When either is not so.
pub async fn catch<H: Harness>(
    mutant: Mutant,
    open: impl AsyncFn() -> Result<H, Failure>,
) -> Outcome {
    let (group, name) = mutant.caught_by;
    let behaviour = table::all()
        .into_iter()
        .find(|behaviour| (behaviour.group, behaviour.name) == (group, name))
        .ok_or_else(|| format!("there is no behaviour {group}::{name}"))?;

    survives(behaviour, &open().await?)
        .await
        .map_err(|fault| format!("{behaviour:?} fails unbroken: {fault}"))?;

    let broken = Wrapped::new(open().await?, (mutant.build)());
    match survives(behaviour, &broken).await {
        Err(_) => Ok(()),
        Ok(()) => Err(format!("{behaviour:?} did not notice `{}`", mutant.name).into()),
    }
}

async fn survives(behaviour: Behaviour, harness: &dyn Harness) -> Outcome {
    let run = AssertUnwindSafe((behaviour.run)(harness)).catch_unwind();
    match tokio::time::timeout(HANGS, run).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("it panicked".into()),
        Err(_) => Err("it never ended".into()),
    }
}
