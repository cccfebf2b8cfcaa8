//! Arbitrary values, messages and globs, often with a special meaning for a decoder.

use proptest::num::f64;
use proptest::prelude::*;
use pymq_core::{Encoding, Headers, Message};
use serde_json::Value;

/// Any JSON value, nested, with the reserved keys of the dialect among its names.
pub(super) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e12..1e12_f64).prop_map(Value::from),
        (f64::NORMAL | f64::SUBNORMAL | f64::ZERO).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((name(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A JSON text as Python writes it, or without spaces.
pub(super) fn json_text() -> impl Strategy<Value = String> {
    (json(), any::<bool>()).prop_map(|(value, is_tight)| {
        if is_tight {
            value.to_string()
        } else {
            python(&value)
        }
    })
}

/// Any message.
pub(super) fn any_message() -> impl Strategy<Value = Message> {
    let body = prop_oneof![
        json_text().prop_map(|text| (Encoding::Json, text.into_bytes())),
        proptest::collection::vec(any::<u8>(), 0..64).prop_map(|bytes| (Encoding::Bytes, bytes)),
        // Still opaque.
        json_text().prop_map(|text| (Encoding::Bytes, text.into_bytes())),
    ];
    let headers = proptest::collection::vec((name(), text()), 0..4);
    (body, headers).prop_map(|((encoding, body), headers)| Message {
        headers: headers.into_iter().collect::<Headers>(),
        encoding,
        body: body.into(),
    })
}

/// A Redis glob of few letters, so that it often matches; sometimes a malformed one.
pub(super) fn glob() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => "[ab]",
        2 => Just("*".to_owned()),
        2 => Just("?".to_owned()),
        2 => r"\[\^?(a-b|b-a|a|ab)\]",
        1 => r"\\[*?\[\]a\\]",
        1 => r"[*?\[\]^\\-]{1,3}",
    ];
    proptest::collection::vec(part, 1..5).prop_map(|parts| parts.concat())
}

/// A topic of the same letters.
pub(super) fn topic() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[ab]{1,4}", 1 => r"[ab*?\[\]^\\-]{1,4}"]
}

/// Writes a value as Python's `json` does.
pub(super) fn python(value: &Value) -> String {
    let json = pymq_core::codec::to_json(value).expect("a JSON value is valid JSON");
    String::from_utf8(json.to_vec()).expect("JSON is UTF-8")
}

fn name() -> impl Strategy<Value = String> {
    const RESERVED: &[&str] = &[
        "__obj", "__type", "__list", "__pymq", "enc", "headers", "id",
    ];
    let reserved = proptest::sample::select(RESERVED).prop_map(str::to_owned);
    prop_oneof![2 => "[a-z]{0,3}", 1 => text(), 2 => reserved]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![2 => "[a-z ]{0,8}", 2 => r"\PC{0,8}", 1 => any::<String>(), 1 => Just("base64".to_owned())]
}
