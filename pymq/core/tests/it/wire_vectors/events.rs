//! Values with a Python class.

use std::collections::BTreeMap;

use pymq_core::{Event, IntoReply};
use serde::Serialize;

use super::rpc::response;
use super::{Pair, Point, Said, event};

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
pymq_core::event!(Holder, class = "oracle_types.Holder");

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
pymq_core::event!(Order, class = "oracle_types.Order");

#[derive(Serialize)]
struct Maybe {
    id: u64,
    note: Option<char>,
}
pymq_core::event!(Maybe, class = "oracle_types.Maybe");

#[derive(Serialize)]
pub(super) struct Inner {
    pub(super) v: u8,
}
pymq_core::event!(Inner, class = "oracle_types.Inner");

#[derive(Serialize)]
struct MainEvent {
    n: u8,
}
pymq_core::event!(MainEvent, class = "__main__.MainEvent");

#[derive(Serialize)]
pub(super) struct ValueError<T>(pub(super) Vec<T>);
impl<T: Serialize> Event for ValueError<T> {
    const TOPIC: &'static str = "errors";
    const CLASS: Option<&'static str> = Some("ValueError");
}

#[derive(Serialize)]
struct CodedError(u8, char);
pymq_core::event!(CodedError, class = "oracle_types.CodedError");

#[derive(Serialize)]
struct PointClass(&'static str);
pymq_core::event!(PointClass, class = "oracle_types.Point");

#[derive(Serialize)]
struct Request(&'static str, &'static str, Vec<&'static str>, ());
pymq_core::event!(Request, class = "pymq.core.RpcRequest");

pub(super) fn said() -> Said {
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
    vec![
        ("queue_set_ints", event(&Set(vec![1, 2, 3]))),
        ("queue_set_empty", event(&Set(Vec::<u8>::new()))),
        ("queue_set_str", event(&Set(vec!["a"]))),
        ("queue_object_simple", event(&Point { x: 1, y: 2 })),
        (
            "queue_object_nested_namedtuple",
            event(&Holder {
                payload: ("foo", 42),
            }),
        ),
        ("queue_object_dataclass", event(&order)),
        (
            "queue_object_optional_absent",
            event(&Maybe { id: 1, note: None }),
        ),
        (
            "queue_object_optional_present",
            event(&Maybe {
                id: 1,
                note: Some('x'),
            }),
        ),
        ("queue_object_nested_class", event(&Inner { v: 4 })),
        ("queue_namedtuple", event(&Pair("a", 1))),
        (
            "queue_exception_no_args",
            event(&ValueError(Vec::<u8>::new())),
        ),
        ("queue_exception_custom", event(&CodedError(1, 'm'))),
        (
            "queue_class_object",
            event(&PointClass("oracle_types.Point")),
        ),
        (
            "queue_rpc_request_value",
            event(&Request(
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
        ("publish_object", event(&Point { x: 1, y: 2 })),
        ("publish_namedtuple", event(&Pair("a", 1))),
        ("publish_nested_class", event(&Inner { v: 4 })),
        ("publish_main_class", event(&MainEvent { n: 5 })),
        ("publish_exception_default", event(&ValueError(vec!['x']))),
        (
            "publish_class_object_default",
            event(&PointClass("oracle_types.Point")),
        ),
        ("publish_object_named", event(&Point { x: 1, y: 2 })),
    ]
}
