//! The suite on the Redis provider on a Redis Cluster of three masters with a replica each.

use pymq_conformance::redis::RedisHarness;

pymq_conformance::suite!(RedisHarness::open_with_cluster, [patterns, leases, delays]);
