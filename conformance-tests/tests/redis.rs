//! The suite on the Redis provider.

use conformance_tests::redis::RedisHarness;

conformance_tests::conformance!(real, RedisHarness::open, [patterns, leases, delays]);
