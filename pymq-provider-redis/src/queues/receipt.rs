//! The name of a leased message: the batch it was taken in and its place there.

use pymq::provider::Receipt;

/// Creates the receipt of the message at a place of a batch; the first place is 1.
pub(super) fn issue(batch: &str, index: usize) -> Receipt {
    Receipt::new(format!("{batch}/{index}"))
}

/// Returns batch and place; none for a receipt that is not one of ours.
pub(super) fn read(receipt: &Receipt) -> Option<(&str, &str)> {
    let (batch, index) = std::str::from_utf8(receipt.as_bytes())
        .ok()?
        .split_once('/')?;
    let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    (!batch.is_empty() && is_number).then_some((batch, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_tells_batch_and_place() {
        assert_eq!(read(&issue("a-b", 12)), Some(("a-b", "12")));
    }

    #[test]
    fn a_foreign_receipt_names_nothing() {
        for text in ["", "a", "/1", "a/", "a/b", "a/1/2"] {
            assert_eq!(read(&Receipt::new(text.to_owned())), None, "{text}");
        }
        assert_eq!(read(&Receipt::new(&b"\xff/1"[..])), None);
    }
}
