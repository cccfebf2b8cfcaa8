//! Requests as Python PyMQ writes and reads them.

use std::ops::Range;
use std::time::Duration;

use base64_simd::STANDARD as BASE64;
use bytes::Bytes;
use pymq_core::codec::json::{OPEN_OBJ, Object, THEN_TYPE, TYPE, elements};
use pymq_core::name::{MAX_NAME_BYTES, RESERVED_PREFIX};
use pymq_core::{Encoding, Error, ErrorKind, Message, RemoteError, Result};

use super::{fields, push_all, push_number, push_quoted};
use crate::connection::{Command, LAST_WORD_END, front_room, write_front};
use crate::wire::{self, CLOSE_MEMBER, Extra, OpenEnd, PYMQ};

/// The type tag of a request. `pymq.RpcRequest` is the same class in Python.
const REQUEST_TAGS: [&str; 2] = [r#""pymq.core.RpcRequest""#, r#""pymq.RpcRequest""#];

/// Room for the text around a name, two inboxes and arguments.
const REQUEST_BYTES: usize = 160;

/// A request as a server reads it.
#[derive(Debug)]
pub(crate) struct Request {
    /// The first element as JSON text. The answer begins with it.
    pub(crate) call: String,
    /// The list for the answer.
    pub(crate) inbox: String,
    pub(crate) message: Message,
    /// The time that the caller has left.
    pub(crate) timeout: Option<Duration>,
    /// When it must have begun, in milliseconds of the server's clock.
    pub(crate) begin_by: Option<u64>,
    /// Several servers have it. The one that claims it under this name runs it.
    pub(crate) claim: Option<String>,
    /// No other server has it.
    pub(crate) is_only: bool,
    /// Why it cannot be run. It is sent as the answer.
    pub(crate) refusal: Option<RemoteError>,
}

/// Returns the frame of a payload on a channel if it is a request. Any other payload is an event.
pub(crate) fn request_frame(payload: &[u8]) -> Option<Object<'_>> {
    let text = std::str::from_utf8(payload).ok()?;
    // The search is fast, and ends nearly every event.
    if !text.contains("RpcRequest") {
        return None;
    }
    let is_tagged = |frame: &Object<'_>| {
        frame
            .get(TYPE)
            .is_some_and(|tag| REQUEST_TAGS.contains(&tag))
    };
    Object::scan(text).filter(is_tagged)
}

/// Reads a request from its frame. Returns `None` if it has no valid inbox.
pub(crate) fn read_request(payload: &Bytes, frame: &Object<'_>) -> Option<Request> {
    let (headers, extra) = match frame.get(PYMQ) {
        Some(member) => wire::read_extra(member)?,
        None => Default::default(),
    };
    let [call, inbox, args, kwargs] = fields(frame, ["fn", "response_channel", "args", "kwargs"])?;
    let inbox: String = serde_json::from_str(inbox?).ok()?;
    // A forged request could name any queue: the answer would be pushed into it, and make it
    // expire.
    if !inbox.starts_with(RESERVED_PREFIX) || inbox.len() > MAX_NAME_BYTES {
        return None;
    }
    let call = call.filter(|call| call.starts_with('"'))?.to_owned();
    let has_names = |kwargs: &str| {
        kwargs != "null" && !Object::scan(kwargs).is_some_and(|names| names.members().is_empty())
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
        is_only: extra.is_only,
        refusal,
    })
}

/// A request in the parts that `rpc_call.lua` joins. The script alone knows how many milliseconds
/// are left, and whether several servers make a claim necessary.
#[derive(Clone, Debug)]
pub(crate) struct RequestParts {
    /// The head, and later the end with a claim. The rest belongs to the command to one server.
    text: Bytes,
    head: Range<usize>,
    claim_at: usize,
    end: &'static str,
}

/// How to send a request to one server.
#[derive(Debug)]
pub(crate) struct ToOne<'a> {
    /// The words of the command before the request.
    pub(crate) words: &'a [&'a [u8]],
    /// It must begin within the duration, and by this time of the server's clock in milliseconds.
    pub(crate) time: Option<(Duration, u64)>,
}

impl RequestParts {
    /// Returns the number of bytes that may be published.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.text.len() - self.claim_at
    }

    /// Returns the request up to the number of milliseconds that are left, or up to its end if it
    /// has no deadline.
    pub(crate) fn head(&self) -> Bytes {
        self.text.slice(self.head.clone())
    }

    /// Returns the end of the request.
    pub(crate) fn end(&self) -> Bytes {
        Bytes::from_static(self.end.as_bytes())
    }

    /// Returns the end of the request to the only server.
    pub(crate) fn end_for_only_server(&self) -> Bytes {
        match self.end {
            CLOSE_MEMBER => Bytes::from_static(br#","only":true}}"#),
            _ => self.end(),
        }
    }

    /// Returns the end of the request with a claim: the server that sets it runs the call.
    pub(crate) fn end_with_claim(&self) -> Bytes {
        self.text.slice(self.claim_at..)
    }
}

/// Writes a request of the call `id`, to be answered in `inbox`. If it `has_deadline`, its head
/// ends where the milliseconds that are left belong.
pub(crate) fn write_request(
    name: &str,
    id: u64,
    inbox: &str,
    message: &Message,
    has_deadline: bool,
) -> Result<RequestParts> {
    write(name, id, inbox, message, has_deadline, None).map(|(request, _)| request)
}

/// Writes a request as [`write_request`] does, and the command that sends it to one server. They
/// share one text.
pub(crate) fn write_request_to_one(
    name: &str,
    id: u64,
    inbox: &str,
    message: &Message,
    to: &ToOne<'_>,
) -> Result<(RequestParts, Command)> {
    let (request, command) = write(name, id, inbox, message, to.time.is_some(), Some(to))?;
    let command = Command::of_text(request.text.slice(command));
    Ok((request, command))
}

/// Writes a request, and returns where its command to one server is.
fn write(
    name: &str,
    id: u64,
    inbox: &str,
    message: &Message,
    has_deadline: bool,
    to_one: Option<&ToOne<'_>>,
) -> Result<(RequestParts, Range<usize>)> {
    let is_opaque = message.encoding == Encoding::Bytes;
    let encoded;
    let args = if is_opaque {
        encoded = format!("[\"{}\"]", BASE64.encode_to_string(&message.body));
        &encoded
    } else {
        json_array(message)?
    };
    let extra = Extra {
        is_opaque,
        ..Extra::default()
    };
    let OpenEnd {
        text: member,
        separator,
        close,
    } = wire::open_end_of_frame(&message.headers, &extra);
    let front = to_one.map_or(0, |to| front_room(to.words));
    let known = front + name.len() + 2 * inbox.len() + args.len() + member.len();
    let mut text = Vec::with_capacity(known + REQUEST_BYTES);
    text.resize(front, 0);
    push_all(&mut text, [OPEN_OBJ, "["]);
    push_quoted(&mut text, name);
    // The closing quote comes after the id.
    text.pop();
    let tag = REQUEST_TAGS[0];
    let before_id = text.len();
    text.push(b'#');
    push_number(&mut text, id);
    let id = before_id..text.len();
    push_all(&mut text, [r#"", ""#, inbox, r#"", "#, args, ", {}]"]);
    push_all(&mut text, [THEN_TYPE, tag, &member]);
    if has_deadline {
        push_all(&mut text, [separator, r#""timeout":"#]);
    }
    let head = front..text.len();
    let (separator, end) = if has_deadline {
        (",", CLOSE_MEMBER)
    } else {
        (separator, close)
    };
    if let Some(to) = to_one {
        if let Some((left, begin_by)) = to.time {
            push_number(
                &mut text,
                u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            );
            text.extend_from_slice(br#","begin_by":"#);
            push_number(&mut text, begin_by);
        }
        text.extend_from_slice(end.as_bytes());
    }
    let whole = front..text.len();
    if to_one.is_some() {
        text.extend_from_slice(LAST_WORD_END);
    }
    let claim_at = text.len();
    push_all(&mut text, [separator, r#""claim":""#, inbox]);
    text.extend_from_within(id);
    push_all(&mut text, ["\"", CLOSE_MEMBER]);
    let command = match to_one {
        Some(to) => write_front(&mut text, to.words, whole)..claim_at,
        None => 0..0,
    };
    let request = RequestParts {
        text: text.into(),
        head,
        claim_at,
        end,
    };
    Ok((request, command))
}

fn arguments(payload: &Bytes, args: &str, is_opaque: bool) -> Option<Message> {
    if is_opaque {
        let encoded: String = serde_json::from_str(elements::<1>(args)?[0]?).ok()?;
        return BASE64.decode_to_vec(encoded).ok().map(Message::bytes);
    }
    // The scan has checked the value, so its first byte tells its type.
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
