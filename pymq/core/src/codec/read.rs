//! Reads a payload in three steps: a scan for what `serde_json` would accept by mistake, the
//! removal of the envelope, and `serde_json`. A string without escapes needs none of them.

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, Visitor};
use serde_json::Error;

use super::MAX_DEPTH;
use super::envelope;
use super::exact::Exact;
use super::json::{self, Argument, Fault, Findings};

/// Reads a value that has no envelope.
pub(super) fn bare<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Error> {
    text(utf8(json)?)
}

/// Reads a value from a text without an envelope.
pub(super) fn text<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Error> {
    if let Some(value) = PlainString::read(text) {
        return Ok(value);
    }
    value(text, json::check(text).map_err(Error::custom)?)
}

/// Reads an argument of a call from the list of arguments, which is one of the levels of the value.
pub(super) fn argument<'de, T: Deserialize<'de>>(argument: &Argument<'de>) -> Option<T> {
    let text = argument.text;
    if let Some(content) = argument.plain {
        return T::deserialize(PlainString { text, content }).ok();
    }
    let findings = json::check(text).ok()?;
    let depth = findings.depth + 1;
    value(text, Findings { depth, ..findings }).ok()
}

/// Reads the value in a payload.
pub(super) fn payload<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let text = utf8(json)?;
    if let Some(value) = PlainString::read(text) {
        return Ok(value);
    }
    let findings = json::check(text).map_err(Error::custom)?;
    if !findings.maybe_enveloped {
        return value(text, findings);
    }
    let content = envelope::open(text)?;
    // One level too many may be the envelope.
    let findings = match findings.depth {
        0..=MAX_DEPTH => findings,
        _ => json::check(&content).map_err(Error::custom)?,
    };
    value(&content, findings).or_else(|error| {
        // An envelope with nothing but a tag is an object without attributes. It may be a unit
        // struct.
        if content == "{}" {
            parse("null", findings).map_err(|_| error)
        } else {
            Err(error)
        }
    })
}

fn utf8(json: &[u8]) -> Result<&str, Error> {
    str::from_utf8(json).map_err(Error::custom)
}

/// Reads a value and checks its depth. `serde_json` does not check the depth of values that a type
/// ignores.
fn value<'de, T: Deserialize<'de>>(text: &'de str, findings: Findings) -> Result<T, Error> {
    if findings.depth > MAX_DEPTH {
        return Err(Error::custom(Fault::TooDeep));
    }
    parse(text, findings)
}

fn parse<'de, T: Deserialize<'de>>(text: &'de str, findings: Findings) -> Result<T, Error> {
    if !findings.wide_integers {
        return serde_json::from_str(text);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = T::deserialize(Exact(&mut deserializer))?;
    deserializer.end()?;
    Ok(value)
}

/// A string that has no escapes. A type that asks for a string gets it without a search for them.
struct PlainString<'de> {
    text: &'de str,
    content: &'de str,
}

impl<'de> PlainString<'de> {
    /// Reads a value if the text is such a string. After an error it must be read again, because
    /// `serde_json` explains errors better.
    fn read<T: Deserialize<'de>>(text: &'de str) -> Option<T> {
        let content = text.strip_prefix('"')?.strip_suffix('"')?;
        let is_plain = json::plain_len(content.as_bytes()) == content.len();
        is_plain.then(|| T::deserialize(Self { text, content }).ok())?
    }
}

macro_rules! forward {
    ($($method:ident($($arg:ident: $kind:ty),*))+) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $kind,)* visitor: V) -> Result<V::Value, Error> {
            serde_json::Deserializer::from_str(self.text).$method($($arg,)* visitor)
        }
    )+};
}

impl<'de> Deserializer<'de> for PlainString<'de> {
    type Error = Error;

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.content)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.content)
    }

    forward! {
        deserialize_any()
        deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char()
        deserialize_bytes() deserialize_byte_buf()
        deserialize_option() deserialize_unit() deserialize_seq() deserialize_map()
        deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fmt::Debug;

    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Name(String);

    #[derive(Debug, Deserialize, PartialEq)]
    enum Color {
        Red,
    }

    fn reads<'de, T: Deserialize<'de> + Debug + PartialEq>(json: &'de str, expected: &T) {
        assert_eq!(&text::<T>(json).unwrap(), expected, "{json}");
        assert_eq!(
            &serde_json::from_str::<T>(json).unwrap(),
            expected,
            "{json}"
        );
    }

    #[test]
    fn every_type_reads_a_plain_string_as_serde_json_does() {
        for content in ["", "a", "\u{e9}\u{7f}", &"x".repeat(100)] {
            let json = format!("\"{content}\"");

            reads(&json, &content);
            reads(&json, &content.to_owned());
            reads(&json, &Some(content.to_owned()));
            reads(&json, &Name(content.to_owned()));
            reads(&json, &serde_json::Value::from(content));
            reads(&json, &Cow::Borrowed(content));
            assert_eq!(text::<&RawValue>(&json).unwrap().get(), json);
            assert!(text::<u8>(&json).is_err());
        }
        reads("\"Red\"", &Color::Red);
        reads("\"R\"", &'R');
    }

    #[test]
    fn what_is_no_plain_string_is_read_as_before() {
        for (json, content) in [
            (r#""a\"b""#, "a\"b"),
            (r#" "a""#, "a"),
            (r#""\u0041""#, "A"),
        ] {
            reads(json, &content.to_owned());
        }
        for json in [
            "\"",
            "\"\"\"",
            "\"\n\"",
            "\"a\"b\"",
            r#""\ud800""#,
            r#""\""#,
        ] {
            assert!(text::<String>(json).is_err(), "{json}");
        }
    }
}
