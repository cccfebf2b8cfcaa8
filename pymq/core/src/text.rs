//! Limits the text that foreign data brings into errors, logs and dead letters.

use std::borrow::Cow;

/// The longest text that is kept whole.
const MAX_BYTES: usize = 1_024;

/// Cuts a text that is longer than 1,024 bytes, and appends its length.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_BYTES {
        return text.into();
    }
    let end = (0..=MAX_BYTES).rev().find(|at| text.is_char_boundary(*at));
    let beginning = &text[..end.unwrap_or_default()];
    format!("{beginning}… ({} bytes)", text.len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_names_its_length() {
        let long = format!("a{}", "ä".repeat(3_000_000));

        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"a".repeat(MAX_BYTES)).len(), MAX_BYTES);
        assert!(cut(&long).ends_with("ä… (6000001 bytes)"));
        assert!(cut(&long).len() < MAX_BYTES + 32);
    }
}
