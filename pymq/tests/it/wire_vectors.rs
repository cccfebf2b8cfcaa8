//! Every payload captured from Python PyMQ is read, and every one our writer can say is written byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pymq::codec::{Decode, Encode, encode_event};
use pymq::provider::Reply;
use pymq::{Args, ErrorKind, Event, IntoReply, Message, RemoteError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// One entry of the vector file, as far as the codec is concerned.
#[derive(Deserialize)]
struct Vector {
    name: String,
    direction: String,
    operation: String,
    /// None where Python refuses to encode the value.
    payload: Option<String>,
    /// Raw, as a plain value would round its wide integers.
    expected_decoded_json: Box<RawValue>,
    strict_json: Option<bool>,
}

fn vectors() -> Vec<Vector> {
    let file = include_str!("../../../conformance-tests/data/wire-vectors.json");
    serde_json::from_str(file).expect("the vector file has this shape")
}

/// Integers past 64 bits: a type that takes any value would round them.
const WIDE: [(&str, u128); 2] = [
    ("queue_int_beyond_u64", 18_446_744_073_709_551_616),
    (
        "queue_int_30_digits",
        1_000_000_000_000_000_000_000_000_000_000,
    ),
];

/// Strict JSON, but of a number that is infinite to Python.
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
    let said: Vec<_> = [values(), events(), requests(), responses()].concat();
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

/// What Python sends and we do not, and why.
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
            "Python itself reads a bare map with a reserved key as something else; we put it in an envelope",
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

fn value(value: impl Serialize) -> Message {
    value.encode().expect("this is plain data")
}

fn values() -> Said {
    #[derive(Serialize)]
    struct Simple {
        a: u8,
        b: (u8, char, ()),
        c: BTreeMap<char, bool>,
    }

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

#[derive(Serialize)]
struct Point {
    x: i64,
    y: i64,
}
pymq::event!(Point, class = "oracle_types.Point");

#[derive(Serialize)]
struct Pair(&'static str, i64);
pymq::event!(Pair, class = "oracle_types.Pair");

fn event(event: impl Event) -> Message {
    encode_event(&event).expect("this is plain data")
}

fn events() -> Said {
    #[derive(Serialize)]
    struct Set<T>(Vec<T>);
    impl<T: Serialize> Event for Set<T> {
        const TOPIC: &'static str = "sets";
        const CLASS: Option<&'static str> = Some("set");
    }

    #[derive(Serialize)]
    struct Holder {
        payload: (&'static str, i64),
    }
    pymq::event!(Holder, class = "oracle_types.Holder");

    #[derive(Serialize)]
    struct Order {
        id: u64,
        customer: &'static str,
        total: f64,
        lines: Vec<Pair>,
        tags: Vec<&'static str>,
        span: (u8, u8),
        index: BTreeMap<u8, Point>,
        extra: BTreeMap<char, Point>,
    }
    pymq::event!(Order, class = "oracle_types.Order");
    let order = Order {
        id: 1,
        customer: "Zoë",
        total: 9.5,
        lines: vec![Pair("p", 1)],
        tags: vec!["x"],
        span: (1, 2),
        index: BTreeMap::from([(7, Point { x: 1, y: 2 })]),
        extra: BTreeMap::from([('k', Point { x: 0, y: 0 })]),
    };

    #[derive(Serialize)]
    struct Maybe {
        id: u64,
        note: Option<char>,
    }
    pymq::event!(Maybe, class = "oracle_types.Maybe");

    #[derive(Serialize)]
    struct Inner {
        v: u8,
    }
    pymq::event!(Inner, class = "oracle_types.Inner");

    #[derive(Serialize)]
    struct MainEvent {
        n: u8,
    }
    pymq::event!(MainEvent, class = "__main__.MainEvent");

    #[derive(Serialize)]
    struct ValueError<T>(Vec<T>);
    impl<T: Serialize> Event for ValueError<T> {
        const TOPIC: &'static str = "errors";
        const CLASS: Option<&'static str> = Some("ValueError");
    }

    #[derive(Serialize)]
    struct CodedError(u8, char);
    pymq::event!(CodedError, class = "oracle_types.CodedError");

    #[derive(Serialize)]
    struct PointClass(&'static str);
    pymq::event!(PointClass, class = "oracle_types.Point");

    #[derive(Serialize)]
    struct RequestValue(&'static str, &'static str, Vec<&'static str>, ());
    pymq::event!(RequestValue, class = "pymq.core.RpcRequest");

    vec![
        ("queue_set_ints", event(Set(vec![1, 2, 3]))),
        ("queue_set_empty", event(Set(Vec::<u8>::new()))),
        ("queue_set_str", event(Set(vec!["a"]))),
        ("queue_object_simple", event(Point { x: 1, y: 2 })),
        (
            "queue_object_nested_namedtuple",
            event(Holder {
                payload: ("foo", 42),
            }),
        ),
        ("queue_object_dataclass", event(order)),
        (
            "queue_object_optional_absent",
            event(Maybe { id: 1, note: None }),
        ),
        (
            "queue_object_optional_present",
            event(Maybe {
                id: 1,
                note: Some('x'),
            }),
        ),
        ("queue_object_nested_class", event(Inner { v: 4 })),
        ("queue_namedtuple", event(Pair("a", 1))),
        (
            "queue_exception_no_args",
            event(ValueError(Vec::<u8>::new())),
        ),
        ("queue_exception_custom", event(CodedError(1, 'm'))),
        (
            "queue_class_object",
            event(PointClass("oracle_types.Point")),
        ),
        (
            "queue_rpc_request_value",
            event(RequestValue(
                "some_function",
                "callback_queue",
                vec!["simple_arg"],
                (),
            )),
        ),
        (
            "queue_rpc_response_value",
            response("f", Point { x: 1, y: 2 }.into_reply()),
        ),
        ("publish_object", event(Point { x: 1, y: 2 })),
        ("publish_namedtuple", event(Pair("a", 1))),
        ("publish_nested_class", event(Inner { v: 4 })),
        ("publish_main_class", event(MainEvent { n: 5 })),
        ("publish_exception_default", event(ValueError(vec!['x']))),
        (
            "publish_class_object_default",
            event(PointClass("oracle_types.Point")),
        ),
        ("publish_object_named", event(Point { x: 1, y: 2 })),
    ]
}

/// A request as Python sends it, with the arguments that our callers write.
fn request(function: &str, id: u16, args: &impl Args) -> Message {
    #[derive(Serialize)]
    struct Request<'a>(&'a str, String, &'a RawValue, BTreeMap<u8, u8>);
    pymq::event!(
        Request<'_>,
        topic = "requests",
        class = "pymq.core.RpcRequest"
    );

    let inbox = format!("__rpc_00000000-0000-4000-8000-000000000{id}");
    let args = args.to_json().expect("this is plain data");
    let args: &RawValue = serde_json::from_slice(&args).expect("arguments are JSON");
    event(Request(function, inbox, args, BTreeMap::new()))
}

fn requests() -> Said {
    const ONE_TWO: [u8; 2] = [1, 2];
    vec![
        ("rpc_request_no_args", request("nothing", 101, &())),
        ("rpc_request_positional", request("add", 102, &(2, 4))),
        ("rpc_request_list_arg", request("echo", 105, &(vec![1, 2],))),
        (
            "rpc_request_dict_arg",
            request("echo", 106, &(BTreeMap::from([("a", 1)]),)),
        ),
        ("rpc_request_none_arg", request("echo", 107, &(None::<u8>,))),
        (
            "rpc_request_object_arg",
            request("echo", 108, &(Point { x: 1, y: 2 },)),
        ),
        (
            "rpc_request_namedtuple_arg",
            request("echo", 109, &(Pair("a", 1),)),
        ),
        (
            "rpc_request_tuple_set_args",
            request("echo", 110, &(BTreeSet::from(ONE_TWO),)),
        ),
        ("rpc_request_unicode_arg", request("echo", 111, &("☃",))),
        (
            "rpc_request_method",
            request("oracle_types.Outer.method", 112, &(4,)),
        ),
        ("rpc_request_surplus_args", request("add", 113, &(1, 2, 3))),
        ("rpc_request_result_int", request("result", 114, &("int",))),
        (
            "rpc_request_result_float",
            request("result", 115, &("float",)),
        ),
        ("rpc_request_result_str", request("result", 116, &("str",))),
        (
            "rpc_request_result_bool",
            request("result", 117, &("bool",)),
        ),
        (
            "rpc_request_result_list",
            request("result", 119, &("list",)),
        ),
        (
            "rpc_request_result_list_objects",
            request("result", 120, &("list_objects",)),
        ),
        (
            "rpc_request_result_tuple",
            request("result", 123, &("tuple",)),
        ),
        ("rpc_request_result_set", request("result", 124, &("set",))),
        (
            "rpc_request_result_object",
            request("result", 125, &("object",)),
        ),
        (
            "rpc_request_result_namedtuple",
            request("result", 126, &("namedtuple",)),
        ),
        (
            "rpc_request_result_nested_class",
            request("result", 127, &("nested_class",)),
        ),
        ("rpc_request_result_nan", request("result", 128, &("nan",))),
        (
            "rpc_request_result_exception_value",
            request("result", 129, &("exception_value",)),
        ),
        (
            "rpc_request_error_no_args",
            request("fail", 131, &("no_args",)),
        ),
        (
            "rpc_request_error_two_args",
            request("fail", 132, &("two_args",)),
        ),
        (
            "rpc_request_error_custom",
            request("fail", 133, &("custom",)),
        ),
        ("rpc_request_error_coded", request("fail", 134, &("coded",))),
        (
            "rpc_request_error_object_arg",
            request("fail", 136, &("object_arg",)),
        ),
        ("rpc_request_error_missing_arg", request("add", 137, &())),
        (
            "rpc_request_error_zero_arity",
            request("nothing", 138, &(1, 2, 3)),
        ),
        (
            "rpc_request_error_bad_conversion",
            request("add", 139, &("x",)),
        ),
    ]
}

/// A response as Python sends it, with the reply that our functions give.
fn response(function: &str, reply: Reply) -> Message {
    #[derive(Serialize)]
    struct Response<'a>(&'a str, &'a RawValue, String, bool);
    pymq::event!(
        Response<'_>,
        topic = "responses",
        class = "pymq.core.RpcResponse"
    );

    let (body, type_name, failed) = match reply {
        Reply::Ok { body, type_name } => (body, type_name, false),
        Reply::Err(error) => (
            error.args_json().clone(),
            error.type_name().to_owned(),
            true,
        ),
        _ => unreachable!("there are no other replies"),
    };
    let body: &RawValue = serde_json::from_slice(&body).expect("a body is JSON");
    event(Response(function, body, type_name, failed))
}

fn failed(type_name: &str, args: &impl Serialize) -> Message {
    let error = RemoteError::with_args(type_name, args).expect("these are arguments");
    response("fail", Err::<(), _>(error).into_reply())
}

fn responses() -> Said {
    const PY_ZERO: &str = "nothing takes 0 positional arguments but 3 were given";

    #[derive(Serialize)]
    struct Inner {
        v: u8,
    }
    pymq::event!(Inner, class = "oracle_types.Inner");

    #[derive(Serialize)]
    struct ValueError(Vec<&'static str>);
    pymq::event!(ValueError, class = "ValueError");

    let result = |reply: Reply| response("result", reply);
    let points = || vec![Point { x: 1, y: 2 }];
    let zero_arity = RemoteError::new("TypeError", PY_ZERO);
    vec![
        ("rpc_response_no_args", response("nothing", ().into_reply())),
        ("rpc_response_positional", response("add", 6.into_reply())),
        ("rpc_response_default_arg", response("add", 12.into_reply())),
        (
            "rpc_response_kwargs_ignored",
            response("add", 12.into_reply()),
        ),
        (
            "rpc_response_list_arg",
            response("echo", vec![1, 2].into_reply()),
        ),
        (
            "rpc_response_dict_arg",
            response("echo", BTreeMap::from([("a", 1)]).into_reply()),
        ),
        (
            "rpc_response_none_arg",
            response("echo", None::<u8>.into_reply()),
        ),
        (
            "rpc_response_namedtuple_arg",
            response("echo", vec![json!("a"), json!(1)].into_reply()),
        ),
        (
            "rpc_response_tuple_set_args",
            response("echo", [1, 2].into_reply()),
        ),
        (
            "rpc_response_unicode_arg",
            response("echo", "☃".into_reply()),
        ),
        (
            "rpc_response_method",
            response("oracle_types.Outer.method", 5.into_reply()),
        ),
        ("rpc_response_result_int", result(6.into_reply())),
        ("rpc_response_result_float", result(1.5.into_reply())),
        ("rpc_response_result_bool", result(true.into_reply())),
        ("rpc_response_result_none", result(().into_reply())),
        ("rpc_response_result_list", result(vec![1, 2].into_reply())),
        (
            "rpc_response_result_list_objects",
            result(points().into_reply()),
        ),
        (
            "rpc_response_result_dict_objects",
            result(BTreeMap::from([('p', Point { x: 1, y: 2 })]).into_reply()),
        ),
        ("rpc_response_result_tuple", result((1, 'a').into_reply())),
        (
            "rpc_response_result_set",
            result(BTreeSet::from([1, 2]).into_reply()),
        ),
        (
            "rpc_response_result_object",
            result(Point { x: 1, y: 2 }.into_reply()),
        ),
        (
            "rpc_response_result_namedtuple",
            result(Pair("a", 1).into_reply()),
        ),
        (
            "rpc_response_result_nested_class",
            result(Inner { v: 4 }.into_reply()),
        ),
        (
            "rpc_response_result_exception_value",
            result(ValueError(vec!["returned, not raised"]).into_reply()),
        ),
        (
            "rpc_response_error_builtin",
            failed("ValueError", &["oh noes"]),
        ),
        ("rpc_response_error_two_args", failed("KeyError", &("k", 2))),
        (
            "rpc_response_error_custom",
            failed("oracle_types.CustomError", &("custom",)),
        ),
        (
            "rpc_response_error_coded",
            failed("oracle_types.CodedError", &(7, "seven")),
        ),
        (
            "rpc_response_error_os",
            failed("FileNotFoundError", &(2, "No such file or directory")),
        ),
        (
            "rpc_response_error_object_arg",
            failed("ValueError", &points()),
        ),
        (
            "rpc_response_error_zero_arity",
            response("nothing", Err::<(), _>(zero_arity).into_reply()),
        ),
    ]
}
