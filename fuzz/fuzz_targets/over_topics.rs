//! The frames of remote calls over topics and queues: nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|note: &str| pymq_rpc_over_topics::open_frames(note));
