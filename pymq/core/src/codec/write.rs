//! Writes a value as JSON, in the envelope that its form needs.

use std::cell::Cell;

use bytes::{Buf, Bytes};
use serde::Serialize;
use serde_json::Error;

use super::dialect::{Dialect, Form, Top};
use super::json::{OPEN_OBJ, THEN_TYPE};
use super::python::PythonForm;

/// The start of an envelope around a value.
const HEAD: &[u8] = OPEN_OBJ.as_bytes();

/// The start of an envelope around a list of instances.
const LIST_HEAD: &[u8] = br#"{"__list": "#;

/// The largest buffer that a thread keeps, in bytes.
const MAX_KEPT_BYTES: usize = 16 << 10;

thread_local! {
    /// A buffer in which values are written, so that a payload takes one allocation of its own
    /// size.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Writes a value without an envelope.
pub(super) fn bare<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, Error> {
    buffered(|json| {
        value.serialize(Dialect::inside(&mut serializer(json)))?;
        Ok(0)
    })
}

/// Writes a value as a payload, tagged with its class if it has one.
pub(super) fn payload<T: Serialize + ?Sized>(
    value: &T,
    class: Option<&str>,
) -> Result<Bytes, Error> {
    buffered(|json| write_payload(json, value, class))
}

/// Writes a list as a payload with the class of its elements. An empty list has no envelope, as in
/// Python.
pub(super) fn list<T: Serialize + ?Sized>(list: &T, class: &str) -> Result<Bytes, Error> {
    buffered(|json| {
        json.extend_from_slice(LIST_HEAD);
        list.serialize(Dialect::inside(&mut serializer(json)))?;
        if json[LIST_HEAD.len()..] == *b"[]" {
            return Ok(LIST_HEAD.len());
        }
        close_with_tag(json, class)?;
        Ok(0)
    })
}

/// Runs `write` on a buffer. Returns the written bytes from the offset that `write` returns.
fn buffered(write: impl FnOnce(&mut Vec<u8>) -> Result<usize, Error>) -> Result<Bytes, Error> {
    // Taken and not borrowed, because a value may encode another value while it is written. A
    // thread that is ending has no buffer.
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    let written = write(&mut buffer);
    if buffer.capacity() > MAX_KEPT_BYTES {
        return written.map(|start| {
            let mut payload = Bytes::from(buffer);
            payload.advance(start);
            payload
        });
    }
    let payload = written.map(|start| Bytes::copy_from_slice(&buffer[start..]));
    buffer.clear();
    // On a thread that is ending, the buffer is dropped.
    BUFFER.try_with(|kept| kept.set(buffer)).ok();
    payload
}

/// Writes a value as a payload and returns the offset of its start.
fn write_payload<T: Serialize + ?Sized>(
    json: &mut Vec<u8>,
    value: &T,
    class: Option<&str>,
) -> Result<usize, Error> {
    // The head is written first and skipped if there is no envelope, so that the value never moves.
    json.extend_from_slice(HEAD);
    let top = Top::default();
    value.serialize(Dialect::top(&mut serializer(json), &top))?;

    let is_object = json[HEAD.len()] == b'{';
    let tag = match (top.form(), class) {
        (Form::Plain, None) => return Ok(HEAD.len()),
        (Form::Plain, Some(class)) if is_object => return tagged_object(json, class),
        (Form::Empty, Some(class)) => {
            json.truncate(HEAD.len());
            json.extend_from_slice(b"{}");
            return tagged_object(json, class);
        }
        (Form::Null | Form::Empty, _) => "NoneType",
        (_, Some(class)) => class,
        (Form::Tuple, None) => "tuple",
        (Form::Reserved, None) if is_object => "dict",
        (Form::Reserved, None) => "list",
    };
    close_with_tag(json, tag)?;
    Ok(0)
}

/// Adds the tag as the last member of the object after the head, and returns the start of the
/// object.
fn tagged_object(json: &mut Vec<u8>, class: &str) -> Result<usize, Error> {
    let members = json
        .strip_suffix(b"}")
        .unwrap_or(json)
        .trim_ascii_end()
        .len();
    json.truncate(members);
    close_with_tag(json, class)?;
    Ok(HEAD.len())
}

fn close_with_tag(json: &mut Vec<u8>, tag: &str) -> Result<(), Error> {
    let separator = if json.ends_with(b"{") { ", ".len() } else { 0 };
    json.extend_from_slice(&THEN_TYPE.as_bytes()[separator..]);
    tag.serialize(&mut serializer(json))?;
    json.push(b'}');
    Ok(())
}

fn serializer(json: &mut Vec<u8>) -> serde_json::Serializer<&mut Vec<u8>, PythonForm> {
    serde_json::Serializer::with_formatter(json, PythonForm::default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serializer;

    use super::*;

    /// Encodes another value while it is written.
    struct Nested(usize);

    impl Serialize for Nested {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let inner = match self.0 {
                0 => Bytes::new(),
                depth => bare(&Self(depth - 1)).unwrap(),
            };
            serializer.serialize_str(str::from_utf8(&inner).unwrap())
        }
    }

    #[test]
    fn a_value_may_encode_another_while_it_is_written() {
        assert_eq!(bare(&Nested(0)).unwrap(), r#""""#);
        assert_eq!(bare(&Nested(1)).unwrap(), r#""\"\"""#);
        assert_eq!(bare(&Nested(2)).unwrap(), r#""\"\\\"\\\"\"""#);
    }

    /// A value that serializes itself as bytes.
    #[derive(Eq, Ord, PartialEq, PartialOrd)]
    struct Blob(&'static [u8]);

    impl Serialize for Blob {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }

    #[test]
    fn texts_with_and_without_escapes_are_written_anywhere() {
        let raw = serde_json::value::RawValue::from_string("[1.50]".to_owned()).unwrap();
        let long = "x".repeat(100);
        for (text, json) in [
            ("", String::new()),
            ("a", "a".to_owned()),
            (&*long, long.clone()),
            ("\"\u{7f}é", r#"\"\u007f\u00e9"#.to_owned()),
            (&*(long.clone() + "\n"), long.clone() + "\\n"),
            (&*("\n".to_owned() + &long), "\\n".to_owned() + &long),
        ] {
            let map = BTreeMap::from([(text, [text])]);

            let written = bare(&(text, &map, &raw, Some(text))).unwrap();

            let expected = format!(r#"["{json}", {{"{json}": ["{json}"]}}, [1.50], "{json}"]"#);
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn bytes_are_a_list_and_no_key() {
        assert_eq!(bare(&Blob(b"a\xff")).unwrap(), "[97, 255]");
        assert_eq!(bare(&Blob(b"")).unwrap(), "[]");
        assert!(bare(&BTreeMap::from([(Blob(b"a"), 1)])).is_err());
    }

    #[test]
    fn nothing_is_left_in_the_buffer_after_a_failure_or_a_large_value() {
        let large = "x".repeat(MAX_KEPT_BYTES * 2);

        assert!(payload(&("left", f64::NAN), None).is_err());
        assert_eq!(payload(&1, None).unwrap(), "1");
        assert_eq!(payload(&large, None).unwrap().len(), large.len() + 2);
        assert_eq!(
            payload(&(1,), None).unwrap(),
            r#"{"__obj": [1], "__type": "tuple"}"#
        );
    }
}
