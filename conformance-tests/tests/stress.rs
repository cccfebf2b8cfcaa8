//! The whole suite several times at once on one runtime: behaviours that hold alone hold in company.
//!
//! `PYMQ_TEST_STRESS` says how many times; on Redis, where time is real, it is once unless that says otherwise.

use std::env;

use conformance_tests::memory::MemoryHarness;
use conformance_tests::redis::RedisHarness;
use conformance_tests::{Failure, Harness, Outcome, table};
use tokio::task::JoinSet;

#[tokio::test(start_paused = true)]
async fn the_suite_holds_in_parallel_on_memory() -> Outcome {
    stress(copies().unwrap_or(3), MemoryHarness::open).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_holds_in_parallel_on_redis() -> Outcome {
    stress(copies().unwrap_or(1), RedisHarness::open).await
}

fn copies() -> Option<usize> {
    env::var("PYMQ_TEST_STRESS").ok()?.parse().ok()
}

/// Runs everything at once, and names all that failed.
async fn stress<H: Harness + 'static>(
    copies: usize,
    open: impl AsyncFn(&'static str) -> Result<H, Failure>,
) -> Outcome {
    let mut running = JoinSet::new();
    for behaviour in (0..copies).flat_map(|_| table::all()) {
        // A test that cuts connections gets a proxy of its own by the name of its group.
        let harness = open(if behaviour.group == "disruption" {
            "disruption::"
        } else {
            behaviour.group
        })
        .await?;
        running.spawn(async move {
            let outcome = tokio::spawn(async move { (behaviour.run)(&harness).await }).await;
            outcome
                .map_err(Failure::from)
                .flatten()
                .map_err(|fault| format!("{behaviour:?}: {fault}"))
        });
    }
    let failed: Vec<String> = running
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n").into())
    }
}
