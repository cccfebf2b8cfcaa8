//! Text made of foreign data, in bounds: it goes into errors, logs and dead letters.

use std::borrow::Cow;

/// How much of a text is kept, in bytes.
const ENOUGH: usize = 1_024;

/// Returns the beginning of a text that is over 1,024 bytes, with a note of how long it was.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= ENOUGH {
        return text.into();
    }
    let end = (0..=ENOUGH).rev().find(|at| text.is_char_boundary(*at));
    let beginning = &text[..end.unwrap_or_default()];
    format!("{beginning}… ({} bytes)", text.len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_how_long_it_was() {
        let long = format!("a{}", "ä".repeat(3_000_000));

        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"a".repeat(ENOUGH)).len(), ENOUGH);
        assert!(cut(&long).ends_with("ä… (6000001 bytes)"));
        assert!(cut(&long).len() < ENOUGH + 32);
    }
}
