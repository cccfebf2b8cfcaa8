//! Runs every decoder on hostile payloads. Nothing panics, memory stays bounded, and every decoded
//! message is encoded again as a payload that Python can read.

use std::fs;
use std::thread;
use std::time::Duration;

use pymq_conformance::hostile::Payloads;
use pymq_core::provider::Reply;
use pymq_core::{Message, RemoteError};

use crate::fuzzing::decode_all;
use crate::rpc::envelope::{write_request, write_response};
use crate::wire::{Extra, encode_with};

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
                let mut payloads = Payloads::new(half, ours());
                for _ in 0..PAYLOADS / 2 {
                    decode_all(&payloads.make());
                }
            });
        }
    });

    let growth = peak_in_kb() - before;
    assert!(growth < GROWTH_IN_KB, "{growth} kB");
}

/// Payloads that this crate writes, to be mutated as well.
fn ours() -> Vec<Vec<u8>> {
    let extra = Extra {
        begin_by: Some(7),
        attempt: 3,
        timeout: Some(Duration::from_secs(1)),
        claim: Some("__rpc_x#1".to_owned()),
        is_opaque: false,
    };
    let messages = [
        Message::json("5"),
        Message::json(r#"{"order": 17, "__type": "shop.Placed"}"#),
        Message::json(r#"{"__obj": 5}"#),
        Message::json("{"),
        Message::bytes(&b"\xff\x00"[..]),
    ];
    let framed = messages.map(|message| {
        encode_with(
            &message.with_header("trace", "ä").with_header("b", ""),
            &extra,
        )
        .to_vec()
    });
    let request = write_request("f", 1, "__rpc_x", &Message::json("[1]"), true).unwrap();
    let request = [&request.head()[..], b"7", &request.end_with_claim()].concat();
    let failure = Reply::Err(RemoteError::new("KeyError", "k"));
    framed
        .into_iter()
        .chain([request])
        .chain([write_response("\"f#1\"", failure).into_bytes()])
        .collect()
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
