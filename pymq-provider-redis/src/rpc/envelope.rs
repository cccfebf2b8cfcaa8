//! Requests and responses as Python PyMQ writes and reads them. What Python does not know (headers,
//! the time left, when the call must begin, the claim) travels in the extra member of [`wire`],
//! which Python ignores. Values pass unchanged, including `NaN` and integers of any length.
//!
//! [`wire`]: crate::wire

mod request;
mod response;

use pymq_core::codec::json::{OBJ, Object};
use pymq_core::codec::to_json;

pub(crate) use self::request::{
    Request, RequestParts, ToOne, read_request, request_frame, write_request, write_request_to_one,
};
pub(crate) use self::response::{OnlyServer, Response, read_response, write_response};

/// Returns the fields of a frame: the elements of its `__obj`, or the members of these names.
fn fields<'a, const N: usize>(
    frame: &Object<'a>,
    names: [&str; N],
) -> Option<[Option<&'a str>; N]> {
    let Some(object) = frame.get(OBJ) else {
        return Some(names.map(|name| frame.get(name)));
    };
    if let Some(elements) = frame.elements() {
        return Some(elements);
    }
    let inner = Object::scan(object)?;
    Some(names.map(|name| inner.get(name)))
}

/// Appends texts. It takes less time than a format.
fn push_all<const N: usize>(text: &mut Vec<u8>, parts: [&str; N]) {
    for part in parts {
        text.extend_from_slice(part.as_bytes());
    }
}

/// Appends a number. It takes less time than a format.
fn push_number(text: &mut Vec<u8>, number: u64) {
    let (mut digits, mut left) = ([b'0'; 20], number);
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] += u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[start..]);
}

/// Writes a text as a JSON string.
fn push_quoted(json: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if text.bytes().all(is_plain) {
        push_all(json, ["\"", text, "\""]);
        return;
    }
    let quoted = to_json(text).expect("a string is always valid JSON");
    json.extend_from_slice(&quoted);
}

#[cfg(test)]
mod tests;
