//! Writing: the value as JSON, in the envelope that its form asks for.

use std::cell::Cell;

use bytes::{Buf, Bytes};
use serde::Serialize;
use serde_json::Error;

use super::dialect::{Dialect, Form, Top};
use super::python::PythonForm;

/// What an envelope around a value begins with.
const HEAD: &[u8] = br#"{"__obj": "#;

/// What the envelope around a list of instances begins with.
const LIST_HEAD: &[u8] = br#"{"__list": "#;

/// The most a thread keeps of the room for a draft.
const KEPT: usize = 16 << 10;

thread_local! {
    /// Room for a draft: a value grows here, and its payload is one allocation of its size.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Writes a value without an envelope.
pub(super) fn bare<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, Error> {
    drafted(|json| {
        value.serialize(Dialect::inside(&mut serializer(json)))?;
        Ok(0)
    })
}

/// Writes a value as a payload, tagged with its class if it has one.
pub(super) fn payload<T: Serialize + ?Sized>(
    value: &T,
    class: Option<&str>,
) -> Result<Bytes, Error> {
    drafted(|json| draft_payload(json, value, class))
}

/// Writes a list as a payload whose elements are tagged with their class. An empty one goes bare, as in Python.
pub(super) fn list<T: Serialize + ?Sized>(list: &T, class: &str) -> Result<Bytes, Error> {
    drafted(|json| {
        json.extend_from_slice(LIST_HEAD);
        list.serialize(Dialect::inside(&mut serializer(json)))?;
        if json[LIST_HEAD.len()..] == *b"[]" {
            return Ok(LIST_HEAD.len());
        }
        json.extend_from_slice(b", ");
        close_with_tag(json, class)?;
        Ok(0)
    })
}

/// Returns what `write` writes from the offset on that it answers.
fn drafted(write: impl FnOnce(&mut Vec<u8>) -> Result<usize, Error>) -> Result<Bytes, Error> {
    // Taken, not borrowed: a value may write others on its way. A thread that ends has none.
    let mut draft = ROOM.try_with(Cell::take).unwrap_or_default();
    let written = write(&mut draft);
    if draft.capacity() > KEPT {
        return written.map(|start| {
            let mut payload = Bytes::from(draft);
            payload.advance(start);
            payload
        });
    }
    let payload = written.map(|start| Bytes::copy_from_slice(&draft[start..]));
    draft.clear();
    // On a thread that ends, it goes.
    ROOM.try_with(|room| room.set(draft)).ok();
    payload
}

/// Writes a value as a payload and returns the offset where it starts.
fn draft_payload<T: Serialize + ?Sized>(
    json: &mut Vec<u8>,
    value: &T,
    class: Option<&str>,
) -> Result<usize, Error> {
    // The head comes first and is left out when the value goes bare, so that nothing has to move.
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
    json.extend_from_slice(b", ");
    close_with_tag(json, tag)?;
    Ok(0)
}

/// Makes the tag the last member of the object behind the head, and returns where that starts.
fn tagged_object(json: &mut Vec<u8>, class: &str) -> Result<usize, Error> {
    let members = json
        .strip_suffix(b"}")
        .unwrap_or(json)
        .trim_ascii_end()
        .len();
    json.truncate(members);
    if !json.ends_with(b"{") {
        json.extend_from_slice(b", ");
    }
    close_with_tag(json, class)?;
    Ok(HEAD.len())
}

fn close_with_tag(json: &mut Vec<u8>, tag: &str) -> Result<(), Error> {
    json.extend_from_slice(br#""__type": "#);
    tag.serialize(&mut serializer(json))?;
    json.push(b'}');
    Ok(())
}

fn serializer(json: &mut Vec<u8>) -> serde_json::Serializer<&mut Vec<u8>, PythonForm> {
    serde_json::Serializer::with_formatter(json, PythonForm::default())
}

#[cfg(test)]
mod tests {
    use serde::Serializer;

    use super::*;

    /// Writes another value on its way.
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
    fn a_value_may_write_others_on_its_way() {
        assert_eq!(bare(&Nested(0)).unwrap(), r#""""#);
        assert_eq!(bare(&Nested(1)).unwrap(), r#""\"\"""#);
        assert_eq!(bare(&Nested(2)).unwrap(), r#""\"\\\"\\\"\"""#);
    }

    #[test]
    fn nothing_is_left_in_the_room_after_a_failure_or_a_large_value() {
        let large = "x".repeat(KEPT * 2);

        assert!(payload(&("left", f64::NAN), None).is_err());
        assert_eq!(payload(&1, None).unwrap(), "1");
        assert_eq!(payload(&large, None).unwrap().len(), large.len() + 2);
        assert_eq!(
            payload(&(1,), None).unwrap(),
            r#"{"__obj": [1], "__type": "tuple"}"#
        );
    }
}
