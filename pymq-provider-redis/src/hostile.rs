//! Every decoder on payloads nobody should send: nothing panics, nothing grows past what came, and whatever came goes out
//! again as something Python can read.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use conformance_tests::hostile::Payloads;
use pymq::codec::Decode;
use pymq::provider::Reply;
use pymq::{Message, Params, Raw, RemoteError};
use serde::Deserialize;
use serde_json::Value;

use crate::rpc::envelope::{
    read_request, read_response, request_frame, write_request, write_response,
};
use crate::wire::{Extra, Object, decode_with, encode_with, is_readable_payload};

/// How many payloads there are, half of them for each of two threads.
const PAYLOADS: u64 = 200_000;

/// By how much the process may grow meanwhile; a payload has a few kilobytes at most.
const GROWTH_IN_KB: u64 = 64 << 10;

#[derive(Deserialize)]
struct Placed {
    #[expect(dead_code, reason = "it is never read")]
    order: u64,
    #[expect(dead_code, reason = "it is never read")]
    note: Option<String>,
}

#[test]
fn two_hundred_thousand_hostile_payloads_harm_no_decoder() {
    let seed = Payloads::seed().unwrap();
    let before = peak_in_kb();

    thread::scope(|scope| {
        for half in [seed, !seed] {
            scope.spawn(move || {
                let mut payloads = Payloads::new(half, ours());
                for _ in 0..PAYLOADS / 2 {
                    decode_all(&payloads.make().into());
                }
            });
        }
    });

    let growth = peak_in_kb() - before;
    assert!(growth < GROWTH_IN_KB, "{growth} kB");
}

/// What our side writes, to be broken as well.
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
    let request = write_request("f", 1, "__rpc_x", &Message::json("[1]"));
    let failure = Reply::Err(RemoteError::new("KeyError", "k"));
    framed
        .into_iter()
        .chain([request.unwrap().into_bytes()])
        .chain([write_response("\"f#1\"", failure).into_bytes()])
        .collect()
}

fn decode_all(payload: &Bytes) {
    let (message, extra) = decode_with(payload.clone());
    assert!(message.size() <= payload.len(), "{payload:?}");
    decode_values(&message);

    // As when it is given back.
    let again = encode_with(
        &message,
        &Extra {
            attempt: 7,
            ..extra.clone()
        },
    );
    assert!(
        str::from_utf8(&again).is_ok_and(is_readable_payload),
        "{payload:?}"
    );
    assert_eq!(
        decode_with(again),
        (
            message,
            Extra {
                attempt: 7,
                ..extra
            }
        ),
        "{payload:?}"
    );

    if let Some(frame) = request_frame(payload) {
        decode_request(payload, &frame);
    }
    if let Some(response) = read_response(payload) {
        match response.reply {
            Reply::Ok { body, .. } => decode_values(&Message::json(body)),
            Reply::Err(error) => drop(error.args::<Vec<Value>>()),
            reply => panic!("{reply:?}"),
        }
    }
}

fn decode_values(message: &Message) {
    drop(Value::decode(message));
    drop(Placed::decode(message));
    drop(<(String, Option<f64>)>::decode(message));
    drop(BTreeMap::<i128, Vec<u8>>::decode(message));
    drop(<()>::decode(message));
    assert_eq!(Raw::decode(message).unwrap().0, message.body);
}

fn decode_request(payload: &Bytes, frame: &Object<'_>) {
    let Some(request) = read_request(payload, frame) else {
        return;
    };
    assert!(request.inbox.starts_with("__rpc_"), "{payload:?}");
    drop(<(Value, Option<u64>)>::from_json(
        "f",
        &request.message.body,
    ));
    let answer = write_response(
        &request.call,
        Reply::Err(RemoteError::new("TypeError", "no")),
    );
    assert!(is_readable_payload(&answer), "{payload:?}");
}

/// Returns the most memory this process has had so far.
fn peak_in_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}
