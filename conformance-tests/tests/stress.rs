//! Behaviors that hold alone also hold together: all at once on one runtime, several times each. On
//! memory only: on a real clock, many behaviors delay each other past their deadlines, which says
//! nothing about the provider.
//!
//! `PYMQ_TEST_STRESS` sets how many times, 3 by default.

use std::env;

use pymq_conformance::memory::MemoryHarness;
use pymq_conformance::table::{self, Behavior};
use pymq_conformance::{Failure, Harness, Outcome};
use tokio::task::JoinSet;

/// The whole suite, all at once. On a paused clock no behavior delays another.
#[tokio::test(start_paused = true)]
async fn the_suite_holds_in_parallel_on_memory() -> Outcome {
    stress(table::all(), MemoryHarness::open).await
}

/// Runs each behavior several times, all at once, and names all that failed.
async fn stress<H: Harness + 'static>(
    behaviors: Vec<Behavior>,
    open: impl AsyncFn(&'static str) -> Result<H, Failure>,
) -> Outcome {
    let copies = env::var("PYMQ_TEST_STRESS").map_or(Ok(3), |copies| copies.parse())?;
    let mut running = JoinSet::new();
    for behavior in behaviors.repeat(copies) {
        let harness = open(behavior.group).await?;
        running.spawn(async move {
            // A task of its own, so that a panic is reported like any other failure.
            match tokio::spawn(async move { (behavior.run)(&harness).await }).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(fault)) => Err(format!("{behavior:?}: {fault}")),
                Err(panic) => Err(format!("{behavior:?}: {panic}")),
            }
        });
    }
    let outcomes = running.join_all().await;
    let failed: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n").into())
    }
}
