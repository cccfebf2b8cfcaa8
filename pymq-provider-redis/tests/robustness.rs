//! Runs every decoder on hostile payloads. Nothing panics, memory stays bounded, and every decoded
//! message is encoded again as a payload that Python can read.
//!
//! It is a binary of its own, because it measures the memory of its process.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::thread;

use pymq_conformance::hostile::Payloads;
use pymq_provider_redis::fuzzing::{decode_all, decode_replies, samples};

/// The number of payloads, half of them for each of two threads.
const PAYLOADS: u64 = 200_000;

/// The most kilobytes that the process may grow. A payload has a few kilobytes.
const GROWTH_IN_KB: u64 = 64 << 10;

#[test]
fn two_hundred_thousand_hostile_payloads_harm_no_decoder() {
    let seed = Payloads::seed().unwrap();
    let before = peak_in_kb();

    thread::scope(|scope| {
        for half in [seed, !seed] {
            scope.spawn(move || {
                let mut payloads = Payloads::new(half, samples());
                for _ in 0..PAYLOADS / 2 {
                    let payload = payloads.make();
                    decode_all(&payload);
                    decode_replies(&payload);
                }
            });
        }
    });

    let growth = peak_in_kb() - before;
    assert!(growth < GROWTH_IN_KB, "{growth} kB");
}

/// Returns the peak memory of this process.
fn peak_in_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}
