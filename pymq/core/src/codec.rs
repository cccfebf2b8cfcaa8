//! Converts values to PyMQ's JSON dialect and back.
//!
//! [`Encode`] and [`Decode`] are implemented for every serde type and for [`Raw`], and for nothing
//! else.
//!
//! # What is written
//!
//! The codec writes what Python's `json` writes, byte for byte: `", "` and `": "` as separators,
//! ASCII only, floats as `repr` writes them. The serde form of a value decides its top level.
//! Nothing inside is tagged:
//!
//! | Value | Payload |
//! |---|---|
//! | scalars, strings, lists, maps, structs, enums | as in `serde_json` |
//! | `()` and `None` | `{"__obj": null, "__type": "NoneType"}` |
//! | tuples, tuple structs, arrays | `{"__obj": [..], "__type": "tuple"}` |
//! | a list with a reserved element | `{"__obj": [..], "__type": "list"}` |
//! | a map or struct with a reserved key | `{"__obj": {..}, "__type": "dict"}` |
//! | an [`Event`] with a [`CLASS`](Event::CLASS) | `{.., "__type": CLASS}` |
//! | such an event that is not an object | `{"__obj": .., "__type": CLASS}` |
//! | a list of such events, [`Tagged`] | `{"__list": [..], "__type": CLASS}` |
//! | an empty list of such events | `[]` |
//!
//! The reserved elements and keys are `"__type"`, `"__obj"` and `"__list"`.
//!
//! The codec refuses NaN and the infinities at any depth, and values that are nested deeper than
//! [`MAX_DEPTH`]. serde does not distinguish sets from lists, so a set is written as a list. Only
//! the result of a remote keeps the difference, by [`IntoReply`](crate::IntoReply).
//!
//! # What is read
//!
//! The codec reads any JSON text. It removes a top-level `__type` and ignores its value. The
//! content is the value of the last `__obj`, otherwise of the last `__list`, otherwise the
//! remaining object. The target type decides how the content is read: structs by name or by
//! position, [`Option`]s from null, maps with keys in quotes. If a key repeats, a map keeps the
//! last value, and a derived struct refuses it.
//!
//! The codec refuses the following, with the payload in the error:
//!
//! - the words `NaN`, `Infinity` and `-Infinity`, and floats beyond `f64`,
//! - integers beyond 128 bits, and integers beyond 64 bits if the target would convert them to a
//!   float but is not a float type,
//! - lone surrogates, and nesting deeper than [`MAX_DEPTH`],
//! - a byte order mark, text after the value, an empty payload, and bytes that are not UTF-8.
//!
//! # Examples
//!
//! ```
//! use pymq::codec::{Decode, Encode};
//!
//! let message = ("eggs", 12).encode()?;
//! assert_eq!(message.body, r#"{"__obj": ["eggs", 12], "__type": "tuple"}"#);
//!
//! let (item, count) = <(String, u32)>::decode(&message)?;
//! assert_eq!((item.as_str(), count), ("eggs", 12));
//! # Ok::<(), pymq::Error>(())
//! ```

mod dialect;
mod envelope;
mod exact;
pub mod json;
mod python;
mod read;
mod write;

use std::any::type_name;
use std::collections::VecDeque;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::message::Message;

/// How deeply a value may be nested: 127 levels of lists and objects.
///
/// The envelope of a payload does not count. The list of the arguments of a call counts, so an
/// argument may have one level less. A deeper value fails with [`Codec`](ErrorKind::Codec) before
/// anything is sent. A deeper payload from another sender, such as a Python program, fails when it
/// is read.
pub const MAX_DEPTH: usize = 127;

/// The keys that have a meaning at the top level of a payload. Python cannot read a list without an
/// envelope that contains one of them.
const RESERVED: [&str; 3] = [json::TYPE, json::OBJ, json::LIST];

/// A value that can be encoded as a payload: every serde type, and [`Raw`].
pub trait Encode {
    /// Encodes the value as a payload, with its envelope and tag.
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec) for a value that the dialect cannot express.
    fn encode(&self) -> Result<Message>;

    /// Writes the payload with the class of an event, or of a list of events.
    #[doc(hidden)]
    fn encode_with(&self, _: Tag) -> Result<Message> {
        self.encode()
    }
}

/// A value that can be decoded from a payload: every serde type, and [`Raw`].
pub trait Decode: Sized {
    /// Decodes a payload. Its envelope is removed, and its tag is ignored.
    ///
    /// A serde type also decodes opaque bytes if they are JSON, because a sender may have sent
    /// JSON as [`Raw`].
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec), with the payload, for a payload that does not fit the type.
    fn decode(message: &Message) -> Result<Self>;

    /// Decodes a payload that is not needed any more. It may be taken out, but not before an error.
    #[doc(hidden)]
    fn decode_last(message: &mut Message) -> Result<Self> {
        Self::decode(message)
    }
}

/// Bytes that are neither encoded nor decoded.
///
/// Read from a JSON payload, they are the whole payload with its envelope.
///
/// # Examples
///
/// ```
/// use pymq::codec::Raw;
/// use pymq::codec::{Decode, Encode};
///
/// let message = Raw::from("any bytes").encode()?;
/// assert_eq!(Raw::decode(&message)?.0, "any bytes");
///
/// let message = ().encode()?;
/// assert_eq!(Raw::decode(&message)?.0, r#"{"__obj": null, "__type": "NoneType"}"#);
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
        payload(self, None)
    }

    fn encode_with(&self, tag: Tag) -> Result<Message> {
        match tag {
            Tag::Value(class) => payload(self, Some(class)),
            Tag::List(class) => list(self, class),
        }
    }
}

impl Encode for Raw {
    fn encode(&self) -> Result<Message> {
        Ok(Message::bytes(self.0.clone()))
    }
}

impl<T: DeserializeOwned> Decode for T {
    fn decode(message: &Message) -> Result<Self> {
        read::payload(&message.body).map_err(|error| unreadable::<T>(error, &message.body))
    }
}

impl Decode for Raw {
    #[inline]
    fn decode(message: &Message) -> Result<Self> {
        Ok(Self(message.body.clone()))
    }

    fn decode_last(message: &mut Message) -> Result<Self> {
        Ok(Self(std::mem::take(&mut message.body)))
    }
}

/// Encodes an event as a payload, with a tag if it has a [`CLASS`](Event::CLASS).
///
/// # Errors
///
/// [`Codec`](ErrorKind::Codec) for a value that the dialect cannot express.
///
/// # Examples
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Placed {
///     order: u64,
/// }
/// pymq::event!(Placed, class = "shop.events.Placed");
///
/// let message = pymq::codec::encode_event(&Placed { order: 17 })?;
///
/// assert_eq!(message.body, r#"{"order": 17, "__type": "shop.events.Placed"}"#);
/// # Ok::<(), pymq::Error>(())
/// ```
pub fn encode_event<E: Event>(event: &E) -> Result<Message> {
    payload(event, E::CLASS)
}

/// A value that names its Python class: an [`Event`], and a list of events.
///
/// A list names the class once for all elements, as Python does: `{"__list": [..], "__type":
/// CLASS}`. Python reads it as a list of instances. Other values cannot be tagged, because Python
/// looks for a class only at the top level.
///
/// # Examples
///
/// ```
/// use pymq::codec::Tagged;
///
/// #[derive(serde::Serialize)]
/// struct Placed {
///     order: u64,
/// }
/// pymq::event!(Placed, class = "shop.events.Placed");
///
/// let message = vec![Placed { order: 17 }].encode_tagged()?;
///
/// assert_eq!(message.body, r#"{"__list": [{"order": 17}], "__type": "shop.events.Placed"}"#);
/// # Ok::<(), pymq::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no class that Python knows",
    note = "make it an event with a class, or use a `Vec` of such events",
    note = "for example with `pymq::event!(Placed, class = \"shop.events.Placed\");`"
)]
pub trait Tagged {
    /// Encodes the value as a payload, with a tag if there is a [`CLASS`](Event::CLASS).
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec) for a value that the dialect cannot express.
    fn encode_tagged(&self) -> Result<Message>;

    /// Says how such a value is tagged.
    #[doc(hidden)]
    const TAG: Option<Tag>;
}

/// How the payload of a value names its class.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Tag {
    /// The value is an instance of the class.
    Value(&'static str),
    /// The elements of the list are.
    List(&'static str),
}

impl<E: Event> Tagged for E {
    fn encode_tagged(&self) -> Result<Message> {
        encode_event(self)
    }

    const TAG: Option<Tag> = match E::CLASS {
        Some(class) => Some(Tag::Value(class)),
        None => None,
    };
}

macro_rules! lists {
    ($($list:ty)+) => {$(
        impl<E: Event> Tagged for $list {
            fn encode_tagged(&self) -> Result<Message> {
                match Self::TAG {
                    Some(tag) => self.encode_with(tag),
                    None => self.encode(),
                }
            }

            const TAG: Option<Tag> = match E::CLASS {
                Some(class) => Some(Tag::List(class)),
                None => None,
            };
        }
    )+};
}

lists! { Vec<E> VecDeque<E> Box<[E]> }

fn list<T: Serialize + ?Sized>(list: &T, class: &str) -> Result<Message> {
    write::list(list, class)
        .map(Message::json)
        .map_err(unwritable::<T>)
}

fn payload<T: Serialize + ?Sized>(value: &T, class: Option<&str>) -> Result<Message> {
    write::payload(value, class)
        .map(Message::json)
        .map_err(unwritable::<T>)
}

/// Writes a value as Python's `json` does, without an envelope.
///
/// # Errors
///
/// [`Codec`](ErrorKind::Codec) for a value that JSON cannot express.
///
/// # Examples
///
/// ```
/// assert_eq!(pymq::codec::to_json(&("é", 1e16))?, r#"["\u00e9", 1e+16]"#);
/// assert!(pymq::codec::to_json(&[f64::NAN]).is_err());
/// # Ok::<(), pymq::Error>(())
/// ```
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Bytes> {
    write::bare(value).map_err(unwritable::<T>)
}

/// Reads a value from JSON without an envelope.
///
/// # Errors
///
/// [`Codec`](ErrorKind::Codec), with the payload, for a text that does not fit `T`.
///
/// # Examples
///
/// ```
/// let error = pymq::codec::from_json::<u64>(&"[1, NaN]".into()).unwrap_err();
///
/// assert_eq!(error.payload().unwrap(), "[1, NaN]");
/// ```
pub fn from_json<T: DeserializeOwned>(json: &Bytes) -> Result<T> {
    read::bare(json).map_err(|error| unreadable::<T>(error, json))
}

/// Reads a value from a part of a JSON text.
pub(crate) fn from_text<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, serde_json::Error> {
    read::text(text)
}

/// The arguments of a call, read from left to right in one pass. A failure is not explained.
pub(crate) struct Arguments<'de>(json::Arguments<'de>);

impl<'de> Arguments<'de> {
    /// Begins to read a list of arguments.
    pub(crate) fn new(json: &'de [u8]) -> Option<Self> {
        json::Arguments::new(str::from_utf8(json).ok()?).map(Self)
    }

    /// Reads the next argument.
    pub(crate) fn next<T: Deserialize<'de>>(&mut self) -> Option<T> {
        read::argument(&self.0.next()?)
    }

    /// Checks that no argument is left.
    pub(crate) fn finish(self) -> Option<()> {
        self.0.finish()
    }
}

fn unwritable<T: ?Sized>(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Codec, format!("encode `{}`", type_name::<T>())).with_source(error)
}

fn unreadable<T>(error: serde_json::Error, payload: &Bytes) -> Error {
    Error::new(ErrorKind::Codec, format!("decode `{}`", type_name::<T>()))
        .with_source(error)
        .with_payload(payload.clone())
}
