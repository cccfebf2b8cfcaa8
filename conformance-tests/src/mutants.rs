//! Providers broken on purpose. Each names the behaviour that must notice; a suite that does not is the one that fails.

pub mod topics;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use pymq::provider::Provider;

use crate::harness::{Wrap, Wrapped};
use crate::table::Behaviour;
use crate::twist::{Twist, twisted};
use crate::{Failure, Harness, Outcome};

/// A fault, and what must catch it.
#[derive(Clone, Copy)]
pub struct Mutant {
    /// Makes the fault for one backend; all handles wrapped by the result share it.
    pub build: fn() -> Wrap,
    /// What has to fail on it.
    pub caught_by: Behaviour,
}

impl fmt::Debug for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutant")
            .field("caught_by", &self.caught_by)
            .finish_non_exhaustive()
    }
}

/// Emits a named test for each mutant, `mutants!(open)`, on a provider that shows every behaviour. A line reads: the
/// function that builds it, in the module of the group under `mutants`, and the behaviour of that group that catches it.
#[macro_export]
macro_rules! mutants {
    ($open:expr) => {
        $crate::emit_mutants! {
            [$open]
            topics {
                first_subscriber_only => delivers_to_every_subscriber,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! emit_mutants {
    ([$open:expr] $($group:ident { $($mutant:ident => $behaviour:ident,)* })*) => {
        $(mod $group {
            use super::*;
            $(#[tokio::test(start_paused = true)]
            async fn $mutant() -> $crate::Outcome {
                let mutant = $crate::mutants::Mutant {
                    build: $crate::mutants::$group::$mutant,
                    caught_by: $crate::table::Behaviour {
                        group: stringify!($group),
                        name: stringify!($behaviour),
                        run: |harness| Box::pin($crate::$group::$behaviour(harness)),
                    },
                };
                $crate::mutants::catch(mutant, async || $open(stringify!($behaviour)).await).await
            })*
        })*
    };
}

/// Longer than any behaviour takes, also on a provider that hangs; on a paused clock it costs nothing.
const HANGS: Duration = Duration::from_secs(24 * 3_600);

/// Wraps each handle in a twist made for it.
pub fn each<T: Twist>(make: impl Fn() -> T + Send + Sync + 'static) -> Wrap {
    Box::new(move |provider: Arc<dyn Provider>| twisted(provider, make()))
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
    let behaviour = mutant.caught_by;
    run(behaviour, &open().await?)
        .await
        .map_err(|fault| format!("{behaviour:?} fails unbroken: {fault}"))?;

    let broken = Wrapped::new(open().await?, (mutant.build)());
    match run(behaviour, &broken).await {
        Err(_) => Ok(()),
        Ok(()) => Err(format!("{behaviour:?} did not notice").into()),
    }
}

async fn run(behaviour: Behaviour, harness: &dyn Harness) -> Outcome {
    let run = AssertUnwindSafe((behaviour.run)(harness)).catch_unwind();
    match tokio::time::timeout(HANGS, run).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("it panicked".into()),
        Err(_) => Err("it never ended".into()),
    }
}
