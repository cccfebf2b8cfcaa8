//! What the fuzzer calls.

use super::{Decoder, Malformed, Reply};

/// Reads pieces of bytes, for the fuzzer. The result ends with what is not RESP, if there is any.
pub(crate) fn read_replies(pieces: &[&[u8]]) -> Vec<Result<Reply, Malformed>> {
    let mut decoder = Decoder::default();
    let mut replies = Vec::new();
    for piece in pieces {
        decoder.buffer.extend_from_slice(piece);
        loop {
            match decoder.next() {
                Ok(Some(reply)) => replies.push(Ok(reply)),
                Ok(None) => break,
                Err(malformed) => {
                    replies.push(Err(malformed));
                    return replies;
                }
            }
        }
    }
    replies
}
