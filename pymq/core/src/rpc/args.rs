//! Arguments of a call: a tuple on the caller's side, a JSON array on the wire, a tuple again.

use std::fmt;

use bytes::Bytes;
use serde::de::value::Error as Absent;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserializer, Serialize, forward_to_deserialize_any};
use serde_json::value::RawValue;

use crate::codec::{self, Arguments};
use crate::error::Result;
use crate::rpc::RemoteError;
use crate::text::cut;

/// What a caller passes: a tuple of up to eight serde values; `()` for none, `(value,)` for one.
///
/// # Examples
///
/// ```
/// use pymq::rpc::Args;
///
/// assert_eq!(Args::to_json(&("eggs", 12))?, r#"["eggs", 12]"#);
/// assert_eq!(Args::to_json(&())?, "[]");
/// # Ok::<(), pymq::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tuple of arguments",
    note = "pass a tuple of up to eight serde values: `()` for none, `(value,)` for one"
)]
pub trait Args: sealed::Sealed + Send {
    /// Writes the arguments as a JSON array.
    ///
    /// # Errors
    ///
    /// [`Codec`](crate::ErrorKind::Codec) for a value that JSON cannot express.
    fn to_json(&self) -> Result<Bytes>;
}

/// What a function takes: a tuple of up to eight serde values.
///
/// # Examples
///
/// ```
/// use pymq::rpc::Params;
///
/// let (item, count): (String, Option<u32>) = Params::from_json("order", &r#"["eggs"]"#.into())?;
///
/// assert_eq!((item.as_str(), count), ("eggs", None));
/// # Ok::<(), pymq::rpc::RemoteError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tuple of parameters",
    note = "a function can take up to eight parameters, each `DeserializeOwned` and `Send`"
)]
pub trait Params: sealed::Sealed + Send + Sized {
    /// Reads the arguments of a call to `function` from a JSON array.
    ///
    /// If an `Option` at the end has no argument, it is `None`, like a default in Python.
    ///
    /// # Errors
    ///
    /// The error that the caller receives: `TypeError` for a wrong number of arguments, or for an
    /// argument of a wrong type, with its position; `ValueError` for a text that is not an array.
    fn from_json(function: &str, json: &Bytes) -> Result<Self, RemoteError>;
}

#[expect(
    unnameable_types,
    reason = "it seals the traits, so no other crate implements it"
)]
mod sealed {
    pub trait Sealed {}
}

/// A tuple that is read from a list with one element for each of its parts.
trait FullList: Sized {
    /// Reads it in one pass over the list. Returns `None` if the list has fewer or more elements,
    /// or one that does not fit: to find out which, it must be read again.
    fn read(json: &Bytes) -> Option<Self>;
}

macro_rules! tuples {
    ($($count:literal: ($($arg:ident)+))+) => {$(
        impl<$($arg),+> sealed::Sealed for ($($arg,)+) {}

        impl<$($arg: Serialize + Send),+> Args for ($($arg,)+) {
            fn to_json(&self) -> Result<Bytes> {
                codec::to_json(self)
            }
        }

        impl<$($arg: DeserializeOwned),+> FullList for ($($arg,)+) {
            fn read(json: &Bytes) -> Option<Self> {
                let mut arguments = Arguments::new(json)?;
                let list = ($(arguments.next::<$arg>()?,)+);
                arguments.finish().map(|()| list)
            }
        }

        impl<$($arg: DeserializeOwned + Send),+> Params for ($($arg,)+) {
            fn from_json(function: &str, json: &Bytes) -> Result<Self, RemoteError> {
                if let Some(args) = Self::read(json) {
                    return Ok(args);
                }
                let values = values(json)?;
                let mut given = Given::new(function, &values, $count)?;
                Ok(($(given.next::<$arg>()?,)+))
            }
        }
    )+};
}

tuples! {
    1: (A)
    2: (A B)
    3: (A B C)
    4: (A B C D)
    5: (A B C D E)
    6: (A B C D E F)
    7: (A B C D E F G)
    8: (A B C D E F G H)
}

impl sealed::Sealed for () {}

impl Args for () {
    fn to_json(&self) -> Result<Bytes> {
        // As a value, unit is `null`. As arguments, it is an empty list.
        Ok(Bytes::from_static(b"[]"))
    }
}

impl Params for () {
    fn from_json(function: &str, json: &Bytes) -> Result<Self, RemoteError> {
        Given::new(function, &values(json)?, 0).map(drop)
    }
}

fn values(json: &Bytes) -> Result<Vec<&RawValue>, RemoteError> {
    let text = str::from_utf8(json).map_err(|cause| unreadable(&cause))?;
    codec::from_text(text).map_err(|cause| unreadable(&cause))
}

fn unreadable(cause: &dyn fmt::Display) -> RemoteError {
    RemoteError::new("ValueError", cut(&format!("arguments: {cause}")))
}

/// The arguments of one call, read from left to right.
struct Given<'a> {
    function: &'a str,
    values: &'a [&'a RawValue],
    taken: usize,
    wanted: usize,
}

impl<'a> Given<'a> {
    fn new(
        function: &'a str,
        values: &'a [&'a RawValue],
        wanted: usize,
    ) -> Result<Self, RemoteError> {
        let given = Self {
            function,
            values,
            taken: 0,
            wanted,
        };
        if values.len() > wanted {
            Err(given.miscounted())
        } else {
            Ok(given)
        }
    }

    fn next<T: DeserializeOwned>(&mut self) -> Result<T, RemoteError> {
        let Some(value) = self.values.get(self.taken) else {
            return T::deserialize(Missing).map_err(|_| self.miscounted());
        };
        self.taken += 1;
        codec::from_text(value.get()).map_err(|cause| {
            let (position, function) = (self.taken, self.function);
            RemoteError::new(
                "TypeError",
                format!("argument {position} of {function}: {cause}"),
            )
        })
    }

    fn miscounted(&self) -> RemoteError {
        let Self {
            function,
            values,
            wanted,
            ..
        } = self;
        let arguments = if *wanted == 1 {
            "argument"
        } else {
            "arguments"
        };
        let (given, were) = (values.len(), if values.len() == 1 { "was" } else { "were" });
        RemoteError::new(
            "TypeError",
            format!("{function} takes {wanted} {arguments} but {given} {were} given"),
        )
    }
}

/// Stands for an argument that was not given. An `Option` reads it as `None`, other types refuse
/// it.
struct Missing;

impl<'de> Deserializer<'de> for Missing {
    type Error = Absent;

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Absent> {
        visitor.visit_none()
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Absent> {
        Err(serde::de::Error::custom("missing argument"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Params>(json: &'static str) -> Result<T, String> {
        T::from_json("product", &json.into()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_arity_round_trips() {
        fn check<T: Args + Params + PartialEq + fmt::Debug>(args: &T) {
            let json = args.to_json().unwrap();
            assert_eq!(T::from_json("f", &json).as_ref(), Ok(args));
        }

        check(&());
        check(&(1,));
        check(&(1, "two".to_owned()));
        check(&(1, 2.5, Some(true)));
        check(&(1, vec![2, 3], 4, 5));
        check(&(1, (), 3, 4, 5));
        check(&(1, 2, 3, 4, 5, 6));
        check(&(1, 2, 3, 4, 5, 6, 7));
        check(&(1, 2, 3, 4, 5, 6, 7, 8));
    }

    #[test]
    fn a_full_list_is_read_in_one_pass_and_nothing_else() {
        let read = |json: &'static str| <(String, String, Vec<u8>)>::read(&json.into());
        let expected = ("a".to_owned(), "b\"".to_owned(), vec![1]);
        for json in [
            r#"["a", "b\"", [1]]"#,
            r#" [ "\u0061" ,"b\u0022" , [ 1 ] ] "#,
        ] {
            assert_eq!(read(json).as_ref(), Some(&expected), "{json}");
        }
        for json in [
            "",
            "[",
            r#"["a"#,
            r#"["a""#,
            r#"["a" "b", [1]]"#,
            r#"["a", "b"]"#,
            r#"["a", "b", [1], 2]"#,
            r#"["a", "b", [1],]"#,
            r#"["a", "b", [1]] 2"#,
            r#"[, "a", "b", [1]]"#,
            "[\"a\n\", \"b\", [1]]",
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    #[test]
    fn integers_past_64_bits_are_exact_beside_others() {
        assert_eq!(
            read::<(u128, i64)>("[18446744073709551616, 1]"),
            Ok((1 << 64, 1))
        );
    }

    #[test]
    fn a_wrong_count_names_both_numbers() {
        assert_eq!(
            read::<(i64, i64)>("[1, 2, 3]").unwrap_err(),
            "TypeError: product takes 2 arguments but 3 were given"
        );
        assert_eq!(
            read::<(i64, i64)>("[1]").unwrap_err(),
            "TypeError: product takes 2 arguments but 1 was given"
        );
        assert_eq!(
            read::<(i64,)>("[]").unwrap_err(),
            "TypeError: product takes 1 argument but 0 were given"
        );
        assert_eq!(
            read::<()>("[null]").unwrap_err(),
            "TypeError: product takes 0 arguments but 1 was given"
        );
    }

    #[test]
    fn options_at_the_end_may_be_left_out() {
        assert_eq!(
            read::<(i64, Option<i64>, Option<i64>)>("[1]"),
            Ok((1, None, None))
        );
        assert_eq!(read::<(i64, Option<i64>)>("[1, 2]"), Ok((1, Some(2))));
        assert!(read::<(Option<i64>, i64)>("[1]").is_err());
        assert!(read::<(i64, ())>("[1]").is_err());
    }

    #[test]
    fn a_wrong_type_names_the_position_and_the_cause() {
        let error = read::<(i64, i64)>(r#"[1, "x"]"#).unwrap_err();

        assert!(
            error.starts_with(
                r#"TypeError: argument 2 of product: invalid type: string "x", expected i64"#
            ),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_an_array_is_a_value_error() {
        for json in ["", "null", "{}", "\"ab\"", "[1", "[NaN]"] {
            assert!(
                read::<(i64,)>(json)
                    .unwrap_err()
                    .starts_with("ValueError: arguments: "),
                "{json}"
            );
        }
    }
}
