//! The suite on the Redis provider.

use conformance_tests::Outcome;
use conformance_tests::memory::MemoryHarness;
use conformance_tests::properties::transcripts_are_equal;
use conformance_tests::redis::RedisHarness;

conformance_tests::conformance!(real, RedisHarness::open, [patterns, leases, delays]);

/// What was tested on memory holds on Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_equals_redis() -> Outcome {
    let redis = RedisHarness::open("memory_equals_redis").await?;
    let memory = MemoryHarness::open("memory_equals_redis").await?;

    transcripts_are_equal(&redis, &memory).await
}
