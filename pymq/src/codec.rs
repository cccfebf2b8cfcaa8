//! Between values and PyMQ's JSON dialect, in the byte form Python writes.
//!
//! [`Encode`] and [`Decode`] stand for every serde type and for [`Raw`]; nothing else implements them.

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{CharEscape, Formatter};

use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::message::Message;

/// A value that can be a payload: every serde type, and [`Raw`].
pub trait Encode {
    /// Writes the payload, envelope and tag included.
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec) for what the dialect cannot say.
    fn encode(&self) -> Result<Message>;
}

/// A value that can be read from a payload: every serde type, and [`Raw`].
pub trait Decode: Sized {
    /// Reads the payload; the envelope is taken off, tags are inert.
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec), with the payload, for what does not fit.
    fn decode(message: &Message) -> Result<Self>;
}

/// Bytes that pass as they are, read as they came.
///
/// # Examples
///
/// ```
/// use pymq::codec::{Decode, Encode, Raw};
///
/// let message = Raw::from("any bytes").encode()?;
///
/// assert_eq!(Raw::decode(&message)?.0, "any bytes");
/// # Ok::<(), pymq::Error>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Raw(pub Bytes);

impl<T: Into<Bytes>> From<T> for Raw {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl<T: Serialize + ?Sized> Encode for T {
    fn encode(&self) -> Result<Message> {
        to_json(self).map(Message::json)
    }
}

impl Encode for Raw {
    fn encode(&self) -> Result<Message> {
        Ok(Message::bytes(self.0.clone()))
    }
}

impl<T: DeserializeOwned> Decode for T {
    fn decode(message: &Message) -> Result<Self> {
        from_json(&message.body)
    }
}

impl Decode for Raw {
    fn decode(message: &Message) -> Result<Self> {
        Ok(Self(message.body.clone()))
    }
}

/// Writes a value as JSON in the byte form of Python's `json`, without an envelope.
///
/// # Errors
///
/// [`Codec`](ErrorKind::Codec) for what JSON cannot say.
pub fn to_json(value: &(impl Serialize + ?Sized)) -> Result<Bytes> {
    let mut buf = Vec::with_capacity(128);
    let mut serializer = serde_json::Serializer::with_formatter(&mut buf, PythonForm);
    value
        .serialize(&mut serializer)
        .map_err(|error| Error::new(ErrorKind::Codec, "encode").with_source(error))?;
    Ok(buf.into())
}

/// Writes the payload of an event: tagged if it has a [`CLASS`](Event::CLASS), bare if not.
///
/// # Errors
///
/// [`Codec`](ErrorKind::Codec) for what the dialect cannot say.
pub fn encode_event<E: Event>(event: &E) -> Result<Message> {
    let json = to_json(event)?;
    let Some(class) = E::CLASS else {
        return Ok(Message::json(json));
    };
    let class = serde_json::Value::from(class);
    Ok(Message::json(match json.strip_suffix(b"}") {
        Some(b"{") => format!(r#"{{"__type": {class}}}"#),
        Some(fields) => format!(
            r#"{}, "__type": {class}}}"#,
            String::from_utf8_lossy(fields)
        ),
        None => format!(
            r#"{{"__obj": {}, "__type": {class}}}"#,
            String::from_utf8_lossy(&json)
        ),
    }))
}

/// Reads a value from JSON without an envelope.
///
/// # Errors
///
/// [`Codec`](ErrorKind::Codec), with the payload, when the text does not fit `T`.
pub fn from_json<T: DeserializeOwned>(json: &Bytes) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| {
        Error::new(ErrorKind::Codec, "decode")
            .with_source(error)
            .with_payload(json.clone())
    })
}

/// Python's spacing and escaping: `", "`, `": "`, and ASCII only.
struct PythonForm;

impl Formatter for PythonForm {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut units = [0; 2];
        for c in fragment.chars() {
            if matches!(c, ' '..='~') {
                writer.write_all(&[c as u8])?;
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
        }
    }
}
