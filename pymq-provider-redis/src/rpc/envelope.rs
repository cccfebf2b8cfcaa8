//! Requests and responses as Python PyMQ writes and reads them. What only our own kind understands (headers, the time
//! left, when the call must begin, the claim) travels in the extra key of [`wire`], which Python ignores. What a frame carries passes
//! untouched, whatever Python writes there: `NaN`, numbers of any length.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use pymq_core::codec::to_json;
use pymq_core::name::{MAX_NAME_BYTES, RESERVED_PREFIX};
use pymq_core::provider::Reply;
use pymq_core::{Encoding, Error, ErrorKind, Message, RemoteError, Result};

use crate::wire::{self, Extra, Object, elements, is_readable};

/// The tag of a request; `pymq.RpcRequest` is the same class for Python.
const REQUEST_TAGS: [&str; 2] = [r#""pymq.core.RpcRequest""#, r#""pymq.RpcRequest""#];

/// Room for what is around a name, an inbox and arguments, or around a result.
const AROUND: usize = 96;

/// Why writing to a `String` cannot fail.
const TAKES_ALL: &str = "a string takes all";

/// A request as a server finds it.
#[derive(Debug)]
pub(crate) struct Request {
    /// The first element as it came, JSON text: the answer begins with it.
    pub(crate) call: String,
    /// Where the answer goes.
    pub(crate) inbox: String,
    pub(crate) message: Message,
    /// The time the caller has left.
    pub(crate) timeout: Option<Duration>,
    /// When it must have begun, in milliseconds of the server's clock.
    pub(crate) begin_by: Option<u64>,
    /// Several servers have it, and the one that claims it under this name runs it.
    pub(crate) claim: Option<String>,
    /// Why it cannot be run; the answer.
    pub(crate) refusal: Option<RemoteError>,
}

/// A response as the caller finds it.
#[derive(Debug, PartialEq)]
pub(crate) struct Response {
    /// The number behind the `#` of the first element.
    pub(crate) id: u64,
    pub(crate) reply: Reply,
}

/// Returns the frame of a payload on a channel if it is a request; anything else is an event.
pub(crate) fn request_frame(payload: &[u8]) -> Option<Object<'_>> {
    let text = std::str::from_utf8(payload).ok()?;
    // The search is quick, and nearly every event ends here.
    if !text.contains("RpcRequest") {
        return None;
    }
    let is_tagged = |frame: &Object<'_>| {
        frame
            .get("__type")
            .is_some_and(|tag| REQUEST_TAGS.contains(&tag))
    };
    Object::scan(text).filter(is_tagged)
}

/// Reads a request from its frame, or nothing when there is no telling whom to answer.
pub(crate) fn read_request(payload: &Bytes, frame: &Object<'_>) -> Option<Request> {
    let (headers, extra) = match frame.get("__pymq") {
        Some(member) => wire::read_extra(member)?,
        None => Default::default(),
    };
    let [call, inbox, args, kwargs] = fields(frame, ["fn", "response_channel", "args", "kwargs"])?;
    let inbox: String = serde_json::from_str(inbox?).ok()?;
    // A name that is none of ours could be anybody's queue: a forged request would push into it and set its end.
    if !inbox.starts_with(RESERVED_PREFIX) || inbox.len() > MAX_NAME_BYTES {
        return None;
    }
    let call = call.filter(|call| call.starts_with('"'))?.to_owned();
    let has_names = |kwargs: &str| {
        kwargs != "null" && !Object::scan(kwargs).is_some_and(|names| names.is_empty())
    };
    let read = match args.and_then(|args| arguments(payload, args, extra.is_opaque)) {
        _ if kwargs.is_some_and(has_names) => Err("keyword arguments are not supported"),
        Some(message) => Ok(Message { headers, ..message }),
        None => Err("the arguments are not an array"),
    };
    let (message, refusal) = match read {
        Ok(message) => (message, None),
        Err(why) => (
            Message::json("[]"),
            Some(RemoteError::new("TypeError", why)),
        ),
    };
    Some(Request {
        call,
        inbox,
        message,
        timeout: extra.timeout,
        begin_by: extra.begin_by,
        claim: extra.claim,
        refusal,
    })
}

/// Writes a request of the call `id`, to be answered in `inbox`. The script that publishes it adds the time left, when
/// it must begin, and the claim.
pub(crate) fn write_request(name: &str, id: u64, inbox: &str, message: &Message) -> Result<String> {
    let is_opaque = message.encoding == Encoding::Bytes;
    let encoded;
    let args = if is_opaque {
        encoded = format!("[\"{}\"]", BASE64_STANDARD.encode(&message.body));
        &encoded
    } else {
        json_array(message)?
    };
    let extra = Extra {
        is_opaque,
        ..Extra::default()
    };
    let end = wire::end_of_frame(&message.headers, &extra);
    let known = name.len() + inbox.len() + args.len() + end.len();
    let mut request = String::with_capacity(known + AROUND);
    request.push_str(r#"{"__obj": ["#);
    push_quoted(&mut request, name);
    // The closing quote comes behind the id.
    request.pop();
    let tag = REQUEST_TAGS[0];
    write!(
        request,
        r#"#{id}", "{inbox}", {args}, {{}}], "__type": {tag}{end}"#
    )
    .expect(TAKES_ALL);
    Ok(request)
}

/// Reads a response, or nothing when it belongs to no call.
pub(crate) fn read_response(payload: &Bytes) -> Option<Response> {
    let frame = Object::scan(std::str::from_utf8(payload).ok()?)?;
    let [call, result, type_name, error] =
        fields(&frame, ["fn", "result", "result_type", "error"])?;
    let (call, result) = (call?, result?);
    // A number in quotes needs no escape, however the name before it is spelled.
    let (name, id) = call.strip_suffix('"')?.rsplit_once('#')?;
    let type_name = type_name.map(name_of_type).unwrap_or_default();
    let reply = if error == Some("true") {
        let args = Bytes::from(without_id(result, name, id));
        Reply::Err(
            RemoteError::from_wire(&*type_name, args.clone())
                .unwrap_or_else(|_| RemoteError::new(&*type_name, beginning(&args))),
        )
    } else {
        Reply::Ok {
            body: payload.slice_ref(result.as_bytes()),
            type_name,
        }
    };
    Some(Response {
        id: id.parse().ok()?,
        reply,
    })
}

/// Returns the text of arguments that are no array, which a reader may have to look at: of a long one the beginning.
fn beginning(args: &[u8]) -> String {
    const ENOUGH: usize = 1_024;
    let text = String::from_utf8_lossy(&args[..args.len().min(ENOUGH)]);
    if args.len() <= ENOUGH {
        return text.into_owned();
    }
    format!("{text}… ({} bytes)", args.len())
}

/// Reads the name of a type: those that most results have without an allocation.
fn name_of_type(json: &str) -> Cow<'static, str> {
    const USUAL: [&str; 9] = [
        "str", "int", "float", "bool", "NoneType", "list", "dict", "tuple", "set",
    ];
    match USUAL.iter().find(|name| **name == json.trim_matches('"')) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(serde_json::from_str(json).unwrap_or_default()),
    }
}

/// Takes the id out of the one message in which Python quotes the name it was called by; no other text is touched.
fn without_id(args: &str, name: &str, id: &str) -> String {
    let quoted = format!("[{name}#{id} takes 0 positional arguments but ");
    match args.strip_prefix(&*quoted) {
        Some(rest) => format!("[{name} takes 0 positional arguments but {rest}"),
        None => args.to_owned(),
    }
}

/// Writes the response to the request that began with `call`.
pub(crate) fn write_response(call: &str, reply: Reply) -> String {
    let (result, type_name, failed) = match reply {
        Reply::Ok { body, type_name } => (body, type_name, false),
        Reply::Err(error) => (
            error.args_json().clone(),
            error.type_name().to_owned().into(),
            true,
        ),
        _ => {
            return write_response(
                call,
                unanswerable("the reply is of a kind this provider does not know"),
            );
        }
    };
    match std::str::from_utf8(&result)
        .ok()
        .filter(|result| is_readable(result))
    {
        Some(result) => {
            let known = call.len() + result.len() + type_name.len();
            let mut response = String::with_capacity(known + AROUND);
            write!(response, r#"{{"__obj": [{call}, {result}, "#).expect(TAKES_ALL);
            push_quoted(&mut response, &type_name);
            write!(
                response,
                r#", {failed}], "__type": "pymq.core.RpcResponse"}}"#
            )
            .expect(TAKES_ALL);
            response
        }
        None => write_response(
            call,
            unanswerable("the result is no JSON that Python can read"),
        ),
    }
}

fn unanswerable(why: &str) -> Reply {
    Reply::Err(RemoteError::new("RuntimeError", why))
}

/// Returns the fields of a frame: the elements of its `__obj`, or the members of these names.
fn fields<'a, const N: usize>(
    frame: &Object<'a>,
    names: [&str; N],
) -> Option<[Option<&'a str>; N]> {
    let Some(object) = frame.get("__obj") else {
        return Some(names.map(|name| frame.get(name)));
    };
    if let Some(elements) = elements(object) {
        return Some(elements);
    }
    let inner = Object::scan(object)?;
    Some(names.map(|name| inner.get(name)))
}

fn arguments(payload: &Bytes, args: &str, is_opaque: bool) -> Option<Message> {
    if is_opaque {
        let encoded: String = serde_json::from_str(elements::<1>(args)?[0]?).ok()?;
        return BASE64_STANDARD.decode(encoded).ok().map(Message::bytes);
    }
    // A value of a frame that has been scanned is whole; its first byte tells what it is.
    let is_array = args.starts_with('[');
    is_array.then(|| Message::json(payload.slice_ref(args.as_bytes())))
}

fn json_array(message: &Message) -> Result<&str> {
    let text = std::str::from_utf8(&message.body).ok();
    text.filter(|text| elements::<0>(text).is_some())
        .ok_or_else(|| {
            Error::new(ErrorKind::Codec, "redis: arguments must be a JSON array")
                .with_payload(message.body.clone())
        })
}

/// Writes a text as JSON.
fn push_quoted(json: &mut String, text: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if text.bytes().all(is_plain) {
        write!(json, "\"{text}\"").expect(TAKES_ALL);
        return;
    }
    let quoted = to_json(text).expect("a string is always valid JSON");
    json.push_str(str::from_utf8(&quoted).expect("JSON is UTF-8"));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What live Python PyMQ wrote.
    const VECTORS: &str = include_str!("../../../conformance-tests/data/wire-vectors.json");

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

    /// Does what the publishing script does for several servers.
    fn claimed(request: &str) -> Bytes {
        let claim = r#""timeout":2,"begin_by":1700000000000,"claim":"__rpc_x#9"}}"#;
        let text = if let Some(start) = request.strip_suffix("}}") {
            format!("{start},{claim}")
        } else {
            let start = request.strip_suffix('}').unwrap();
            format!(r#"{start}, "__pymq": {{{claim}"#)
        };
        text.into()
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
            let with_id =
                String::from_utf8(with_id)
                    .unwrap()
                    .replacen(&name, &format!("{name}#17"), 1);

            let response = read_response(&Bytes::from(with_id)).unwrap();

            assert_eq!(response.id, 17);
            match response.reply {
                // NaN: not JSON, and handed on as it came.
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

            let written = write_request(name, 3, &request.inbox, &request.message).unwrap();

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
            let type_name = name_of_type(type_name.unwrap());
            let result = Bytes::from(result.unwrap().to_owned());
            let reply = if error == Some("true") {
                Reply::Err(RemoteError::from_wire(type_name, result).unwrap())
            } else {
                Reply::Ok {
                    body: result,
                    type_name,
                }
            };

            assert_eq!(write_response(call.unwrap(), reply), text);
        }
    }

    #[test]
    fn what_only_we_know_comes_back() {
        let message = Message::bytes(vec![0, 255])
            .with_header("trace", "ä")
            .with_header("a", "");
        let request = write_request("f", 9, "__rpc_x", &message).unwrap();

        for (payload, claim) in [
            (claimed(&request), Some("__rpc_x#9")),
            (request.into(), None),
        ] {
            let request = read(&payload).unwrap();

            assert_eq!((&*request.call, &*request.inbox), ("\"f#9\"", "__rpc_x"));
            assert_eq!(request.message, message);
            assert_eq!(request.claim.as_deref(), claim);
            let times = claim.map(|_| (Duration::from_millis(2), 1_700_000_000_000));
            assert_eq!(request.timeout.zip(request.begin_by), times);
        }
    }

    #[test]
    fn a_request_that_says_nothing_else_can_be_claimed() {
        let text = write_request("f", 9, "__rpc_x", &Message::json("[1]")).unwrap();

        let request = read(&claimed(&text)).unwrap();

        assert!(!text.ends_with("}}"));
        assert_eq!(request.claim.as_deref(), Some("__rpc_x#9"));
        assert_eq!(request.message, Message::json("[1]"));
    }

    #[test]
    fn a_name_ends_where_it_ends() {
        for name in ["f", "", "\"", "\\", "a\"\"", "größe\n", "\u{7f}", "a#1"] {
            let text = write_request(name, 9, "__rpc_x", &Message::json("[]")).unwrap();

            let request = read(&text.into()).unwrap();

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
            let text = format!(
                r#"{{"__obj": ["f", "__rpc_1", {args}], "__type": "pymq.core.RpcRequest"}}"#
            );
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

            let response = write_response("\"f#1\"", reply);

            let reply = read_response(&response.into()).unwrap().reply;
            assert_eq!(
                reply,
                failure("RuntimeError", "the result is no JSON that Python can read")
            );
        }
    }
}
