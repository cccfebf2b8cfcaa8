//! The suite without each of the promises about exactness, one at a time. A behavior then demands
//! only what still holds.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use pymq_conformance::toy::ToyHarness;
use pymq_conformance::{Clock, Harness, Outcome, run, table};
use pymq_core::provider::Capabilities;

#[test]
fn without_counted() -> Outcome {
    lacking(|declared| declared.counted = false)
}

#[test]
fn without_exact_stats() -> Outcome {
    lacking(|declared| declared.exact_stats = false)
}

#[test]
fn without_front() -> Outcome {
    lacking(|declared| declared.front = false)
}

#[test]
fn without_fenced() -> Outcome {
    lacking(|declared| declared.fenced = false)
}

#[test]
fn without_atomic_batches() -> Outcome {
    lacking(|declared| declared.atomic_batches = false)
}

/// Runs each behavior on a toy that lacks what `remove` takes away, and names all that failed.
fn lacking(remove: fn(&mut Capabilities)) -> Outcome {
    let mut failed = Vec::new();
    for behavior in table::declared_by(Capabilities::none().with_leases()) {
        let outcome = run(Clock::Paused, async {
            let harness = ToyHarness::lacking(remove).at_rest();
            match AssertUnwindSafe((behavior.run)(&harness))
                .catch_unwind()
                .await
            {
                Ok(outcome) => outcome,
                Err(_) => Err("it panicked".into()),
            }
        });
        failed.extend(outcome.err().map(|error| format!("{behavior:?}: {error}")));
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n").into())
    }
}
