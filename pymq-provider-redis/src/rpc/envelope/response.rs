//! Responses as Python PyMQ writes and reads them.

use std::borrow::Cow;

use bytes::Bytes;
use pymq_core::RemoteError;
use pymq_core::codec::json::{OPEN_OBJ, Object, THEN_TYPE, is_readable};
use pymq_core::provider::Reply;

use super::{fields, push_all, push_quoted};
use crate::wire::{self, PYMQ};

/// Room for the text around a result.
const RESPONSE_BYTES: usize = 96;

/// A response as the caller reads it.
#[derive(Debug, PartialEq)]
pub(crate) struct Response {
    /// The number after the `#` of the first element.
    pub(crate) id: u64,
    pub(crate) reply: Reply,
    /// The called name and its only server, if the server was asked for that.
    pub(crate) server: Option<OnlyServer>,
}

/// The server of a remote that has no other one.
#[derive(Debug, PartialEq)]
pub(crate) struct OnlyServer {
    pub(crate) remote: String,
    /// Identifies it, see [`Keys::server`](crate::keys::Keys::server).
    pub(crate) id: String,
}

/// Reads a response. Returns `None` if it belongs to no call.
pub(crate) fn read_response(payload: &Bytes) -> Option<Response> {
    let frame = Object::scan(std::str::from_utf8(payload).ok()?)?;
    let [call, result, type_name, error] =
        fields(&frame, ["fn", "result", "result_type", "error"])?;
    let (call, result) = (call?, result?);
    // The digits at the end have no escapes, even if the name before them has.
    let (name, id) = call.strip_suffix('"')?.rsplit_once('#')?;
    let type_name = type_name.map(read_type_name).unwrap_or_default();
    let server = frame.get(PYMQ).and_then(|member| only_server(member, name));
    let reply = if error == Some("true") {
        let args = Bytes::from(without_id(result, name, id));
        Reply::Err(
            RemoteError::from_wire(&*type_name, args.clone())
                .unwrap_or_else(|_| RemoteError::new(&*type_name, truncated(&args))),
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
        server,
    })
}

/// Reads our member of a response. `name` is the start of the called name as JSON.
fn only_server(member: &str, name: &str) -> Option<OnlyServer> {
    let (_, extra) = wire::read_extra(member)?;
    Some(OnlyServer {
        remote: serde_json::from_str(&format!("{name}\"")).ok()?,
        id: extra.server.filter(|id| is_server_id(id))?,
    })
}

/// Tells whether a text can identify a server: it becomes part of the name of a channel.
fn is_server_id(id: &str) -> bool {
    id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Returns the text of arguments that are not an array, for people to read. A long text is cut.
fn truncated(args: &[u8]) -> String {
    const ENOUGH: usize = 1_024;
    let text = String::from_utf8_lossy(&args[..args.len().min(ENOUGH)]);
    if args.len() <= ENOUGH {
        return text.into_owned();
    }
    format!("{text}… ({} bytes)", args.len())
}

/// Reads the name of a type. Frequent names need no allocation.
pub(super) fn read_type_name(json: &str) -> Cow<'static, str> {
    const USUAL: [&str; 9] = [
        "str", "int", "float", "bool", "NoneType", "list", "dict", "tuple", "set",
    ];
    match USUAL.iter().find(|name| **name == json.trim_matches('"')) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(serde_json::from_str(json).unwrap_or_default()),
    }
}

/// Removes the id from the one message in which Python quotes the called name. Other texts stay.
fn without_id(args: &str, name: &str, id: &str) -> String {
    let quoted = format!("[{name}#{id} takes 0 positional arguments but ");
    match args.strip_prefix(&*quoted) {
        Some(rest) => format!("[{name} takes 0 positional arguments but {rest}"),
        None => args.to_owned(),
    }
}

/// Writes the response to the request that began with `call`. `server` identifies the server, if
/// the caller may send it the next requests directly.
pub(crate) fn write_response(call: &str, reply: Reply, server: Option<&str>) -> Bytes {
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
                unanswerable("the kind of the reply is unknown to this provider"),
                server,
            );
        }
    };
    match std::str::from_utf8(&result)
        .ok()
        .filter(|result| is_readable(result))
    {
        Some(result) => {
            let known = call.len() + result.len() + type_name.len();
            let mut response = Vec::with_capacity(known + RESPONSE_BYTES);
            push_all(&mut response, [OPEN_OBJ, "[", call, ", ", result, ", "]);
            push_quoted(&mut response, &type_name);
            let failed = if failed { ", true]" } else { ", false]" };
            let tag = r#""pymq.core.RpcResponse""#;
            push_all(&mut response, [failed, THEN_TYPE, tag]);
            if let Some(id) = server {
                let member = [", \"", PYMQ, r#"": {"server":""#, id, r#""}"#];
                push_all(&mut response, member);
            }
            response.push(b'}');
            response.into()
        }
        None => write_response(
            call,
            unanswerable("the result is no JSON that Python can read"),
            server,
        ),
    }
}

fn unanswerable(why: &str) -> Reply {
    Reply::Err(RemoteError::new("RuntimeError", why))
}
