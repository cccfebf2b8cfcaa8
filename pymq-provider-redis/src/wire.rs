//! Messages as payloads. A payload is always valid UTF-8: one that is not would end a Python event loop for good.

use bytes::Bytes;
use pymq::Message;

/// Writes a message as a payload.
pub(crate) fn encode(message: &Message) -> Bytes {
    message.body.clone()
}

/// Reads a payload.
pub(crate) fn decode(payload: Bytes) -> Message {
    Message::json(payload)
}
