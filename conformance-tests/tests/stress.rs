//! Behaviours that hold alone hold in company: many at once on one runtime, several times each.
//!
//! `PYMQ_TEST_STRESS` says how many times, 3 unless it is set.

use std::env;
use std::sync::Arc;

use conformance_tests::memory::MemoryHarness;
use conformance_tests::redis::RedisHarness;
use conformance_tests::table::{self, Behaviour};
use conformance_tests::{Failure, Harness, Outcome};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The whole suite, all at once: on a paused clock nobody is late because of another.
#[tokio::test(start_paused = true)]
async fn the_suite_holds_in_parallel_on_memory() -> Outcome {
    stress(table::all(), usize::MAX >> 3, MemoryHarness::open).await
}

/// What has no time of its own, and twice the cores of a small machine at once: where time is real, a larger crowd is
/// late for the deadlines of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timeless_groups_hold_in_parallel_on_redis() -> Outcome {
    let mut behaviours = table::all();
    behaviours.retain(|behaviour| ["topics", "patterns", "messages"].contains(&behaviour.group));
    stress(behaviours, 4, RedisHarness::open).await
}

/// Runs each behaviour several times, so many at once, and names all that failed.
async fn stress<H: Harness + 'static>(
    behaviours: Vec<Behaviour>,
    at_once: usize,
    open: impl AsyncFn(&'static str) -> Result<H, Failure>,
) -> Outcome {
    let copies = env::var("PYMQ_TEST_STRESS").map_or(Ok(3), |copies| copies.parse())?;
    let places = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    for behaviour in behaviours.repeat(copies) {
        let harness = open(behaviour.group).await?;
        let places = Arc::clone(&places);
        running.spawn(async move {
            let _place = places
                .acquire()
                .await
                .map_err(|closed| closed.to_string())?;
            // A task of its own, so that a panic is told like any other failure.
            match tokio::spawn(async move { (behaviour.run)(&harness).await }).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(fault)) => Err(format!("{behaviour:?}: {fault}")),
                Err(panic) => Err(format!("{behaviour:?}: {panic}")),
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
