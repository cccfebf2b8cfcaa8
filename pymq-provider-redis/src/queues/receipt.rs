//! The receipt of a leased message: its lease batch, and its index in the batch.

use pymq_core::provider::Receipt;

/// Creates the receipt of the message at an index of a batch. The first index is 1.
pub(super) fn issue(batch: &str, index: usize) -> Receipt {
    Receipt::new(format!("{batch}/{index}"))
}

/// Returns batch and index, or `None` if the receipt is not exactly in our form.
pub(super) fn read(receipt: &Receipt) -> Option<(&str, &str)> {
    let (batch, index) = std::str::from_utf8(receipt.as_bytes())
        .ok()?
        .split_once('/')?;
    (is_id(batch) && is_index(index)).then_some((batch, index))
}

/// Tells whether a text is an id of our scripts: microseconds, the token of the call, and a number.
pub(super) fn is_id(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut next = |length, is_part: fn(u8) -> bool| {
        parts
            .next()
            .is_some_and(|part| part.len() == length && part.bytes().all(is_part))
    };
    next(16, is_digit) && next(16, is_hex) && next(8, is_digit) && parts.next().is_none()
}

/// Tells whether a text is an index: at least 1, at most eight digits, without a sign or leading
/// zeros.
fn is_index(text: &str) -> bool {
    (1..=8).contains(&text.len()) && !text.starts_with('0') && text.bytes().all(is_digit)
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: &str = "1764380000000000-0123456789abcdef-00000012";

    #[test]
    fn a_receipt_tells_batch_and_place() {
        assert_eq!(read(&issue(BATCH, 12)), Some((BATCH, "12")));
        assert_eq!(read(&issue(BATCH, 65_536)), Some((BATCH, "65536")));
    }

    #[test]
    fn a_foreign_receipt_names_nothing() {
        for text in ["", "a", "/1", "a/", "a/b", "a/1", "a/1/2", "batch/01"] {
            assert_eq!(read(&Receipt::new(text.to_owned())), None, "{text}");
        }
        assert_eq!(read(&Receipt::new(&b"\xff/1"[..])), None);
    }

    #[test]
    fn a_receipt_that_is_nearly_ours_names_nothing() {
        let indexes = [
            "",
            "0",
            "01",
            "+1",
            "-1",
            "1.0",
            "1e1",
            " 1",
            "1 ",
            "100000000",
            "1/1",
            "x",
        ];
        for index in indexes {
            let text = format!("{BATCH}/{index}");
            assert_eq!(read(&Receipt::new(text)), None, "{index}");
        }
        let batches = [
            "764380000000000-0123456789abcdef-00000012",
            "11764380000000000-0123456789abcdef-00000012",
            "1764380000000000-0123456789ABCDEF-00000012",
            "1764380000000000-0123456789abcdef-0000001x",
            "1764380000000000-0123456789abcdef-00000012-",
            "1764380000000000-0123456789abcdef-00000012.00000001",
        ];
        for batch in batches {
            assert_eq!(read(&Receipt::new(format!("{batch}/1"))), None, "{batch}");
        }
    }
}
