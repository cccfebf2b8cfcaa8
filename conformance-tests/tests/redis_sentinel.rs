//! The suite on the Redis provider behind Redis Sentinel.

use pymq_conformance::redis::RedisHarness;

pymq_conformance::suite!(RedisHarness::open_with_sentinel, [patterns, leases, delays]);
