//! A serde `Serializer` around that of `serde_json`.
//!
//! It refuses numbers that JSON cannot express. It records the serde form of the top level, which
//! decides the envelope. The inner serializer writes the text. It gets a text without anything to
//! escape as bytes, which [`PythonForm`](super::python::PythonForm) writes as a string, because
//! `serde_json` would look at each byte.

use std::cell::Cell;
use std::fmt::Display;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::RESERVED;
use super::json::needs_no_escape;

/// The form of a value at the top level, as far as the envelope depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Form {
    /// A value that needs no envelope.
    #[default]
    Plain,
    /// A list with a reserved element, or a map with a reserved key.
    Reserved,
    /// `()` or `None`.
    Null,
    /// A struct without fields.
    Empty,
    /// A tuple, a tuple struct or an array.
    Tuple,
}

/// Records the form.
#[derive(Debug, Default)]
pub(super) struct Top {
    form: Cell<Form>,
}

impl Top {
    pub(super) fn form(&self) -> Form {
        self.form.get()
    }

    fn note_name(&self, name: &str) {
        if matches!(self.form(), Form::Plain) && RESERVED.contains(&name) {
            self.form.set(Form::Reserved);
        }
    }
}

/// The position of a value in the payload.
#[derive(Clone, Copy)]
enum Place<'a> {
    Top(&'a Top),
    /// An element or a key of the top level.
    Child(&'a Top),
    /// A key, or JSON that the value contains: only a text can be there. With the top if it is a
    /// key of the top level.
    Text(Option<&'a Top>),
    Inside,
}

impl Place<'_> {
    fn note(self, form: Form) {
        if let Self::Top(top) = self {
            top.form.set(form);
        }
    }

    fn child(self) -> Self {
        match self {
            Self::Top(top) => Self::Child(top),
            Self::Text(_) => Self::Text(None),
            Self::Child(_) | Self::Inside => Self::Inside,
        }
    }

    /// Returns the place of a key, from that of the entries of a map.
    fn key(self) -> Self {
        match self {
            Self::Child(top) => Self::Text(Some(top)),
            Self::Top(_) | Self::Text(_) | Self::Inside => Self::Text(None),
        }
    }

    /// Returns the place of the fields of a struct.
    fn fields_of(self, name: &str) -> Self {
        // `serde_json` passes a JSON text as a struct with a private name.
        if name.starts_with("$serde_json::private::") {
            Self::Text(None)
        } else {
            self.child()
        }
    }

    /// Records a text, which may be a reserved element or key.
    fn note_text(self, text: &str) {
        if let Self::Child(top) | Self::Text(Some(top)) = self {
            top.note_name(text);
        }
    }
}

/// A serializer, a part of a serializer, or a value, in PyMQ's dialect.
pub(super) struct Dialect<'a, X> {
    inner: X,
    place: Place<'a>,
}

impl<'a, X> Dialect<'a, X> {
    /// Wraps the serializer of a payload.
    pub(super) fn top(inner: X, top: &'a Top) -> Self {
        Self {
            inner,
            place: Place::Top(top),
        }
    }

    /// Wraps the serializer of a value that has no envelope.
    pub(super) fn inside(inner: X) -> Self {
        Self {
            inner,
            place: Place::Inside,
        }
    }
}

impl<T: Serialize + ?Sized> Serialize for Dialect<'_, &T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(Dialect {
            inner: serializer,
            place: self.place,
        })
    }
}

macro_rules! forward {
    ($($method:ident($value:ty))+) => {$(
        fn $method(self, value: $value) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )+};
}

impl<'a, S: Serializer> Serializer for Dialect<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Dialect<'a, S::SerializeSeq>;
    type SerializeTuple = Dialect<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Dialect<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Dialect<'a, S::SerializeTupleVariant>;
    type SerializeMap = Dialect<'a, S::SerializeMap>;
    type SerializeStruct = Dialect<'a, S::SerializeStruct>;
    type SerializeStructVariant = Dialect<'a, S::SerializeStructVariant>;

    forward! {
        serialize_bool(bool)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
        serialize_i128(i128) serialize_u128(u128)
        serialize_char(char)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<S::Ok, S::Error> {
        self.inner.collect_seq(v)
    }

    fn serialize_f32(self, v: f32) -> Result<S::Ok, S::Error> {
        finite(v.is_finite(), v)?;
        self.inner.serialize_f32(v)
    }

    fn serialize_f64(self, v: f64) -> Result<S::Ok, S::Error> {
        finite(v.is_finite(), v)?;
        self.inner.serialize_f64(v)
    }

    fn serialize_str(self, v: &str) -> Result<S::Ok, S::Error> {
        self.place.note_text(v);
        if matches!(self.place, Place::Text(_)) || !needs_no_escape(v) {
            return self.inner.serialize_str(v);
        }
        self.inner.serialize_bytes(v.as_bytes())
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        match self.place {
            Place::Child(_) | Place::Text(Some(_)) => self.serialize_str(&value.to_string()),
            Place::Top(_) | Place::Text(None) | Place::Inside => self.inner.collect_str(value),
        }
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.place.note(Form::Null);
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.place.note(Form::Null);
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.place.note(Form::Empty);
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        variant_index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.place.note_text(variant);
        self.inner
            .serialize_unit_variant(name, variant_index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        variant_index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.place.child().note_text(variant);
        self.inner
            .serialize_newtype_variant(name, variant_index, variant, &Dialect::inside(value))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        Ok(Dialect {
            inner: self.inner.serialize_seq(len)?,
            place: self.place.child(),
        })
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.place.note(Form::Tuple);
        self.inner.serialize_tuple(len).map(Dialect::inside)
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.place.note(Form::Tuple);
        self.inner
            .serialize_tuple_struct(name, len)
            .map(Dialect::inside)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        variant_index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.place.child().note_text(variant);
        self.inner
            .serialize_tuple_variant(name, variant_index, variant, len)
            .map(Dialect::inside)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        Ok(Dialect {
            inner: self.inner.serialize_map(len)?,
            place: self.place.child(),
        })
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        Ok(Dialect {
            inner: self.inner.serialize_struct(name, len)?,
            place: self.place.fields_of(name),
        })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        variant_index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.place.child().note_text(variant);
        self.inner
            .serialize_struct_variant(name, variant_index, variant, len)
            .map(Dialect::inside)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Refuses NaN and the infinities, for which `serde_json` would write `null`.
fn finite<E: Error>(is_finite: bool, value: impl Display) -> Result<(), E> {
    if is_finite {
        Ok(())
    } else {
        Err(E::custom(format_args!(
            "JSON cannot express the number {value}"
        )))
    }
}

impl<C: SerializeMap> SerializeMap for Dialect<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.inner.serialize_key(&Dialect {
            inner: key,
            place: self.place.key(),
        })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.inner.serialize_value(&Dialect::inside(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

macro_rules! elements {
    ($($part:ident: $method:ident)+) => {$(
        impl<C: $part> $part for Dialect<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                self.inner.$method(&Dialect { inner: value, place: self.place })
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )+};
}

elements! {
    SerializeSeq: serialize_element
    SerializeTuple: serialize_element
    SerializeTupleStruct: serialize_field
    SerializeTupleVariant: serialize_field
}

macro_rules! fields {
    ($($part:ident)+) => {$(
        impl<C: $part> $part for Dialect<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                self.place.note_text(key);
                let value = Dialect { inner: value, place: self.place.child() };
                self.inner.serialize_field(key, &value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(key)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )+};
}

fields! { SerializeStruct SerializeStructVariant }
