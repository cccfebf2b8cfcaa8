//! One pass over a JSON text before `serde_json` reads it.
//!
//! It finds what `serde_json` would accept by mistake or change silently. It does not check the
//! grammar, because `serde_json` does.

use std::fmt;

use super::scanner::plain_len;
use crate::codec::MAX_DEPTH;

/// What the reader must know about a text.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::codec) struct Findings {
    /// The top level is an object that may have a reserved key.
    pub(in crate::codec) maybe_enveloped: bool,
    /// There is an integer that fits 128 bits but not 64, which `serde_json` may read as a float.
    pub(in crate::codec) wide_integers: bool,
    /// The number of levels of lists and objects.
    pub(in crate::codec) depth: usize,
}

/// A fault that no target type may read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::codec) enum Fault {
    TooDeep,
    IntegerTooLong,
    LoneSurrogate,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => write!(f, "nested more than {MAX_DEPTH} levels deep"),
            Self::IntegerTooLong => f.write_str("an integer does not fit 128 bits"),
            Self::LoneSurrogate => f.write_str("a string contains a lone surrogate"),
        }
    }
}

/// Scans a text in one pass, without recursion and without allocation.
///
/// It allows one level more than [`MAX_DEPTH`], because the text may have an envelope.
pub(in crate::codec) fn check(text: &str) -> Result<Findings, Fault> {
    let mut check = Check {
        text,
        at: 0,
        depth: 0,
        is_object: false,
        findings: Findings::default(),
    };
    check.run()?;
    Ok(check.findings)
}

struct Check<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Whether the top level is an object.
    is_object: bool,
    findings: Findings,
}

impl Check<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            match byte {
                b'"' => self.string()?,
                b'0'..=b'9' => self.number()?,
                b'{' | b'[' => self.open(byte)?,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
        Ok(())
    }

    fn open(&mut self, byte: u8) -> Result<(), Fault> {
        if self.depth == 0 {
            self.is_object = byte == b'{';
        }
        self.depth += 1;
        self.at += 1;
        self.findings.depth = self.findings.depth.max(self.depth);
        if self.depth > MAX_DEPTH + 1 {
            Err(Fault::TooDeep)
        } else {
            Ok(())
        }
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        let is_member = self.depth == 1 && self.is_object;
        self.findings.maybe_enveloped |= is_member && self.rest().starts_with(b"__");
        loop {
            self.at += plain_len(self.rest());
            match self.rest().first() {
                Some(b'\\') => {
                    // A reserved key may be written with escapes.
                    self.findings.maybe_enveloped |= is_member;
                    self.escape()?;
                }
                // A control character, which `serde_json` refuses.
                Some(0..0x20) => self.at += 1,
                Some(_) | None => break,
            }
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match surrogate(self.rest()) {
            None => self.at += 2,
            Some(Half::Low) => return Err(Fault::LoneSurrogate),
            Some(Half::High) => {
                self.at += ESCAPED_UNIT;
                let Some(Half::Low) = surrogate(self.rest()) else {
                    return Err(Fault::LoneSurrogate);
                };
                self.at += ESCAPED_UNIT;
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
        self.at += self.rest().iter().take_while(is_part).count();
        // 18 digits fit 64 bits with any sign.
        if self.at - start <= 18 || self.text[start..self.at].contains(['.', 'e', 'E']) {
            return Ok(());
        }
        let is_negative = self.text[..start].ends_with('-');
        let literal = &self.text[start - usize::from(is_negative)..self.at];
        if literal.parse::<u64>().is_err() && literal.parse::<i64>().is_err() {
            self.findings.wide_integers = true;
        }
        if literal.parse::<u128>().is_err() && literal.parse::<i128>().is_err() {
            return Err(Fault::IntegerTooLong);
        }
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }
}

/// The length of `\uXXXX` in bytes.
const ESCAPED_UNIT: usize = 6;

/// A half of a surrogate pair.
enum Half {
    High,
    Low,
}

/// Returns which half of a surrogate pair the escape at the start of the text is, if any.
fn surrogate(text: &[u8]) -> Option<Half> {
    match text {
        [
            b'\\',
            b'u',
            b'd' | b'D',
            b'8' | b'9' | b'a' | b'b' | b'A' | b'B',
            ..,
        ] => Some(Half::High),
        [b'\\', b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..] => Some(Half::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enveloped(text: &str) -> bool {
        check(text).unwrap().maybe_enveloped
    }

    fn wide(text: &str) -> Result<bool, Fault> {
        check(text).map(|findings| findings.wide_integers)
    }

    #[test]
    fn only_members_of_a_top_level_object_can_be_reserved() {
        for text in [
            r#"{"__type": "x"}"#,
            r#" { "a": 1, "__obj" : 2}"#,
            r#"{"\u005f_type": 1}"#,
        ] {
            assert!(enveloped(text), "{text}");
        }
        for text in [
            r#"{"a": {"__type": 1}}"#,
            r#"["__type"]"#,
            r#"[{"__obj": 1}]"#,
            r#""__type""#,
            r#"{"_type": 1}"#,
        ] {
            assert!(!enveloped(text), "{text}");
        }
    }

    #[test]
    fn integers_are_classified_by_width() {
        for text in [
            "18446744073709551615",
            "-9223372036854775808",
            "1e400",
            "12345678901234567890123.5",
            "[1e30, 7]",
        ] {
            assert_eq!(wide(text), Ok(false), "{text}");
        }
        for text in [
            "18446744073709551616",
            "-9223372036854775809",
            "[340282366920938463463374607431768211455]",
        ] {
            assert_eq!(wide(text), Ok(true), "{text}");
        }
        for text in [
            "340282366920938463463374607431768211456",
            "-170141183460469231731687303715884105729",
        ] {
            assert_eq!(wide(text), Err(Fault::IntegerTooLong), "{text}");
        }
        assert_eq!(
            wide(
                r#"{"9999999999999999999999999999999999999999999": "99999999999999999999999999999999999999999"}"#
            ),
            Ok(false)
        );
    }

    #[test]
    fn lone_surrogates_are_found_wherever_they_are() {
        for text in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\ud800""#,
            r#""\ud800x""#,
            r#"{"\uDFFF": 1}"#,
            r#"["\\\ud834"]"#,
            r#""\ud800"#,
        ] {
            assert_eq!(check(text), Err(Fault::LoneSurrogate), "{text}");
        }
        for text in [
            r#""\ud83d\ude00""#,
            r#""\\ud800""#,
            r#""\u00e9""#,
            r#""\u12"#,
            r#""\"#,
        ] {
            assert!(check(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn depth_counts_open_brackets_outside_of_strings() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);

        for depth in [0, 1, MAX_DEPTH, MAX_DEPTH + 1] {
            assert_eq!(check(&nested(depth)).unwrap().depth, depth);
        }
        assert_eq!(check("[[], [[1]], []]").unwrap().depth, 3);
        assert_eq!(check(&nested(MAX_DEPTH + 2)), Err(Fault::TooDeep));
        assert!(check(&format!("\"{}\"", nested(500))).is_ok());
        assert!(check(&"[],".repeat(500)).is_ok());
    }
}
