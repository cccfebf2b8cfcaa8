//! The frame of opaque bytes without headers and other data. It has one form, so it is written and
//! read without JSON.

use base64_simd::STANDARD as BASE64;
use bytes::Bytes;
use pymq_core::Message;

/// The text of the frame before and after the bytes in base64.
const OPEN: &str = r#"{"__obj": ""#;
const CLOSE: &str = r#"", "__pymq": {"enc":"base64"}}"#;

/// Writes the frame.
pub(super) fn encode(body: &[u8]) -> Bytes {
    let encoded = body.len().div_ceil(3) * 4;
    let mut frame = String::with_capacity(OPEN.len() + encoded + CLOSE.len());
    frame.push_str(OPEN);
    BASE64.encode_append(body, &mut frame);
    frame.push_str(CLOSE);
    frame.into()
}

/// Reads the frame. Returns `None` for any other payload.
pub(crate) fn decode(payload: &[u8]) -> Option<Message> {
    // Base64 has no quote, so nothing but this frame has a body that can be read.
    let encoded = payload
        .strip_prefix(OPEN.as_bytes())?
        .strip_suffix(CLOSE.as_bytes())?;
    // Its buffer has the exact size, so that no other allocation is needed to share it.
    BASE64.decode_to_vec(encoded).ok().map(Message::bytes)
}
