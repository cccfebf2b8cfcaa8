//! Events: values with a topic of their own, so that publishing one needs no name.

use serde::Serialize;

/// A value that is published by its type.
///
/// [`event!`](crate::event!) implements it; by hand it is one or two constants. Subscribing needs
/// [`DeserializeOwned`](serde::de::DeserializeOwned) besides.
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
    label = "this type has no topic of its own",
    note = "say `pymq::event!({Self});` beside the type, which must be `Serialize`",
    note = "or name the topic where it is used: `bus.topic(\"name\").publish(&value)`"
)]
pub trait Event: Serialize {
    /// The topic this event is published on.
    const TOPIC: &'static str;

    /// The Python class an unannotated reader builds from this event, such as `shop.events.Placed`.
    ///
    /// With one the payload is tagged; without, it is the bare object, which an annotated Python handler and every
    /// Rust subscriber read as well. Name only classes that Python has. Items of a queue, and lists of this event in
    /// one, are tagged on demand, by [`Queue::tagged`](crate::Queue::tagged).
    const CLASS: Option<&'static str> = None;
}

/// Makes a type an [`Event`].
///
/// The topic is the path of the module and the type, joined by dots, the crate's name first: `Placed` in
/// `shop::events` is published on `shop.events.Placed`, where a Python handler annotated with the class `Placed` of
/// the module `shop.events` listens. `topic = ".."` names another, `class = ".."` is [`Event::CLASS`].
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
                const PATH: &str = ::core::concat!(::core::module_path!(), "::", ::core::stringify!($name));
                const DOTTED: [u8; $crate::__private::dotted_len(PATH)] = $crate::__private::dotted(PATH);
                $crate::__private::as_str(&DOTTED)
            };
            $(const CLASS: ::core::option::Option<&'static str> = ::core::option::Option::Some($class);)?
        }
    };
    ($name:ty, topic = $topic:expr $(, class = $class:expr)? $(,)?) => {
        impl $crate::Event for $name {
            const TOPIC: &'static str = $topic;
            $(const CLASS: ::core::option::Option<&'static str> = ::core::option::Option::Some($class);)?
        }
    };
}

/// What [`event!`](crate::event!) computes with at compile time.
#[doc(hidden)]
pub mod path {
    /// Returns the length of a path whose `::` became dots.
    pub const fn dotted_len(path: &str) -> usize {
        let path = path.as_bytes();
        let (mut at, mut len) = (0, 0);
        while at < path.len() {
            at += width(path, at);
            len += 1;
        }
        len
    }

    /// Turns each `::` of a path into a dot.
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

    /// A `::` is one dot wide; colons occur in no other way in a path.
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
