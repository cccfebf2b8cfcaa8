//! Runs every decoder on any payload. Nothing panics, memory stays bounded, and every decoded
//! message is encoded again as a payload that Python can read. For tests and for the fuzzer.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is the sign of a broken promise"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use pymq_core::codec::Decode;
use pymq_core::codec::json::{Object, is_readable_payload};
use pymq_core::provider::Reply;
use pymq_core::{Message, Params, Raw, RemoteError};
use serde::Deserialize;
use serde_json::Value;

use crate::connection::read_replies;
use crate::queues;
use crate::rpc::envelope::{
    read_request, read_response, request_frame, write_request, write_response,
};
use crate::wire::{Extra, decode_with, encode_with};

#[derive(Deserialize)]
struct Placed {
    #[expect(dead_code, reason = "it is never read")]
    order: u64,
    #[expect(dead_code, reason = "it is never read")]
    note: Option<String>,
}

/// Reads bytes as the answers of a server, whole and in two pieces. Panics if the values differ.
pub fn decode_replies(bytes: &[u8]) {
    let whole = read_replies(&[bytes]);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(whole, read_replies(&[first, second]), "{bytes:?}");
}

/// Decodes a payload in every way. Panics if a decoder breaks a promise.
pub fn decode_all(payload: &[u8]) {
    let payload = &Bytes::copy_from_slice(payload);
    drop(queues::read_receipt(payload));
    drop(queues::read_dead_letter(payload));
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

/// Returns payloads that this crate writes, for a test that changes them.
pub fn samples() -> Vec<Vec<u8>> {
    let extra = Extra {
        begin_by: Some(7),
        attempt: 3,
        timeout: Some(Duration::from_secs(1)),
        claim: Some("__rpc_x#1".to_owned()),
        is_opaque: false,
        is_only: true,
        server: Some("1".to_owned()),
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
    let response = write_response("\"f#1\"", failure, Some("1"));
    framed
        .into_iter()
        .chain([request])
        .chain([response.to_vec()])
        .collect()
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
        None,
    );
    assert!(
        str::from_utf8(&answer).is_ok_and(is_readable_payload),
        "{payload:?}"
    );
}
