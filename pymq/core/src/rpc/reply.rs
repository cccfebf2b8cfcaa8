//! Results of a remote: the value of a Rust function as a [`Reply`] with the name of its Python
//! type.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::error::Error as StdError;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::codec;
use crate::event::Event;
use crate::handler::{BoxError, with_causes};
use crate::provider::Reply;
use crate::rpc::RemoteError;
use crate::text::cut;

/// What a remote may return.
///
/// These types: unit, scalars, strings, `Option`, collections, sets, maps, tuples, every [`Event`],
/// [`Json`] around any other serde type, and a `Result` of these with an error.
///
/// Only this trait distinguishes a set from a list for Python. A set with elements that Python
/// cannot hash, such as tuples, is a list there.
///
/// The caller gets an error as a `RuntimeError` with its text. A [`RemoteError`], also in a
/// `Box<dyn Error + Send + Sync>`, keeps its type and its arguments.
///
/// # Examples
///
/// ```
/// use pymq::provider::Reply;
/// use pymq::rpc::{IntoReply, RemoteError};
///
/// let found: Result<u32, RemoteError> = Ok(7);
/// assert_eq!(found.into_reply(), Reply::Ok { body: "7".into(), type_name: "int".into() });
///
/// let missing: Result<u32, RemoteError> = Err(RemoteError::new("KeyError", "no such user"));
/// assert_eq!(missing.into_reply(), Reply::Err(RemoteError::new("KeyError", "no such user")));
/// ```
#[diagnostic::on_unimplemented(
    message = "a remote cannot return `{Self}`",
    label = "not a reply",
    note = "wrap a serde type, `pymq::rpc::Json(value)`",
    note = "or make it an event, `pymq::event!({Self});`",
    note = "in a `Result<T, E>`, `T` must be a reply, and `E` an error, a `String` or a `&str`"
)]
pub trait IntoReply {
    /// Makes the reply. A value that cannot be written becomes an error.
    fn into_reply(self) -> Reply;
}

/// Any serde type as the result of a remote. Python gets plain data.
///
/// It is transparent for serde, so it can also be an argument.
///
/// # Examples
///
/// ```
/// use pymq::rpc::{IntoReply, Json};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Stock {
///     left: u32,
/// }
///
/// async fn stock() -> Json<Stock> {
///     Json(Stock { left: 3 })
/// }
/// # fn takes_a_reply(_: impl IntoReply) {}
/// # takes_a_reply(Json(Stock { left: 3 }));
/// ```
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoReply for Json<T> {
    fn into_reply(self) -> Reply {
        let reply = reply(&self.0, "");
        let Reply::Ok { body, .. } = reply else {
            return reply;
        };
        let type_name = Cow::Borrowed(python_type(&body));
        Reply::Ok { body, type_name }
    }
}

impl<E: Event> IntoReply for E {
    fn into_reply(self) -> Reply {
        match E::CLASS {
            Some(class) => reply(&self, class),
            None => Json(self).into_reply(),
        }
    }
}

impl<T: IntoReply, E: Into<BoxError>> IntoReply for Result<T, E> {
    fn into_reply(self) -> Reply {
        match self {
            Ok(value) => value.into_reply(),
            Err(error) => Reply::Err(remote_error(&*error.into())),
        }
    }
}

impl<T: IntoReply> IntoReply for Option<T> {
    fn into_reply(self) -> Reply {
        match self {
            Some(value) => value.into_reply(),
            None => ().into_reply(),
        }
    }
}

macro_rules! replies {
    ($($python:literal: $([$($generics:tt)*] $rust:ty,)+)+) => {$($(
        impl<$($generics)*> IntoReply for $rust {
            fn into_reply(self) -> Reply {
                reply(&self, $python)
            }
        }
    )+)+};
}

replies! {
    "NoneType": [] (),
    "bool": [] bool,
    "int": [] i8, [] i16, [] i32, [] i64, [] i128, [] isize,
        [] u8, [] u16, [] u32, [] u64, [] u128, [] usize,
    "float": [] f32, [] f64,
    "str": [] char, [] &str, [] String, [] Box<str>, [] Cow<'_, str>,
    "list": [T: Serialize] Vec<T>, [T: Serialize] VecDeque<T>, [T: Serialize] &[T],
    "dict": [K: Serialize, V: Serialize, S] HashMap<K, V, S>,
        [K: Serialize, V: Serialize] BTreeMap<K, V>,
    "tuple": [A: Serialize] (A,),
        [A: Serialize, B: Serialize] (A, B),
        [A: Serialize, B: Serialize, C: Serialize] (A, B, C),
        [A: Serialize, B: Serialize, C: Serialize, D: Serialize] (A, B, C, D),
        [A: Serialize, B: Serialize, C: Serialize, D: Serialize, E: Serialize] (A, B, C, D, E),
        [A: Serialize, B: Serialize, C: Serialize, D: Serialize, E: Serialize, F: Serialize]
        (A, B, C, D, E, F),
        [A: Serialize, B: Serialize, C: Serialize, D: Serialize, E: Serialize, F: Serialize,
            G: Serialize]
        (A, B, C, D, E, F, G),
        [A: Serialize, B: Serialize, C: Serialize, D: Serialize, E: Serialize, F: Serialize,
            G: Serialize, H: Serialize]
        (A, B, C, D, E, F, G, H),
}

impl<T: Serialize, S> IntoReply for HashSet<T, S> {
    fn into_reply(self) -> Reply {
        set_reply(&self)
    }
}

impl<T: Serialize> IntoReply for BTreeSet<T> {
    fn into_reply(self) -> Reply {
        set_reply(&self)
    }
}

impl<T, const LEN: usize> IntoReply for [T; LEN]
where
    T: Serialize,
{
    fn into_reply(self) -> Reply {
        // As a slice, because serde implements arrays of up to 32 elements only.
        self.as_slice().into_reply()
    }
}

fn reply(value: &(impl Serialize + ?Sized), type_name: &'static str) -> Reply {
    match codec::to_json(value) {
        Ok(body) => Reply::Ok {
            body,
            type_name: Cow::Borrowed(type_name),
        },
        Err(error) => {
            let cause = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            Reply::Err(RemoteError::new(
                "ValueError",
                cut(&format!("the result cannot be sent: {cause}")),
            ))
        }
    }
}

/// Makes a set if Python can hash all elements, otherwise a list: the decoder of Python would
/// raise.
fn set_reply(set: &impl Serialize) -> Reply {
    match reply(set, "set") {
        Reply::Ok { body, .. } if !has_only_scalars(&body) => Reply::Ok {
            body,
            type_name: Cow::Borrowed("list"),
        },
        reply => reply,
    }
}

/// Tells whether a JSON array contains no list and no map.
fn has_only_scalars(array: &Bytes) -> bool {
    // The search is fast, and is enough for nearly every set.
    if !array[1..].iter().any(|byte| matches!(byte, b'[' | b'{')) {
        return true;
    }
    codec::from_json(array).is_ok_and(|elements: Vec<Box<RawValue>>| {
        elements
            .iter()
            .all(|element| !element.get().starts_with(['[', '{']))
    })
}

/// Returns the Python type of a JSON text.
fn python_type(json: &[u8]) -> &'static str {
    match json.first() {
        Some(b'{') => "dict",
        Some(b'[') => "list",
        Some(b'"') => "str",
        Some(b't' | b'f') => "bool",
        Some(b'n') => "NoneType",
        _ if json.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) => "float",
        _ => "int",
    }
}

fn remote_error(error: &(dyn StdError + 'static)) -> RemoteError {
    let remote = error.downcast_ref::<RemoteError>();
    remote
        .cloned()
        .unwrap_or_else(|| RemoteError::new("RuntimeError", with_causes(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(reply: impl IntoReply) -> (String, String) {
        match reply.into_reply() {
            Reply::Ok { body, type_name } => (
                String::from_utf8(body.into()).unwrap(),
                type_name.into_owned(),
            ),
            Reply::Err(error) => (error.message().to_owned(), error.type_name().to_owned()),
        }
    }

    #[test]
    fn an_error_is_shown_with_its_causes() {
        let cause = std::io::Error::other("the disk is full");
        let error = crate::Error::new(crate::ErrorKind::Provider, "save").with_source(cause);
        let shown = with_causes(&error);
        assert!(shown.ends_with(": the disk is full"), "{shown}");

        let (message, _) = answer(Err::<(), _>(error));

        assert_eq!(message, shown);
    }

    #[test]
    fn a_long_error_of_a_function_is_cut() {
        let failed: Result<(), String> = Err("ä".repeat(1_000_000));

        let Reply::Err(error) = failed.into_reply() else {
            panic!("it failed");
        };

        assert!(error.message().ends_with("ä… (2000000 bytes)"));
        assert!(error.args_json().len() < 8_192);
    }

    #[test]
    fn an_error_a_function_chose_itself_is_sent_as_it_is() {
        let chosen = RemoteError::new("ValueError", "x".repeat(5_000));
        let failed: Result<(), RemoteError> = Err(chosen.clone());

        assert_eq!(failed.into_reply(), Reply::Err(chosen));
    }

    fn text(body: &str, type_name: &str) -> (String, String) {
        (body.to_owned(), type_name.to_owned())
    }

    #[derive(Serialize)]
    struct Point {
        x: i32,
    }
    crate::event!(Point, topic = "points", class = "m.Point");

    #[derive(Serialize)]
    struct Plain {
        x: f64,
    }
    crate::event!(Plain);

    #[test]
    fn every_kind_of_value_has_its_python_type() {
        assert_eq!(answer(()), text("null", "NoneType"));
        assert_eq!(answer(true), text("true", "bool"));
        assert_eq!(
            answer(u128::MAX),
            text("340282366920938463463374607431768211455", "int")
        );
        assert_eq!(answer(1.0), text("1.0", "float"));
        assert_eq!(answer('é'), text(r#""\u00e9""#, "str"));
        assert_eq!(answer("s"), text(r#""s""#, "str"));
        assert_eq!(answer(vec![1]), text("[1]", "list"));
        assert_eq!(answer([1; 40]).1, "list");
        assert_eq!(answer(BTreeSet::from([1, 2])), text("[1, 2]", "set"));
        assert_eq!(answer(HashSet::from(["[{"])), text(r#"["[{"]"#, "set"));
        assert_eq!(
            answer(HashMap::from([(1, "a")])),
            text(r#"{"1": "a"}"#, "dict")
        );
        assert_eq!(answer((1, "a")), text(r#"[1, "a"]"#, "tuple"));
        assert_eq!(answer(Some(5)), text("5", "int"));
        assert_eq!(answer(None::<i32>), text("null", "NoneType"));
    }

    #[test]
    fn a_set_of_what_python_cannot_hash_is_a_list() {
        assert_eq!(answer(BTreeSet::from([(1, 2)])), text("[[1, 2]]", "list"));
        let mixed = BTreeSet::from([None, Some(BTreeMap::from([("[", 1)]))]);
        assert_eq!(answer(mixed), text(r#"[null, {"[": 1}]"#, "list"));
    }

    #[test]
    fn an_event_is_its_class_or_a_dict() {
        assert_eq!(answer(Point { x: 1 }), text(r#"{"x": 1}"#, "m.Point"));
        assert_eq!(answer(Plain { x: 1.0 }), text(r#"{"x": 1.0}"#, "dict"));
        assert_eq!(answer(vec![Point { x: 1 }]), text(r#"[{"x": 1}]"#, "list"));
    }

    #[test]
    fn any_serde_type_goes_as_plain_data() {
        assert_eq!(
            answer(Json(Plain { x: 1.0 })),
            text(r#"{"x": 1.0}"#, "dict")
        );
        assert_eq!(answer(Json([1, 2])), text("[1, 2]", "list"));
        assert_eq!(answer(Json(1e16)), text("1e+16", "float"));
        assert_eq!(answer(Json(7)), text("7", "int"));
        assert_eq!(answer(Json(None::<u8>)), text("null", "NoneType"));
        assert_eq!(answer(Json("x")), text(r#""x""#, "str"));
        assert_eq!(answer(Json(false)), text("false", "bool"));
    }

    #[test]
    fn an_error_is_a_runtime_error_unless_it_says_what_it_is() {
        let failed: Result<(), &str> = Err("boom");
        assert_eq!(answer(failed), text("boom", "RuntimeError"));

        let remote = RemoteError::with_args("KeyError", &("k", 2)).unwrap();
        assert_eq!(
            Err::<(), _>(remote.clone()).into_reply(),
            Reply::Err(remote.clone())
        );

        let boxed: Box<dyn std::error::Error + Send + Sync> = remote.clone().into();
        assert_eq!(Err::<(), _>(boxed).into_reply(), Reply::Err(remote));
    }
}
