//! The public codec: a value that is written can be read again, an error contains the refused
//! bytes, and nothing panics.

mod laws;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use pymq_core::codec::{Decode, Encode, MAX_DEPTH, Tagged, encode_event, from_json, to_json};
use pymq_core::{ErrorKind, Event, Message, Raw};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Point {
    x: i64,
    y: Option<f64>,
}
pymq_core::event!(Point, class = "m.Point");

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Empty;
pymq_core::event!(Empty, class = "m.Empty");

#[derive(Debug, Deserialize, PartialEq, Serialize)]
enum Shape {
    Dot,
    Circle(f64),
    Line(i64, i64),
    Rect { w: i64 },
}
pymq_core::event!(Shape, class = "m.Shape");

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Deep(Value);
pymq_core::event!(Deep, class = "m.Deep");

fn text(message: &Message) -> &str {
    str::from_utf8(&message.body).expect("a payload is text")
}

fn written<T: Serialize>(value: T) -> String {
    text(&value.encode().expect("this can be written")).to_owned()
}

fn read<T: DeserializeOwned>(payload: &str) -> Option<T> {
    match T::decode(&Message::json(payload.to_owned())) {
        Ok(value) => Some(value),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Codec);
            assert_eq!(error.payload().map(Bytes::as_ref), Some(payload.as_bytes()));
            None
        }
    }
}

#[test]
fn the_top_level_has_the_form_its_value_asks_for() {
    let null = r#"{"__obj": null, "__type": "NoneType"}"#;
    assert_eq!(written(()), null);
    assert_eq!(written(Empty), null);
    assert_eq!(written(None::<u8>), null);
    assert_eq!(written(Some(())), null);
    assert_eq!(
        written(Some((1, 2))),
        r#"{"__obj": [1, 2], "__type": "tuple"}"#
    );
    assert_eq!(written(Some(5)), "5");
    assert_eq!(written(vec![(1, ())]), "[[1, null]]");
    assert_eq!(
        written(Point { x: 1, y: Some(2.0) }),
        r#"{"x": 1, "y": 2.0}"#
    );
    assert_eq!(written(Shape::Dot), r#""Dot""#);
    assert_eq!(written(Shape::Circle(1.0)), r#"{"Circle": 1.0}"#);
    assert_eq!(written(Shape::Line(1, 2)), r#"{"Line": [1, 2]}"#);
    assert_eq!(written(Shape::Rect { w: 1 }), r#"{"Rect": {"w": 1}}"#);
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Named {
    #[serde(rename = "__list")]
    list: u8,
}
pymq_core::event!(Named, class = "m.Named");

#[test]
fn reserved_names_at_the_top_level_go_into_an_envelope() {
    for reserved in ["__type", "__obj", "__list"] {
        assert_eq!(
            written(vec![reserved]),
            format!(r#"{{"__obj": ["{reserved}"], "__type": "list"}}"#)
        );
        assert_eq!(
            written(BTreeMap::from([(reserved, 1)])),
            format!(r#"{{"__obj": {{"{reserved}": 1}}, "__type": "dict"}}"#)
        );
        for bare in [
            json!(reserved),
            json!([[reserved]]),
            json!({"a": reserved}),
            json!([{reserved: 1}]),
        ] {
            assert!(!written(bare.clone()).contains(r#""__type": ""#), "{bare}");
        }
    }

    assert_eq!(
        written(Named { list: 1 }),
        r#"{"__obj": {"__list": 1}, "__type": "dict"}"#
    );
    let message = encode_event(&Named { list: 1 }).unwrap();
    assert_eq!(
        text(&message),
        r#"{"__obj": {"__list": 1}, "__type": "m.Named"}"#
    );
    assert_eq!(Named::decode(&message).unwrap(), Named { list: 1 });
}

#[test]
fn an_event_is_tagged_with_its_class_and_comes_back() {
    fn check<E: Event + DeserializeOwned + PartialEq + fmt::Debug>(event: &E, payload: &str) {
        let message = encode_event(event).unwrap();
        assert_eq!(text(&message), payload);
        assert_eq!(E::decode(&message).unwrap(), *event);
    }

    check(
        &Point { x: 1, y: None },
        r#"{"x": 1, "y": null, "__type": "m.Point"}"#,
    );
    check(&Empty, r#"{"__type": "m.Empty"}"#);
    check(&Shape::Dot, r#"{"__obj": "Dot", "__type": "m.Shape"}"#);
    check(
        &Shape::Rect { w: 1 },
        r#"{"Rect": {"w": 1}, "__type": "m.Shape"}"#,
    );
}

#[test]
fn a_tagged_list_is_a_list_of_its_class() {
    let points = || [1, 2].map(|x| Point { x, y: None });
    let payload = r#"{"__list": [{"x": 1, "y": null}, {"x": 2, "y": null}], "__type": "m.Point"}"#;
    let lists = [
        Vec::from(points()).encode_tagged(),
        VecDeque::from(points()).encode_tagged(),
        Box::<[Point]>::from(points()).encode_tagged(),
    ];
    for list in lists {
        let message = list.unwrap();
        assert_eq!(text(&message), payload);
        assert_eq!(Vec::<Point>::decode(&message).unwrap(), points());
    }
    let one = points().into_iter().next().unwrap();
    assert_eq!(one.encode_tagged().unwrap(), encode_event(&one).unwrap());

    let shapes = vec![Shape::Dot, Shape::Rect { w: 1 }];
    let message = shapes.encode_tagged().unwrap();
    assert_eq!(
        text(&message),
        r#"{"__list": ["Dot", {"Rect": {"w": 1}}], "__type": "m.Shape"}"#
    );
    assert_eq!(Vec::<Shape>::decode(&message).unwrap(), shapes);

    let none = Vec::<Point>::new();
    assert_eq!(text(&none.encode_tagged().unwrap()), "[]");

    let deep = |depth| vec![Deep(nested(depth))];
    assert!(deep(MAX_DEPTH - 1).encode_tagged().is_ok());
    assert!(deep(MAX_DEPTH).encode_tagged().is_err());
}

#[test]
fn a_tagged_list_of_events_without_a_class_goes_bare() {
    #[derive(Serialize)]
    struct Plain(String);
    pymq_core::event!(Plain);

    let plain = vec![Plain("a".to_owned())];
    assert_eq!(text(&plain.encode_tagged().unwrap()), r#"["a"]"#);
    let reserved = vec![Plain("__type".to_owned())];
    assert_eq!(
        reserved.encode_tagged().unwrap(),
        reserved.encode().unwrap()
    );
}

#[test]
fn numbers_that_json_does_not_have_are_refused_at_any_depth() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(number.encode().unwrap_err().kind(), ErrorKind::Codec);
        assert!(
            vec![Some((1, BTreeMap::from([("a", number)])))]
                .encode()
                .is_err()
        );
        assert!(Shape::Circle(number).encode().is_err());
        assert!(to_json(&[number]).is_err());
        assert!(
            encode_event(&Point {
                x: 1,
                y: Some(number)
            })
            .is_err()
        );
    }
    assert!(f32::NAN.encode().is_err());
    let error = f64::NAN.encode().unwrap_err();
    assert_eq!(error.to_string(), "encode `f64`: invalid data");
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "JSON cannot express the number NaN"
    );
}

/// Creates a value with this number of nested lists and objects, in turn.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, level| match level % 2 {
        0 => json!([inner]),
        _ => json!({ "a": inner }),
    })
}

#[test]
fn what_is_written_is_nested_no_deeper_than_what_is_read() {
    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    enum Either {
        Value(Value),
        Fields { value: Value },
    }
    fn check<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(
        levels: usize,
        make: impl Fn(Value) -> T,
    ) {
        let deepest = make(nested(MAX_DEPTH - levels));
        assert_eq!(T::decode(&deepest.encode().unwrap()).unwrap(), deepest);
        assert_eq!(
            from_json::<T>(&to_json(&deepest).unwrap()).unwrap(),
            deepest
        );

        for more in [1, 2, 500] {
            let deeper = make(nested(MAX_DEPTH - levels + more));
            let error = deeper.encode().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec);
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert_eq!(source, "nested more than 127 levels deep");
            assert!(to_json(&deeper).is_err());
        }
    }

    check(0, |value| value);
    check(0, Some);
    check(1, |value| vec![value]);
    check(1, |value| (value, 1));
    check(1, |value| BTreeMap::from([("__obj".to_owned(), value)]));
    check(1, Either::Value);
    check(2, |value| Either::Fields { value });

    let event = Deep(nested(MAX_DEPTH));
    assert_eq!(Deep::decode(&encode_event(&event).unwrap()).unwrap(), event);
    assert!(encode_event(&Deep(nested(MAX_DEPTH + 1))).is_err());
}

#[test]
fn a_text_that_a_value_brings_along_is_no_way_around_what_is_refused() {
    let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();

    let deepest = vec![raw(&deep(MAX_DEPTH - 1))];
    assert!(Value::decode(&deepest.encode().unwrap()).is_ok());
    for text in [
        &*deep(MAX_DEPTH),
        "340282366920938463463374607431768211456",
        r#"{"a": "\ud800"}"#,
    ] {
        assert!(vec![raw(text)].encode().is_err(), "{text}");
    }
}

#[test]
fn what_no_type_may_read_is_refused() {
    let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
    for payload in [
        "",
        " ",
        "NaN",
        "[1, -Infinity]",
        r#"{"a": {"b": Infinity}}"#,
        r#"{"__obj": NaN}"#,
        r#"{"__obj": 1, "x": NaN}"#,
        "1 2",
        "[1]]",
        "\u{feff}1",
        "[340282366920938463463374607431768211456]",
        r#"{"a": "\ud800"}"#,
        "\"\t\"",
        &deep(128),
        &format!(r#"{{"__obj": {}}}"#, deep(128)),
        &format!(r#"{{"a": {}, "__type": "m.A"}}"#, deep(127)),
    ] {
        assert_eq!(read::<IgnoredAny>(payload).map(drop), None, "{payload}");
        assert_eq!(read::<Value>(payload), None, "{payload}");
    }
    assert_eq!(read::<Value>("1e400"), None);
    assert!(read::<Value>(&deep(127)).is_some());
    assert!(read::<Value>(&format!(r#"{{"__obj": {}}}"#, deep(127))).is_some());

    let latin = Message::json(&b"\"\xe9\""[..]);
    let error = String::decode(&latin).unwrap_err();
    assert_eq!(
        (error.kind(), error.payload()),
        (ErrorKind::Codec, Some(&latin.body))
    );
}

#[derive(Debug, Deserialize, PartialEq)]
struct Account {
    balance: i128,
    #[serde(default)]
    rest: Option<Box<Value>>,
}

#[test]
fn no_integer_is_rounded_unless_a_float_is_asked_for() {
    let wide = "[18446744073709551616]";
    assert_eq!(read::<Vec<u128>>(wide), Some(vec![1 << 64]));
    assert_eq!(read::<Vec<i128>>(wide), Some(vec![1 << 64]));
    assert_eq!(
        read::<Vec<f64>>(wide),
        Some(vec![18_446_744_073_709_551_616.0])
    );
    assert_eq!(read::<Value>(wide), None);
    assert_eq!(read::<Vec<u64>>(wide), None);
    assert_eq!(read::<i64>("-9223372036854775809"), None);
    assert_eq!(
        read::<i128>("-9223372036854775809"),
        Some(i128::from(i64::MIN) - 1)
    );

    let account = Account {
        balance: 10_i128.pow(30),
        rest: Some(Box::new(json!([1.5, u64::MAX]))),
    };
    let payload = format!(
        r#"{{"balance": 1{:030}, "rest": [1.5, 18446744073709551615], "no": {wide}}}"#,
        0
    );
    assert_eq!(read::<Account>(&payload), Some(account));
    assert_eq!(
        read::<Account>(&format!(r#"{{"balance": 1, "rest": {wide}}}"#)),
        None
    );
    assert_eq!(
        read::<Shape>(&format!(r#"{{"Line": [1, {}]}}"#, 1_u128 << 64)),
        None
    );
}

#[test]
fn a_value_is_read_by_the_shape_of_its_target() {
    let point = Some(Point { x: 1, y: Some(2.0) });
    assert_eq!(
        read::<Point>(r#"{"y": 2, "z": [], "x": 1, "__type": "rust::geometry::Point"}"#),
        point
    );
    assert_eq!(
        read::<Point>(r#"{"__type": null, "x": 1, "y": 2.0}"#),
        point
    );
    assert_eq!(
        read::<Point>(r#"{"__obj": [1, 2], "__type": "m.Point"}"#),
        point
    );
    assert_eq!(read::<Point>("[1, 2]"), point);
    assert_eq!(read::<Option<Point>>("null"), Some(None));
    assert_eq!(read::<()>("null"), Some(()));
    assert_eq!(
        read::<()>(r#"{"__obj": null, "__type": "NoneType"}"#),
        Some(())
    );
    assert_eq!(
        read::<HashMap<u8, char>>(r#"{"1": "a"}"#),
        Some(HashMap::from([(1, 'a')]))
    );
    assert_eq!(
        read::<Value>(r#"{"a": {"__type": "x"}}"#),
        Some(json!({"a": {"__type": "x"}}))
    );
}

#[test]
fn keys_that_repeat_are_refused_by_structs_and_the_last_wins_in_maps() {
    let twice = r#"{"x": 1, "x": 2}"#;
    assert_eq!(
        read::<HashMap<String, u8>>(twice),
        Some(HashMap::from([("x".to_owned(), 2)]))
    );
    assert_eq!(read::<Point>(twice), None);
}

#[test]
fn opaque_bytes_and_json_share_a_queue() {
    let written = vec![1, 2].encode().unwrap();
    assert_eq!(Raw::decode(&written).unwrap().0, "[1, 2]");

    let raw = Raw::from("[1, 2]").encode().unwrap();
    assert_eq!(Vec::<u8>::decode(&raw).unwrap(), [1, 2]);

    let raw = Raw::from(&b"\xff\x00"[..]).encode().unwrap();
    assert_eq!(Value::decode(&raw).unwrap_err().payload(), Some(&raw.body));
}

#[test]
fn an_error_names_the_type_and_keeps_the_cause() {
    let error = Vec::<u8>::decode(&Message::json("[1, 300]")).unwrap_err();

    assert_eq!(
        error.to_string(),
        "decode `alloc::vec::Vec<u8>`: invalid data"
    );
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.starts_with("invalid value: integer `300`, expected u8"),
        "{cause}"
    );
}
