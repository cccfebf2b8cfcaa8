//! The suite on the memory provider with its remotes taken away, and `rpc_over_topics` in their place.

use conformance_tests::Failure;
use conformance_tests::harness::Wrapped;
use conformance_tests::memory::MemoryHarness;
use conformance_tests::without::with_remotes_over_topics;

async fn open(test: &str) -> Result<Wrapped<MemoryHarness>, Failure> {
    Ok(Wrapped::new(
        MemoryHarness::open(test).await?,
        Box::new(with_remotes_over_topics),
    ))
}

conformance_tests::conformance!(paused, open, [patterns, leases, delays]);
