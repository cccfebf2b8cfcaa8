//! Between values and PyMQ's JSON dialect, in the byte form Python writes.
//!
//! [`Encode`] and [`Decode`] stand for every serde type and for [`Raw`]; nothing else implements them.
//!
//! # What is written
//!
//! What Python's `json` would write, byte for byte: `", "` and `": "` between things, ASCII only, floats as `repr` has
//! them. serde's view of a value decides its top level; nothing inside is tagged:
//!
//! | Value | Payload |
//! |---|---|
//! | scalars, strings, lists, maps, structs, enums | as `serde_json` has them |
//! | unit and none | `{"__obj": null, "__type": "NoneType"}` |
//! | tuples, tuple structs, arrays | `{"__obj": [..], "__type": "tuple"}` |
//! | a list with an element `"__type"`, `"__obj"` or `"__list"` | `{"__obj": [..], "__type": "list"}` |
//! | a map or struct with such a key | `{"__obj": {..}, "__type": "dict"}` |
//! | an [`Event`] with a [`CLASS`](Event::CLASS) | `{.., "__type": CLASS}`; if it is no object, `{"__obj": .., "__type": CLASS}` |
//! | a list of these, [`Tagged`] | `{"__list": [..], "__type": CLASS}`; an empty one is bare |
//!
//! NaN and the infinities are refused at any depth, and so is what would not be read: a value nested over [`MAX_DEPTH`]. serde cannot tell a set from a list, so a set is a list here; only
//! what a remote returns is told apart, by [`IntoReply`](crate::IntoReply).
//!
//! # What is read
//!
//! Any JSON text. A top-level `__type` is taken off without a look at it, the value is that of the last `__obj`, else of
//! `__list`, else the rest of the object, and it is read by the shape of the target: structs by name or by position,
//! [`Option`]s from null, maps with keys in quotes. Of keys that repeat the last one wins in a map; a derived struct
//! refuses them.
//!
//! Refused, with the payload in the error: the words `NaN`, `Infinity` and `-Infinity`, floats past `f64`, integers past
//! 128 bits, or past 64 where the target would make a float of them without having asked for one, lone surrogates,
//! nesting over [`MAX_DEPTH`], a byte order mark, text behind the value, an empty payload, what is not UTF-8.
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
mod python;
mod read;
mod scan;
mod write;

use std::any::type_name;
use std::collections::VecDeque;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::message::Message;

/// How deeply a value may be nested, written or read: 127 lists and objects in each other.
///
/// The envelope of a payload does not count. The list of the arguments of a call does, so that an argument may have one
/// level less. A deeper value is refused with [`Codec`](ErrorKind::Codec), before anything is sent; a deeper payload of
/// another, such as a Python program, is refused when it is read.
pub const MAX_DEPTH: usize = 127;

/// The keys with a meaning at the top level of a payload. As elements of a bare list they make Python fail.
const RESERVED: [&str; 3] = [TYPE, OBJ, LIST];
const TYPE: &str = "__type";
const OBJ: &str = "__obj";
const LIST: &str = "__list";

/// A value that can be a payload: every serde type, and [`Raw`].
pub trait Encode {
    /// Writes the payload, envelope and tag included.
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec) for what the dialect cannot say.
    fn encode(&self) -> Result<Message>;

    /// Writes the payload with the class of an event, or of a list of events.
    #[doc(hidden)]
    fn encode_with(&self, _: Tag) -> Result<Message> {
        self.encode()
    }
}

/// A value that can be read from a payload: every serde type, and [`Raw`].
pub trait Decode: Sized {
    /// Reads the payload; the envelope is taken off, tags are inert.
    ///
    /// A serde type reads opaque bytes, too, if they are JSON: a sender of [`Raw`] may have written it.
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec), with the payload, for what does not fit.
    fn decode(message: &Message) -> Result<Self>;
}

/// Bytes that pass as they are, read as they came: of what was written as JSON, the whole payload with its envelope.
///
/// # Examples
///
/// ```
/// use pymq::Raw;
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
    fn decode(message: &Message) -> Result<Self> {
        Ok(Self(message.body.clone()))
    }
}

/// Writes the payload of an event: tagged if it has a [`CLASS`](Event::CLASS), bare if not.
///
/// # Errors
///
/// [`Codec`](ErrorKind::Codec) for what the dialect cannot say.
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

/// A value that can say which Python class it is of: an [`Event`], and a list of events.
///
/// A list says it once for all its elements, which is Python's own form: `{"__list": [..], "__type": CLASS}`. Python
/// builds a list of instances of it. Nothing else can be tagged, as Python looks for a class at the top level only.
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
    note = "`pymq::event!(Placed, class = \"shop.events.Placed\");` does so"
)]
pub trait Tagged {
    /// Writes the payload: tagged if there is a [`CLASS`](Event::CLASS), bare if not.
    ///
    /// # Errors
    ///
    /// [`Codec`](ErrorKind::Codec) for what the dialect cannot say.
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

/// Writes a value as JSON in the byte form of Python's `json`, without an envelope.
///
/// # Errors
///
/// [`Codec`](ErrorKind::Codec) for what JSON cannot say.
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
/// [`Codec`](ErrorKind::Codec), with the payload, when the text does not fit `T`.
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
    read::bare(text.as_bytes())
}

fn unwritable<T: ?Sized>(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Codec, format!("encode `{}`", type_name::<T>())).with_source(error)
}

fn unreadable<T>(error: serde_json::Error, payload: &Bytes) -> Error {
    Error::new(ErrorKind::Codec, format!("decode `{}`", type_name::<T>()))
        .with_source(error)
        .with_payload(payload.clone())
}
