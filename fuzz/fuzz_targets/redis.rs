//! Everything that the Redis provider reads: frames, requests, responses, receipts, dead letters.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pymq_provider_redis::fuzzing::decode_all(data));
