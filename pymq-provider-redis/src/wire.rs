//! Messages as payloads on lists and channels, which Python reads too.
//!
//! A plain JSON message is its body, byte for byte. What Python does not know travels in one more
//! top-level member:
//!
//! | body | frame |
//! |---|---|
//! | bare `V` | `{"__obj": V, "__pymq": {..}}` |
//! | obj or list form | the same with `"__pymq": {..}` as its last member |
//! | object form `{.., "__type": T}` | `{"__obj": {..}, "__type": T, "__pymq": {..}}` |
//! | bytes | `{"__obj": "<base64>", "__pymq": {"enc": "base64", ..}}` |
//!
//! Python reads each frame as it reads the body. There are two invariants. Decoding returns exactly
//! the bytes that were encoded. And Python can read every payload that is written, because a
//! payload that is not valid UTF-8 ends Python's event loop for good.

mod meta;
mod opaque;

use std::time::Duration;

use base64_simd::STANDARD as BASE64;
use bytes::Bytes;
use pymq_core::codec::json::{LIST, OBJ, OPEN_OBJ, Object, THEN_TYPE, TYPE, is_readable};
use pymq_core::{Encoding, Headers, Message};

use self::meta::{Enc, Form, Meta};
pub(crate) use self::opaque::decode as decode_opaque;

/// The key of our member in a frame.
pub(crate) const PYMQ: &str = "__pymq";

/// The text of a frame before our member.
const THEN_PYMQ: &str = r#", "__pymq": "#;

/// What a payload holds besides the message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Extra {
    /// How often a queued message has been taken.
    pub(crate) attempt: u32,
    /// The time that the caller of a remote has left.
    pub(crate) timeout: Option<Duration>,
    /// When the call of a remote must have begun, in milliseconds of the server's clock.
    pub(crate) begin_by: Option<u64>,
    /// The key that a server must set before it runs a call.
    pub(crate) claim: Option<String>,
    /// Whether the one argument of a call is opaque bytes in base64.
    pub(crate) is_opaque: bool,
    /// Whether a request was sent to one server, and there is no other.
    pub(crate) is_only: bool,
    /// The server that sent an answer, if no other one serves the remote.
    pub(crate) server: Option<String>,
}

/// Encodes a message as a payload.
pub(crate) fn encode(message: &Message) -> Bytes {
    encode_with(message, &Extra::default())
}

/// Encodes a message with extra data as a payload.
pub(crate) fn encode_with(message: &Message, extra: &Extra) -> Bytes {
    let is_opaque = message.encoding == Encoding::Bytes;
    if is_opaque && message.headers.is_empty() && *extra == Extra::default() {
        return opaque::encode(&message.body);
    }
    let meta = Meta::with(&message.headers, extra);
    let Some(text) = json_text(message) else {
        return frame_bytes(message, meta);
    };
    // Only an object can be mistaken for a frame.
    if meta == Meta::default() && (!text.starts_with(may_start_object) || !text.contains(PYMQ)) {
        return message.body.clone();
    }
    match Object::scan(text) {
        None if meta == Meta::default() => message.body.clone(),
        None => wrap(text, &meta),
        Some(object) => frame_object(message, text, &object, meta),
    }
}

/// Decodes a payload. A payload without a frame is a JSON message.
pub(crate) fn decode(payload: Bytes) -> Message {
    decode_with(payload).0
}

/// Decodes a payload and its extra data.
pub(crate) fn decode_with(payload: Bytes) -> (Message, Extra) {
    if let Some(message) = decode_opaque(&payload) {
        return (message, Extra::default());
    }
    unframe(&payload).unwrap_or_else(|| (Message::json(payload), Extra::default()))
}

/// Tells whether an object may start with this character: a brace or white space.
fn may_start_object(first: char) -> bool {
    matches!(first, '{' | ' ' | '\t' | '\n' | '\r')
}

/// The end of a frame, left open for more fields in our member.
#[derive(Debug)]
pub(crate) struct OpenEnd {
    /// Our member without its closing brace, or nothing if it has no field yet.
    pub(crate) text: String,
    /// What comes before the next field.
    pub(crate) separator: &'static str,
    /// What closes the frame if there is no other field.
    pub(crate) close: &'static str,
}

/// What closes a frame with our member.
pub(crate) const CLOSE_MEMBER: &str = "}}";

/// Returns the end of a frame with this data.
pub(crate) fn open_end_of_frame(headers: &Headers, extra: &Extra) -> OpenEnd {
    let meta = Meta::with(headers, extra);
    if meta == Meta::default() {
        return OpenEnd {
            text: String::new(),
            separator: r#", "__pymq": {"#,
            close: "}",
        };
    }
    let mut text = [THEN_PYMQ, &json(&meta)].concat();
    text.pop();
    OpenEnd {
        text,
        separator: ",",
        close: CLOSE_MEMBER,
    }
}

/// Reads our member of a frame, for frames that are parsed elsewhere.
pub(crate) fn read_extra(member: &str) -> Option<(Headers, Extra)> {
    if let Some(extra) = read_times(member) {
        return Some((Headers::new(), extra));
    }
    serde_json::from_str(member).ok().map(Meta::into_parts)
}

/// Reads the member of most requests, without the steps that any other one needs. The member must
/// be valid JSON.
fn read_times(member: &str) -> Option<Extra> {
    let times = member.strip_prefix(r#"{"timeout":"#)?;
    let (timeout, rest) = times.strip_suffix('}')?.split_once(',')?;
    let begin_by = rest.strip_prefix(r#""begin_by":"#)?;
    Some(Extra {
        timeout: Some(Duration::from_millis(timeout.parse().ok()?)),
        begin_by: Some(begin_by.parse().ok()?),
        ..Extra::default()
    })
}

/// Returns the body if it is a JSON text that Python can read.
fn json_text(message: &Message) -> Option<&str> {
    if message.encoding != Encoding::Json {
        return None;
    }
    std::str::from_utf8(&message.body)
        .ok()
        .filter(|text| is_readable(text))
}

fn frame_bytes(message: &Message, mut meta: Meta) -> Bytes {
    meta.enc = Some(if message.encoding == Encoding::Json {
        Enc::Base64Json
    } else {
        Enc::Base64
    });
    wrap(
        &format!("\"{}\"", BASE64.encode_to_string(&message.body)),
        &meta,
    )
}

fn frame_object(message: &Message, text: &str, object: &Object<'_>, mut meta: Meta) -> Bytes {
    if object.position(PYMQ).is_some() {
        // Always wrapped, so that it cannot be mistaken for a frame.
        return wrap(text, &meta);
    }
    if meta == Meta::default() {
        return message.body.clone();
    }
    if object.position(OBJ).is_some() || object.position(LIST).is_some() {
        if object.members().len() == 1 && object.position(OBJ).is_some() {
            meta.form = Some(Form::Obj);
        }
        let (body, close) = text.split_at(object.end());
        return concat(&[body, THEN_PYMQ, &json(&meta), close]);
    }
    match object.position(TYPE) {
        Some(tag) => retag(text, object, tag, meta),
        None => wrap(text, &meta),
    }
}

fn wrap(text: &str, meta: &Meta) -> Bytes {
    concat(&[OPEN_OBJ, text, THEN_PYMQ, &json(meta), "}"])
}

/// Moves the type tag from an object to the frame around it. Notes the text that was cut out, and
/// its offset.
fn retag(text: &str, object: &Object<'_>, tag: usize, mut meta: Meta) -> Bytes {
    let members = object.members();
    let member = &members[tag];
    let (start, end) = match (tag.checked_sub(1), members.get(tag + 1)) {
        (_, Some(next)) => (member.key.start, next.key.start),
        (Some(previous), None) => (members[previous].value.end, member.value.end),
        (None, None) => (member.key.start, member.value.end),
    };
    meta.cut = Some((start, text[start..end].to_owned()));
    let tag = &text[member.value.clone()];
    concat(&[
        OPEN_OBJ,
        &text[..start],
        &text[end..],
        THEN_TYPE,
        tag,
        THEN_PYMQ,
        &json(&meta),
        "}",
    ])
}

fn json(meta: &Meta) -> String {
    serde_json::to_string(meta).expect("text, numbers and maps with text keys are always JSON")
}

fn concat(parts: &[&str]) -> Bytes {
    parts.concat().into()
}

/// Decodes a frame, or returns `None` if the payload is not one of our frames.
fn unframe(payload: &Bytes) -> Option<(Message, Extra)> {
    let text = std::str::from_utf8(payload).ok()?;
    if !text.contains(PYMQ) {
        return None;
    }
    let object = Object::scan(text)?;
    let (last, others) = object.members().split_last()?;
    let head = text[..last.key.end]
        .strip_suffix("\"__pymq\"")?
        .strip_suffix(", ")?;
    let tail = &text[last.value.end..];
    if !tail.starts_with('}') {
        return None;
    }
    let meta: Meta = serde_json::from_str(&text[last.value.clone()]).ok()?;

    let inside = head.strip_prefix(OPEN_OBJ);
    let (encoding, body) = match (others, inside, &meta) {
        ([_], Some(inside), Meta { enc: Some(enc), .. }) => {
            let encoded = inside.strip_prefix('"')?.strip_suffix('"')?;
            let encoding = if *enc == Enc::Base64 {
                Encoding::Bytes
            } else {
                Encoding::Json
            };
            (encoding, BASE64.decode_to_vec(encoded).ok()?.into())
        }
        ([_], Some(inside), Meta { form: None, .. }) => {
            (Encoding::Json, payload.slice_ref(inside.as_bytes()))
        }
        (
            [_, tag],
            Some(inside),
            Meta {
                cut: Some((at, cut)),
                ..
            },
        ) => {
            let object = inside.get(..tag.key.start.checked_sub(OPEN_OBJ.len() + 2)?)?;
            let (before, after) = object.split_at_checked(*at)?;
            (Encoding::Json, concat(&[before, cut, after]))
        }
        _ => (Encoding::Json, concat(&[head, tail])),
    };
    let (headers, extra) = meta.into_parts();
    Some((
        Message {
            headers,
            encoding,
            body,
        },
        extra,
    ))
}

#[cfg(test)]
mod tests;
