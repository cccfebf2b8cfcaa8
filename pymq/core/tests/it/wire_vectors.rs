//! Our reader reads every payload that was captured from Python PyMQ. Our writer writes the same
//! bytes for every value that it can express.

mod events;
mod rpc;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pymq_core::codec::{Decode, encode_event};
use pymq_core::{ErrorKind, Event, Message};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The fields of an entry of the vector file that the codec needs.
#[derive(Deserialize)]
struct Vector {
    name: String,
    direction: String,
    operation: String,
    /// `None` if Python refuses to encode the value.
    payload: Option<String>,
    /// Raw, because a plain value would round wide integers.
    expected_decoded_json: Box<RawValue>,
    strict_json: Option<bool>,
}

fn vectors() -> Vec<Vector> {
    let file = include_str!("../../../../conformance-tests/data/wire-vectors.json");
    serde_json::from_str(file).expect("the vector file has this shape")
}

/// Integers beyond 64 bits. A type that accepts any value would round them.
const WIDE: [(&str, u128); 2] = [
    ("queue_int_beyond_u64", 18_446_744_073_709_551_616),
    (
        "queue_int_30_digits",
        1_000_000_000_000_000_000_000_000_000_000,
    ),
];

/// Strict JSON with a number that Python reads as infinity.
const OVERFLOW: &str = "accept_float_overflow";

#[test]
fn every_payload_is_read_or_refused_with_its_bytes() {
    let mut read = 0;
    for Vector {
        name,
        operation,
        payload,
        expected_decoded_json,
        strict_json,
        ..
    } in vectors()
    {
        let Some(payload) = payload else { continue };
        let message = Message::json(payload.clone());
        let value = Value::decode(&message);

        let wide = WIDE.iter().find(|(wide, _)| *wide == name);
        if let Some((_, wide)) = wide {
            assert_eq!(u128::decode(&message).unwrap(), *wide, "{name}");
        }
        if wide.is_some() || strict_json == Some(false) || name == OVERFLOW {
            let error = value.expect_err(&name);
            assert_eq!(
                (error.kind(), error.payload()),
                (ErrorKind::Codec, Some(&Bytes::from(payload))),
                "{name}"
            );
            continue;
        }
        let fields: &[&str] = match operation.as_str() {
            "rpc.request" => &["fn", "response_channel", "args", "kwargs"],
            "rpc.response" => &["fn", "result", "result_type", "error"],
            _ => &[],
        };
        let expected: Value = serde_json::from_str(expected_decoded_json.get()).unwrap();
        let expected = match fields {
            [] => expected,
            fields => fields.iter().map(|field| expected[field].clone()).collect(),
        };
        assert_eq!(value.unwrap(), expected, "{name}");
        read += 1;
    }
    assert_eq!(
        read, 171,
        "strict payloads without the wide ones and the overflow"
    );
}

#[test]
fn every_payload_that_can_be_said_is_written_byte_for_byte() {
    let said: Vec<_> = [
        values::said(),
        events::said(),
        rpc::requests(),
        rpc::results(),
        rpc::failures(),
    ]
    .concat();
    let payloads: BTreeMap<String, Option<String>> = vectors()
        .into_iter()
        .filter(|vector| vector.direction == "python_to_wire")
        .map(|vector| (vector.name, vector.payload))
        .collect();

    for (name, message) in &said {
        let payload = payloads
            .get(*name)
            .unwrap_or_else(|| panic!("no vector {name}"));
        assert_eq!(
            Some(&message.body),
            payload.clone().map(Bytes::from).as_ref(),
            "{name}"
        );
    }
    let named: Vec<&str> = said.iter().map(|(name, _)| *name).chain(unsaid()).collect();
    assert_eq!(
        named.len(),
        named.iter().collect::<BTreeSet<_>>().len(),
        "a name stands twice"
    );
    let missing: Vec<_> = payloads
        .keys()
        .filter(|name| !named.contains(&name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "neither said nor listed as unsaid: {missing:?}"
    );
    assert_eq!(named.len(), payloads.len(), "a name is in no vector");
}

/// Payloads that Python sends and we do not, and the reasons.
fn unsaid() -> impl Iterator<Item = &'static str> {
    const UNSAID: [(&str, &[&str]); 4] = [
        (
            "Python cannot say it either",
            &[
                "queue_bytes",
                "queue_bytearray",
                "queue_frozenset",
                "queue_dict_of_objects",
                "queue_dict_of_sets",
                "queue_list_scalar_then_object",
                "queue_dict_tuple_key",
            ],
        ),
        (
            "JSON has no such number, a Rust string no such character",
            &[
                "queue_float_nan",
                "queue_float_inf",
                "queue_float_neg_inf",
                "queue_str_lone_surrogate",
                "rpc_response_result_nan",
            ],
        ),
        (
            "the list form fails in Python on mixed elements; we send the bare array",
            &[
                "queue_list_none_only",
                "queue_list_none_first",
                "queue_list_dicts",
                "queue_list_tuples",
                "queue_list_sets",
                "queue_list_objects",
                "queue_list_namedtuples",
                "queue_list_dict_then_int",
            ],
        ),
        (
            "Python itself reads a bare map with a reserved key as another value; we add an envelope",
            &[
                "queue_dict_key_type",
                "queue_dict_key_obj",
                "queue_dict_key_list",
            ],
        ),
    ];
    UNSAID.iter().flat_map(|(_, names)| names.iter().copied())
}

type Said = Vec<(&'static str, Message)>;

#[derive(Serialize)]
struct Point {
    x: i64,
    y: i64,
}
pymq_core::event!(Point, class = "oracle_types.Point");

#[derive(Serialize)]
struct Pair(&'static str, i64);
pymq_core::event!(Pair, class = "oracle_types.Pair");

fn event(event: &impl Event) -> Message {
    encode_event(event).expect("this is plain data")
}
