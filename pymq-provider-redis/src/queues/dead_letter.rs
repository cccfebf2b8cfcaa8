//! The form of a dead letter in Redis: id, attempt, length of the reason, reason and payload. A
//! colon follows each of the first three.

use bytes::Bytes;
use pymq_core::MessageId;
use pymq_core::provider::Stored;

use crate::wire::{self, Extra};

/// Writes all but the id: attempt, reason, and the payload of a new message.
pub(super) fn write(payload: Bytes, reason: &str) -> Bytes {
    let (message, extra) = wire::decode_with(payload);
    let mut record = format!(
        "{}:{}:{reason}",
        extra.attempt.saturating_add(1),
        reason.len()
    )
    .into_bytes();
    record.extend_from_slice(&wire::encode_with(
        &message,
        &Extra {
            attempt: 0,
            ..extra
        },
    ));
    record.into()
}

/// Reads a dead letter with its id, or `None` if another program wrote it.
pub(super) fn read(member: &Bytes) -> Option<Stored> {
    let mut parts = member.splitn(4, |byte| *byte == b':');
    let mut next = || std::str::from_utf8(parts.next()?).ok();
    let (id, attempt, length) = (next()?, next()?.parse().ok()?, next()?.parse().ok()?);
    let (reason, payload) = parts.next()?.split_at_checked(length)?;
    let message = wire::decode(member.slice_ref(payload));
    Some(Stored::dead(
        message,
        attempt,
        MessageId::new(id),
        String::from_utf8_lossy(reason),
    ))
}

#[cfg(test)]
mod tests {
    use pymq_core::Message;

    use super::*;

    #[test]
    fn a_dead_letter_keeps_all_there_is() {
        let taken = wire::encode_with(
            &Message::bytes("a:b"),
            &Extra {
                attempt: 3,
                ..Extra::default()
            },
        );
        let record = write(taken, "reason: é:");
        let member = Bytes::from([b"id:".as_slice(), &record].concat());

        let letter = read(&member).unwrap();

        assert_eq!(
            letter,
            Stored::dead(Message::bytes("a:b"), 4, MessageId::new("id"), "reason: é:")
        );
        assert_eq!(read(&Bytes::from_static(b"id:1:9:short")), None);
    }
}
