//! Writing: the value as JSON, in the envelope that its form asks for.

use serde::Serialize;
use serde_json::Error;

use super::dialect::{Dialect, Form, Top};
use super::python::PythonForm;

/// What an envelope around a value begins with.
const HEAD: &[u8] = br#"{"__obj": "#;

/// Writes a value without an envelope.
pub(super) fn bare<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut json = Vec::with_capacity(128);
    value.serialize(Dialect::inside(&mut serializer(&mut json)))?;
    Ok(json)
}

/// Writes a value as a payload, tagged with its class if it has one. The payload starts at the returned offset.
pub(super) fn payload<T: Serialize + ?Sized>(
    value: &T,
    class: Option<&str>,
) -> Result<(Vec<u8>, usize), Error> {
    // The head comes first and is left out when the value goes bare, so that nothing has to move.
    let mut json = Vec::with_capacity(128);
    json.extend_from_slice(HEAD);
    let top = Top::default();
    value.serialize(Dialect::top(&mut serializer(&mut json), &top))?;

    let is_object = json[HEAD.len()] == b'{';
    let tag = match (top.form(), class) {
        (Form::Plain, None) => return Ok((json, HEAD.len())),
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
    close_with_tag(&mut json, tag)?;
    Ok((json, 0))
}

/// Makes the tag the last member of the object behind the head.
fn tagged_object(mut json: Vec<u8>, class: &str) -> Result<(Vec<u8>, usize), Error> {
    let members = json
        .strip_suffix(b"}")
        .unwrap_or(&json)
        .trim_ascii_end()
        .len();
    json.truncate(members);
    if !json.ends_with(b"{") {
        json.extend_from_slice(b", ");
    }
    close_with_tag(&mut json, class)?;
    Ok((json, HEAD.len()))
}

fn close_with_tag(json: &mut Vec<u8>, tag: &str) -> Result<(), Error> {
    json.extend_from_slice(br#""__type": "#);
    tag.serialize(&mut serializer(json))?;
    json.push(b'}');
    Ok(())
}

fn serializer(json: &mut Vec<u8>) -> serde_json::Serializer<&mut Vec<u8>, PythonForm> {
    serde_json::Serializer::with_formatter(json, PythonForm)
}
