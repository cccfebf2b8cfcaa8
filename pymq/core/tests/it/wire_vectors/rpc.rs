//! Requests and responses: the arguments that our callers write, and the replies of our functions.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use pymq_core::provider::Reply;
use pymq_core::{Args, IntoReply, Json, Message, RemoteError};
use serde::Serialize;
use serde_json::value::RawValue;

use super::events::{Inner, ValueError};
use super::{Pair, Point, Said, event};

#[derive(Serialize)]
struct Request<'a>(&'a str, String, &'a RawValue, BTreeMap<u8, u8>);
pymq_core::event!(
    Request<'_>,
    topic = "requests",
    class = "pymq.core.RpcRequest"
);

/// A request as Python sends it.
fn request(function: &str, id: u16, args: &impl Args) -> Message {
    let inbox = format!("__rpc_00000000-0000-4000-8000-000000000{id}");
    let args = args.to_json().expect("this is plain data");
    let args: &RawValue = serde_json::from_slice(&args).expect("arguments are JSON");
    event(&Request(function, inbox, args, BTreeMap::new()))
}

pub(super) fn requests() -> Said {
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

#[derive(Serialize)]
struct Response<'a>(&'a str, &'a RawValue, Cow<'static, str>, bool);
pymq_core::event!(
    Response<'_>,
    topic = "responses",
    class = "pymq.core.RpcResponse"
);

/// A response as Python sends it.
pub(super) fn response(function: &str, reply: Reply) -> Message {
    let (body, type_name, failed) = match reply {
        Reply::Ok { body, type_name } => (body, type_name, false),
        Reply::Err(error) => (
            error.args_json().clone(),
            error.type_name().to_owned().into(),
            true,
        ),
        _ => unreachable!("there are no other replies"),
    };
    let body: &RawValue = serde_json::from_slice(&body).expect("a body is JSON");
    event(&Response(function, body, type_name, failed))
}

pub(super) fn results() -> Said {
    let add = |sum: i64| response("add", sum.into_reply());
    let points = BTreeMap::from([('p', Point { x: 1, y: 2 })]);
    let raised = ValueError(vec!["returned, not raised"]);
    vec![
        ("rpc_response_no_args", response("nothing", ().into_reply())),
        ("rpc_response_positional", add(6)),
        ("rpc_response_default_arg", add(12)),
        ("rpc_response_kwargs_ignored", add(12)),
        ("rpc_response_list_arg", echoed(vec![1, 2])),
        ("rpc_response_dict_arg", echoed(BTreeMap::from([("a", 1)]))),
        ("rpc_response_none_arg", echoed(None::<u8>)),
        ("rpc_response_namedtuple_arg", echoed(Json(("a", 1)))),
        ("rpc_response_tuple_set_args", echoed([1, 2])),
        ("rpc_response_unicode_arg", echoed("☃")),
        (
            "rpc_response_method",
            response("oracle_types.Outer.method", 5.into_reply()),
        ),
        ("rpc_response_result_int", result(6)),
        ("rpc_response_result_float", result(1.5)),
        ("rpc_response_result_bool", result(true)),
        ("rpc_response_result_none", result(())),
        ("rpc_response_result_list", result(vec![1, 2])),
        (
            "rpc_response_result_list_objects",
            result([Point { x: 1, y: 2 }]),
        ),
        ("rpc_response_result_dict_objects", result(points)),
        ("rpc_response_result_tuple", result((1, 'a'))),
        ("rpc_response_result_set", result(BTreeSet::from([1, 2]))),
        ("rpc_response_result_object", result(Point { x: 1, y: 2 })),
        ("rpc_response_result_namedtuple", result(Pair("a", 1))),
        ("rpc_response_result_nested_class", result(Inner { v: 4 })),
        ("rpc_response_result_exception_value", result(raised)),
    ]
}

fn echoed(value: impl IntoReply) -> Message {
    response("echo", value.into_reply())
}

fn result(value: impl IntoReply) -> Message {
    response("result", value.into_reply())
}

pub(super) fn failures() -> Said {
    let no_file = (2, "No such file or directory");
    let zero_arity = "nothing takes 0 positional arguments but 3 were given";
    vec![
        (
            "rpc_response_error_builtin",
            failed("fail", "ValueError", &["oh noes"]),
        ),
        (
            "rpc_response_error_two_args",
            failed("fail", "KeyError", &("k", 2)),
        ),
        (
            "rpc_response_error_custom",
            failed("fail", "oracle_types.CustomError", &["custom"]),
        ),
        (
            "rpc_response_error_coded",
            failed("fail", "oracle_types.CodedError", &(7, "seven")),
        ),
        (
            "rpc_response_error_os",
            failed("fail", "FileNotFoundError", &no_file),
        ),
        (
            "rpc_response_error_object_arg",
            failed("fail", "ValueError", &[Point { x: 1, y: 2 }]),
        ),
        (
            "rpc_response_error_zero_arity",
            failed("nothing", "TypeError", &[zero_arity]),
        ),
    ]
}

fn failed(function: &str, type_name: &str, args: &impl Serialize) -> Message {
    let error = RemoteError::with_args(type_name, args).expect("these are arguments");
    response(function, Err::<(), _>(error).into_reply())
}
