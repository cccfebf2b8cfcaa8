use std::time::Duration;

use bytes::Bytes;
use pymq_core::provider::Reply;
use pymq_core::{Message, RemoteError};
use serde_json::{Value, json};

use super::response::read_type_name;
use super::*;
use crate::connection::Command;

/// Payloads that Python PyMQ wrote.
const VECTORS: &str = include_str!("../../../../conformance-tests/data/wire-vectors.json");

fn vectors(operation: &str) -> Vec<Value> {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    vectors
        .into_iter()
        .filter(|vector| vector["operation"] == operation)
        .collect()
}

fn payload(vector: &Value) -> Bytes {
    Bytes::from(vector["payload"].as_str().unwrap().to_owned())
}

fn read(payload: &Bytes) -> Option<Request> {
    read_request(payload, &Object::scan(std::str::from_utf8(payload).ok()?)?)
}

fn failure(type_name: &str, message: &str) -> Reply {
    Reply::Err(RemoteError::new(type_name, message))
}

/// Writes the request of the call `f#9`, joined as `rpc_call.lua` does.
fn published(message: &Message, has_deadline: bool, is_claimed: bool) -> Bytes {
    let request = write_request("f", 9, "__rpc_x", message, has_deadline).unwrap();
    joined(&request, has_deadline, is_claimed)
}

fn joined(request: &RequestParts, has_deadline: bool, is_claimed: bool) -> Bytes {
    let (left, begin_by) = if has_deadline {
        ("2", r#","begin_by":1700000000000"#)
    } else {
        ("", "")
    };
    let end = if is_claimed {
        request.end_with_claim()
    } else {
        request.end()
    };
    [
        &request.head()[..],
        left.as_bytes(),
        begin_by.as_bytes(),
        &end,
    ]
    .concat()
    .into()
}

fn parsed(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

#[test]
fn every_python_request_is_read() {
    let vectors = vectors("rpc.request");
    assert!(vectors.len() > 20);
    for vector in vectors {
        let payload = payload(&vector);
        let expected = &vector["expected_decoded_json"];

        let request = read(&payload).unwrap();

        assert!(request_frame(&payload).is_some());
        assert_eq!(parsed(request.call.as_bytes()), expected["fn"]);
        assert_eq!(request.inbox, expected["response_channel"]);
        assert_eq!(parsed(&request.message.body), expected["args"]);
        assert_eq!(
            (request.refusal, request.timeout, request.claim),
            (None, None, None)
        );
    }
}

#[test]
fn every_python_response_is_read() {
    for vector in vectors("rpc.response") {
        let expected = &vector["expected_decoded_json"];
        let name = vector["payload"]
            .as_str()
            .unwrap()
            .split('"')
            .nth(3)
            .unwrap()
            .to_owned();
        let with_id = payload(&vector).to_vec();
        let with_id = String::from_utf8(with_id)
            .unwrap()
            .replacen(&name, &format!("{name}#17"), 1);

        let response = read_response(&Bytes::from(with_id)).unwrap();

        assert_eq!(response.id, 17);
        match response.reply {
            // NaN is not JSON, and passes unchanged.
            Reply::Ok { body, .. } if expected.is_null() => assert_eq!(body, "NaN"),
            Reply::Ok { body, type_name } => {
                assert_eq!(
                    (parsed(&body), json!(type_name)),
                    (expected["result"].clone(), expected["result_type"].clone())
                );
                assert_eq!(expected["error"], false);
            }
            Reply::Err(error) => {
                assert_eq!(parsed(error.args_json()), expected["result"]);
                assert_eq!(error.type_name(), expected["result_type"]);
                assert_eq!(expected["error"], true);
            }
            reply => panic!("{reply:?}"),
        }
    }
}

#[test]
fn our_requests_are_pythons_byte_for_byte() {
    for vector in vectors("rpc.request") {
        let request = read(&payload(&vector)).unwrap();
        let name = vector["expected_decoded_json"]["fn"].as_str().unwrap();

        let written = write_request(name, 3, &request.inbox, &request.message, false).unwrap();

        let written = String::from_utf8(joined(&written, false, false).into()).unwrap();
        let without_id = written.replacen("#3", "", 1);
        assert_eq!(without_id, vector["payload"].as_str().unwrap());
    }
}

#[test]
fn our_responses_are_pythons_byte_for_byte() {
    for vector in vectors("rpc.response") {
        let text = vector["payload"].as_str().unwrap();
        let frame = Object::scan(text).unwrap();
        let [call, result, type_name, error] = fields(&frame, ["", "", "", ""]).unwrap();
        let type_name = read_type_name(type_name.unwrap());
        let result = Bytes::from(result.unwrap().to_owned());
        let reply = if error == Some("true") {
            Reply::Err(RemoteError::from_wire(type_name, result).unwrap())
        } else {
            Reply::Ok {
                body: result,
                type_name,
            }
        };

        assert_eq!(write_response(call.unwrap(), reply, None), text);
    }
}

#[test]
fn our_own_fields_are_read_back() {
    let message = Message::bytes(vec![0, 255])
        .with_header("trace", "ä")
        .with_header("a", "");

    for (has_deadline, is_claimed) in [(true, true), (true, false), (false, true), (false, false)] {
        let request = read(&published(&message, has_deadline, is_claimed)).unwrap();

        assert_eq!((&*request.call, &*request.inbox), ("\"f#9\"", "__rpc_x"));
        assert_eq!(request.message, message);
        assert_eq!(request.claim.is_some(), is_claimed);
        assert!(request.claim.is_none_or(|claim| claim == "__rpc_x#9"));
        let times = has_deadline.then_some((Duration::from_millis(2), 1_700_000_000_000));
        assert_eq!(request.timeout.zip(request.begin_by), times);
    }
}

#[test]
fn the_parts_of_a_request_join_to_the_same_bytes_as_ever() {
    let plain = Message::json("[1]");
    let with_header = plain.clone().with_header("a", "b");
    let start = r#"{"__obj": ["f#9", "__rpc_x", [1], {}], "__type": "pymq.core.RpcRequest""#;
    let time = r#""timeout":2,"begin_by":1700000000000"#;
    let claim = r#""claim":"__rpc_x#9""#;
    let header = r#""headers":{"a":"b"}"#;

    for (message, has_deadline, is_claimed, end) in [
        (&plain, false, false, "}".to_owned()),
        (&plain, false, true, format!(r#", "__pymq": {{{claim}}}}}"#)),
        (&plain, true, false, format!(r#", "__pymq": {{{time}}}}}"#)),
        (
            &plain,
            true,
            true,
            format!(r#", "__pymq": {{{time},{claim}}}}}"#),
        ),
        (
            &with_header,
            false,
            false,
            format!(r#", "__pymq": {{{header}}}}}"#),
        ),
        (
            &with_header,
            false,
            true,
            format!(r#", "__pymq": {{{header},{claim}}}}}"#),
        ),
        (
            &with_header,
            true,
            false,
            format!(r#", "__pymq": {{{header},{time}}}}}"#),
        ),
        (
            &with_header,
            true,
            true,
            format!(r#", "__pymq": {{{header},{time},{claim}}}}}"#),
        ),
    ] {
        let request = published(message, has_deadline, is_claimed);

        assert_eq!(request, format!("{start}{end}"));
    }
}

#[test]
fn a_request_without_own_fields_can_be_claimed() {
    let text = published(&Message::json("[1]"), false, false);

    let request = read(&published(&Message::json("[1]"), true, true)).unwrap();

    assert!(!text.ends_with(b"}}"));
    assert_eq!(request.claim.as_deref(), Some("__rpc_x#9"));
    assert_eq!(request.message, Message::json("[1]"));
}

#[test]
fn a_quote_in_a_name_does_not_end_it() {
    for name in ["f", "", "\"", "\\", "a\"\"", "größe\n", "\u{7f}", "a#1"] {
        let text = write_request(name, 9, "__rpc_x", &Message::json("[]"), false).unwrap();

        let request = read(&joined(&text, false, false)).unwrap();

        assert_eq!(parsed(request.call.as_bytes()), format!("{name}#9"));
    }
}

#[test]
fn the_object_form_is_read_too() {
    for kwargs in ["", r#", "kwargs": null"#, r#", "kwargs": {}"#] {
        let text = format!(
            r#"{{"fn": "add", "args": [2, 4]{kwargs}, "response_channel": "__rpc_1", "__type": "pymq.RpcRequest"}}"#
        );

        let request = read(&text.clone().into()).unwrap();

        assert!(request_frame(text.as_bytes()).is_some() && request.refusal.is_none());
        assert_eq!(request.message.body, "[2, 4]");
    }
}

#[test]
fn what_cannot_be_run_is_answered_and_what_cannot_be_answered_is_dropped() {
    for args in [
        r#"[1], {"a": 1}"#,
        "null, {}",
        r#""abc", {}"#,
        r#"{"a": 1}, {}"#,
    ] {
        let text =
            format!(r#"{{"__obj": ["f", "__rpc_1", {args}], "__type": "pymq.core.RpcRequest"}}"#);
        assert!(read(&text.into()).unwrap().refusal.is_some(), "{args}");
    }
    for object in [
        r#"["f", "jobs", [], {}]"#,
        r#"["f"]"#,
        r#"["f", 5, [], {}]"#,
        "5",
        r#"[5, "__rpc_1", [], {}]"#,
    ] {
        let text = format!(r#"{{"__obj": {object}, "__type": "pymq.core.RpcRequest"}}"#);
        assert!(read(&text.into()).is_none(), "{object}");
    }
}

#[test]
fn an_untagged_payload_is_an_event() {
    for text in [
        r#"{"__obj": ["f", "__rpc_1", [], {}]}"#,
        r#"{"__obj": ["f", "__rpc_1", [], {}], "__type": "tuple", "x": "pymq.core.RpcRequest"}"#,
        r#""pymq.core.RpcRequest""#,
        r#"{"a": {"__type": "pymq.core.RpcRequest"}}"#,
    ] {
        assert!(request_frame(text.as_bytes()).is_none(), "{text}");
    }
}

#[test]
fn an_answer_names_the_only_server() {
    let server = |call: &str, id: Option<&str>| {
        let reply = Reply::Ok {
            body: "5".into(),
            type_name: "int".into(),
        };
        let response = write_response(call, reply, id);
        read_response(&response).unwrap().server
    };
    let known = |remote: &str| {
        Some(OnlyServer {
            remote: remote.into(),
            id: "0a1".into(),
        })
    };

    assert_eq!(server(r#""f#1""#, Some("0a1")), known("f"));
    assert_eq!(
        server(r#""gr\u00f6\u00dfe#1""#, Some("0a1")),
        known("größe")
    );
    assert_eq!(server(r#""f#1""#, None), None);
    assert_eq!(server(r#""f#1""#, Some("a:b")), None);
}

#[test]
fn a_request_to_one_server_is_read_as_it_was_written() {
    let message = Message::json("[1, 2]").with_header("user", "Ada");
    let time = (Duration::from_millis(1_500), 7_000);
    for time in [Some(time), None] {
        let words = ["PUBLISH".as_bytes(), b"c"];
        let to = ToOne {
            words: &words,
            time,
        };
        let (parts, command) = write_request_to_one("f", 3, "__rpc_x", &message, &to).unwrap();
        let same = write_request("f", 3, "__rpc_x", &message, time.is_some()).unwrap();
        assert_eq!(parts.len(), same.len());
        assert_eq!(
            (parts.head(), parts.end_with_claim()),
            (same.head(), same.end_with_claim())
        );
        let rest = time.map(|_| r#"1500,"begin_by":7000"#).unwrap_or_default();
        let payload = [&parts.head()[..], rest.as_bytes(), &parts.end()].concat();
        let payload = Bytes::from(payload);
        assert_eq!(command, Command::new([words[0], words[1], &payload]));

        let request = read_request(&payload, &request_frame(&payload).unwrap()).unwrap();

        assert_eq!(request.call, "\"f#3\"");
        assert_eq!(request.message, message);
        assert_eq!(request.claim, None);
        assert_eq!(request.timeout.zip(request.begin_by), time);
    }
}

#[test]
fn arguments_of_an_error_that_are_no_array_are_cut() {
    for (args, is_whole) in [
        ("5".to_owned(), true),
        (format!("\"{}\"", "ä".repeat(100_000)), false),
    ] {
        let text = format!(
            r#"{{"__obj": ["f#1", {args}, "TypeError", true], "__type": "pymq.core.RpcResponse"}}"#
        );

        let Some(Response {
            reply: Reply::Err(error),
            ..
        }) = read_response(&text.into())
        else {
            panic!("an error");
        };

        assert!(error.message().len() < 1_100);
        assert_eq!(error.message() == args, is_whole);
    }
}

fn reply(call: &str, message: &str) -> Reply {
    let text = format!(
        r#"{{"__obj": [{call}, ["{message}"], "TypeError", true], "__type": "pymq.core.RpcResponse"}}"#
    );
    read_response(&text.into()).unwrap().reply
}

#[test]
fn the_id_does_not_show_in_pythons_own_message() {
    for (call, message, shown) in [
        (
            r#""f#12""#,
            "f#12 takes 0 positional arguments but 3 were given",
            "f takes 0 positional arguments but 3 were given",
        ),
        (
            r#""gr\u00f6\u00dfe#12""#,
            r"gr\u00f6\u00dfe#12 takes 0 positional arguments but 1 were given",
            "größe takes 0 positional arguments but 1 were given",
        ),
    ] {
        assert_eq!(reply(call, message), failure("TypeError", shown));
    }
}

#[test]
fn a_text_with_the_id_in_it_is_not_changed() {
    for message in ["see f#12", "f#12", "f#12 takes 1 positional argument"] {
        assert_eq!(reply(r#""f#12""#, message), failure("TypeError", message));
    }
}

#[test]
fn a_result_that_python_cannot_read_is_an_error_answer() {
    let deep = "[".repeat(3_000) + &"]".repeat(3_000);
    for body in [&b"\xff"[..], b"", b"[1", deep.as_bytes()] {
        let reply = Reply::Ok {
            body: Bytes::copy_from_slice(body),
            type_name: "list".into(),
        };

        let response = write_response("\"f#1\"", reply, None);

        let reply = read_response(&response).unwrap().reply;
        assert_eq!(
            reply,
            failure("RuntimeError", "the result is no JSON that Python can read")
        );
    }
}
