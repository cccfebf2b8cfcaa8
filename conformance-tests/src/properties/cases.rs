//! Generated cases: from a seed that a failure names, and shrunk if that takes no time.

use std::env;
use std::fmt;
use std::future::Future;

use futures_util::FutureExt;
use futures_util::stream::{StreamExt, iter};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::{Clock, Failure, Harness, Outcome};

/// This many cases run at once: few enough that a busy machine finishes the work of all in one
/// tick.
const AT_ONCE: usize = 16;

/// The maximum number of simpler cases that are tried for a failed one.
const SHRINK_STEPS: usize = 200;

/// Runs a law on this many cases, and reports one that breaks it.
///
/// Takes a function that creates the strategy, because a value of proptest cannot be held across an
/// await in a test that may move to another thread.
pub(super) async fn check<S, F>(
    h: &dyn Harness,
    cases: u64,
    strategy: impl Fn() -> S,
    law: impl Fn(S::Value) -> F,
) -> Outcome
where
    S: Strategy,
    F: Future<Output = Outcome>,
{
    let first = variable("PYMQ_TEST_SEED")?.unwrap_or(2_026);
    let cases = variable("PYMQ_TEST_CASES")?.unwrap_or(cases);
    let laws = (first..first + cases).map(|seed| {
        let value = case(&strategy, seed, &[]).expect("the first case has no tries behind it");
        law(value).map(move |outcome| (seed, outcome))
    });
    let mut outcomes = iter(laws).buffer_unordered(AT_ONCE);
    while let Some((seed, outcome)) = outcomes.next().await {
        let Err(failure) = outcome else { continue };
        let fault = Fault {
            failure,
            case: format!("{:?}", case(&strategy, seed, &[])),
        };
        let Fault { failure, case } = match h.clock() {
            Clock::Paused => shrunk(fault, seed, &strategy, &law).await,
            Clock::Real => fault,
        };
        let text = format!("PYMQ_TEST_SEED={seed}: {failure}\nin the case {case}");
        return Err(Broken(text).into());
    }
    Ok(())
}

/// A broken law, printed over several lines also with `{:?}`.
struct Broken(String);

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

/// How a case failed.
struct Fault {
    failure: Failure,
    case: String,
}

fn variable(name: &str) -> Outcome<Option<u64>> {
    match env::var(name) {
        Ok(number) => Ok(Some(number.parse()?)),
        Err(_) => Ok(None),
    }
}

/// Returns the case of a seed, or the one to try after this many tries, some of which failed.
/// Returns `None` when there are no more.
fn case<S: Strategy>(strategy: impl Fn() -> S, seed: u64, tries: &[bool]) -> Option<S::Value> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut tree = strategy()
        .new_tree(&mut runner)
        .expect("no strategy of ours rejects a case");
    for has_failed in tries {
        let has_moved = if *has_failed {
            tree.simplify()
        } else {
            tree.complicate()
        };
        if !has_moved {
            return None;
        }
    }
    Some(tree.current())
}

/// Looks for the simplest case that still fails.
async fn shrunk<S: Strategy, F: Future<Output = Outcome>>(
    mut simplest: Fault,
    seed: u64,
    strategy: impl Fn() -> S,
    law: impl Fn(S::Value) -> F,
) -> Fault {
    let mut tries = vec![true];
    while tries.len() < SHRINK_STEPS {
        let Some(value) = case(&strategy, seed, &tries) else {
            break;
        };
        let case = format!("{value:?}");
        let outcome = law(value).await;
        tries.push(outcome.is_err());
        if let Err(failure) = outcome {
            simplest = Fault { failure, case };
        }
    }
    simplest
}
