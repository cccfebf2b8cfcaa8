//! Events: types that have a topic, so that a publish needs no name.

use serde::Serialize;

/// A value with a type that names its topic.
///
/// [`event!`](crate::event!) implements it; by hand it takes one or two constants. A subscription
/// also needs [`DeserializeOwned`](serde::de::DeserializeOwned).
///
/// # Examples
///
/// ```
/// use pymq::Event;
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Placed {
///     order: u64,
/// }
///
/// impl Event for Placed {
///     const TOPIC: &'static str = "shop.events.Placed";
/// }
///
/// assert_eq!(Placed::CLASS, None);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "this type has no topic",
    note = "add `pymq::event!({Self});` next to the type, which must be `Serialize`",
    note = "or name the topic in the call: `bus.topic(\"name\").publish(&value)`"
)]
pub trait Event: Serialize {
    /// The topic on which this event is published.
    const TOPIC: &'static str;

    /// The Python class of this event, such as `shop.events.Placed`.
    ///
    /// With a class, the payload is tagged, and a Python handler without an annotation gets an
    /// instance of the class. Without one, the payload is the bare object. Python handlers with an
    /// annotation and all Rust subscribers read both. Name only classes that exist in Python.
    ///
    /// Items of a queue are tagged only by [`Queue::tagged`](crate::Queue::tagged).
    const CLASS: Option<&'static str> = None;
}

/// Implements [`Event`] for a type.
///
/// The topic is the path of the type with dots, starting with the name of the crate: `Placed` in
/// `shop::events` is published on `shop.events.Placed`. A Python handler that is annotated with the
/// class `Placed` of the module `shop.events` subscribes to the same topic. `topic = ".."` names
/// another topic, `class = ".."` sets [`Event::CLASS`].
///
/// # Examples
///
/// ```
/// use pymq::Event;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize, Serialize)]
/// struct Placed {
///     order: u64,
/// }
/// pymq::event!(Placed);
///
/// #[derive(Deserialize, Serialize)]
/// struct Paid {
///     order: u64,
/// }
/// pymq::event!(Paid, topic = "billing.paid", class = "billing.events.Paid");
///
/// assert!(Placed::TOPIC.ends_with(".Placed"));
/// assert_eq!(Paid::TOPIC, "billing.paid");
/// assert_eq!(Paid::CLASS, Some("billing.events.Paid"));
/// ```
#[macro_export]
macro_rules! event {
    ($name:ident $(, class = $class:expr)? $(,)?) => {
        impl $crate::Event for $name {
            const TOPIC: &'static str = {
                const PATH: &str =
                    ::core::concat!(::core::module_path!(), "::", ::core::stringify!($name));
                const DOTTED: [u8; $crate::__private::dotted_len(PATH)] =
                    $crate::__private::dotted(PATH);
                $crate::__private::as_str(&DOTTED)
            };
            $(const CLASS: ::core::option::Option<&'static str> =
                ::core::option::Option::Some($class);)?
        }
    };
    ($name:ty, topic = $topic:expr $(, class = $class:expr)? $(,)?) => {
        impl $crate::Event for $name {
            const TOPIC: &'static str = $topic;
            $(const CLASS: ::core::option::Option<&'static str> =
                ::core::option::Option::Some($class);)?
        }
    };
}

/// What [`event!`](crate::event!) computes at compile time.
#[doc(hidden)]
pub mod path {
    /// Returns the length of a path after each `::` is replaced by a dot.
    pub const fn dotted_len(path: &str) -> usize {
        let path = path.as_bytes();
        let (mut at, mut len) = (0, 0);
        while at < path.len() {
            at += width(path, at);
            len += 1;
        }
        len
    }

    /// Replaces each `::` of a path by a dot.
    pub const fn dotted<const LEN: usize>(path: &str) -> [u8; LEN] {
        let path = path.as_bytes();
        let mut dotted = [b'.'; LEN];
        let (mut at, mut to) = (0, 0);
        while at < path.len() {
            if path[at] != b':' {
                dotted[to] = path[at];
            }
            at += width(path, at);
            to += 1;
        }
        dotted
    }

    /// Returns the bytes of [`dotted`] as text.
    pub const fn as_str(dotted: &[u8]) -> &str {
        match str::from_utf8(dotted) {
            Ok(text) => text,
            Err(_) => unreachable!(),
        }
    }

    /// Returns the length of the character or `::` at `at`. A path has no single colons.
    const fn width(path: &[u8], at: usize) -> usize {
        if path[at] == b':' { 2 } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    mod shop {
        pub(super) mod events {
            #[derive(serde::Serialize)]
            pub(crate) struct Placed;
            crate::event!(Placed);

            #[derive(serde::Serialize)]
            pub(crate) struct Größe;
            crate::event!(Größe, class = "shop.Size");
        }
    }

    #[derive(Serialize)]
    struct Wrapper<T>(T);
    crate::event!(Wrapper<u8>, topic = "wrapped",);

    #[test]
    fn the_default_topic_is_the_path_with_dots() {
        assert_eq!(
            shop::events::Placed::TOPIC,
            "pymq_core.event.tests.shop.events.Placed"
        );
        assert_eq!(shop::events::Placed::CLASS, None);
    }

    #[test]
    fn a_class_may_be_named_without_a_topic() {
        assert_eq!(
            shop::events::Größe::TOPIC,
            "pymq_core.event.tests.shop.events.Größe"
        );
        assert_eq!(shop::events::Größe::CLASS, Some("shop.Size"));
    }

    #[test]
    fn a_generic_type_needs_a_topic_by_name() {
        assert_eq!(Wrapper::<u8>::TOPIC, "wrapped");
    }
}
