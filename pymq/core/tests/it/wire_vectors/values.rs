//! Plain data in a queue or on a topic.

use std::collections::BTreeMap;

use pymq_core::Message;
use pymq_core::codec::Encode;
use serde::Serialize;
use serde_json::json;

use super::{Pair, Point, Said, WIDE};

#[derive(Serialize)]
struct Simple {
    a: u8,
    b: (u8, char, ()),
    c: BTreeMap<char, bool>,
}

pub(super) fn said() -> Said {
    vec![
        ("queue_int_zero", value(0)),
        ("queue_int_negative", value(-7)),
        ("queue_int_i64_max", value(i64::MAX)),
        ("queue_int_u64_max", value(u64::MAX)),
        (WIDE[0].0, value(WIDE[0].1)),
        (WIDE[1].0, value(WIDE[1].1)),
        ("queue_float_simple", value(1.5)),
        ("queue_float_integral", value(1.0)),
        ("queue_float_17_digits", value(0.1 + 0.2)),
        ("queue_float_exp_small", value(1e-7)),
        ("queue_float_exp_boundary", value(1e-5)),
        ("queue_float_before_exp_small", value(1e-4)),
        ("queue_float_max", value(f64::MAX)),
        ("queue_bool_false", value(false)),
        ("queue_str_empty", value("")),
        ("queue_str_non_ascii", value("héllo ☃")),
        ("queue_str_astral", value("😀")),
        (
            "queue_str_controls",
            value("\0\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}"),
        ),
        ("queue_str_punctuation", value("\"\\/<>&'")),
        (
            "queue_str_line_separators",
            value("\u{2028}\u{2029}\u{feff}"),
        ),
        ("queue_str_looks_like_json", value(r#"{"a": 1}"#)),
        ("queue_dict_empty", value(BTreeMap::<u8, u8>::new())),
        (
            "queue_dict_simple",
            value(Simple {
                a: 1,
                b: (1, 'x', ()),
                c: BTreeMap::from([('d', true)]),
            }),
        ),
        (
            "queue_dict_with_tuple",
            value(BTreeMap::from([("t", (1, 2))])),
        ),
        (
            "queue_dict_with_namedtuple",
            value(BTreeMap::from([("p", Pair("a", 1))])),
        ),
        ("queue_list_empty", value(Vec::<u8>::new())),
        ("queue_list_ints", value(vec![1, 2, 3])),
        (
            "queue_list_mixed_scalars",
            value(json!([1, "a", false, 2.5, null])),
        ),
        ("queue_list_scalar_then_tuple", value(json!([1, [2, 3]]))),
        ("queue_list_scalar_then_dict", value(json!([1, {"a": 2}]))),
        ("queue_tuple_empty", value([0; 0])),
        ("queue_tuple_scalars", value(("a", 1))),
        ("queue_tuple_nested", value(((1, 2), (3,)))),
        ("queue_tuple_of_objects", value((Point { x: 1, y: 2 },))),
        ("queue_int_enum", value(1)),
        ("publish_str_default", value("hello")),
        ("publish_int_default", value(5)),
        ("publish_float_default", value(1.5)),
        ("publish_none_default", value(())),
        ("publish_list_default", value([1].as_slice())),
        ("publish_dict_default", value(BTreeMap::from([("a", 1)]))),
        ("publish_str_named", value("hello")),
        ("publish_unicode_channel", value('x')),
        ("publish_empty_channel", value(Some("x"))),
    ]
}

fn value(value: impl Serialize) -> Message {
    value.encode().expect("this is plain data")
}
