//! Laws of the codec, on generated values.

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use pymq_core::Message;
use pymq_core::codec::{Decode, Encode, from_json, to_json};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Point, Shape};

/// Any JSON value. Its texts include reserved names, and characters that need an escape.
fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-z_]{0,6}",
        any::<String>(),
        prop::sample::select(vec![
            "__type",
            "__obj",
            "__list",
            "__pymq",
            "\u{7f}",
            "\u{1f600}"
        ])
        .prop_map(str::to_owned),
    ]
    .boxed();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(text.clone(), inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Text that is almost JSON.
const NEARLY_JSON: &str = r#"([\[\]{},: \t]|"(__type|__obj|__list|a|\\u[dD][89c][0-9]{2}|\\.|é)*"?|-?[0-9]{1,45}|\.5|e9|null|true|NaN){0,24}"#;

proptest! {
    #[test]
    fn any_value_comes_back(value in any_value()) {
        let message = value.encode().unwrap();

        prop_assert!(message.body.is_ascii());
        prop_assert_eq!(&Value::decode(&message).unwrap(), &value);
        prop_assert_eq!(from_json::<Value>(&to_json(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn typed_values_come_back(value in any::<(i128, u128, f64, f32, char, String, Option<(bool, Vec<u8>)>)>()) {
        prop_assume!(value.2.is_finite() && value.3.is_finite());

        let back = Decode::decode(&value.encode().unwrap()).unwrap();

        prop_assert_eq!(value, back);
    }

    #[test]
    fn json_without_an_envelope_is_read_as_serde_json_reads_it(value in any_value(), pretty: bool) {
        let json = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();

        prop_assert_eq!(from_json::<Value>(&json.into()).unwrap(), value);
    }

    #[test]
    fn nothing_that_is_read_panics(bytes: Vec<u8>, nearly in NEARLY_JSON) {
        for bytes in [Bytes::from(bytes), Bytes::from(nearly)] {
            let message = Message::json(bytes.clone());
            for refused in [
                Value::decode(&message).err(),
                Point::decode(&message).err(),
                Shape::decode(&message).err(),
                Box::<RawValue>::decode(&message).err(),
                <(Value, Option<i128>)>::decode(&message).err(),
                from_json::<Value>(&bytes).err(),
            ] {
                prop_assert!(refused.is_none_or(|error| error.payload() == Some(&bytes)));
            }
        }
    }
}
