//! The answers of a Redis server.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pymq_provider_redis::fuzzing::decode_replies(data));
