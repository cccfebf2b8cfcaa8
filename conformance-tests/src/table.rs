//! The one list of behaviours. What is not in it does not exist; what is in it runs on every provider.

use std::future::Future;
use std::pin::Pin;

use crate::{Harness, Outcome};

/// A behaviour as a value, for runs over the whole list: stress, mutants.
#[derive(Clone, Copy)]
pub struct Behaviour {
    /// The module it lives in, such as `topics`.
    pub group: &'static str,
    /// Its name, a sentence.
    pub name: &'static str,
    /// Runs it.
    pub run: for<'a> fn(&'a dyn Harness) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>,
}

impl std::fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{}", self.group, self.name)
    }
}

/// Calls the macro `$with` with the whole table, behind the given arguments.
#[macro_export]
macro_rules! behaviours {
    ($with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
            topics {
                delivers_to_subscriber,
            }
        }
    };
}

/// Emits a named test for each behaviour: `conformance!(paused | real, open)`, where `open` is an async function from
/// the name of the test to a [`Harness`].
#[macro_export]
macro_rules! conformance {
    ($clock:ident, $open:expr) => {
        $crate::behaviours!(emit_tests, $clock, $open);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! emit_tests {
    ([paused, $open:expr] $($group:ident { $($name:ident,)* })*) => {
        $(mod $group {
            use super::*;
            $(#[tokio::test(start_paused = true)]
            async fn $name() -> $crate::Outcome {
                let harness = $open(concat!(stringify!($group), "::", stringify!($name))).await?;
                $crate::$group::$name(&harness).await
            })*
        })*
    };
    ([real, $open:expr] $($group:ident { $($name:ident,)* })*) => {
        $(mod $group {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> $crate::Outcome {
                let harness = $open(concat!(stringify!($group), "::", stringify!($name))).await?;
                $crate::$group::$name(&harness).await
            })*
        })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! emit_list {
    ([] $($group:ident { $($name:ident,)* })*) => {
        vec![$($($crate::table::Behaviour {
            group: stringify!($group),
            name: stringify!($name),
            run: |harness| Box::pin($crate::$group::$name(harness)),
        },)*)*]
    };
}

/// Returns the table as values.
pub fn all() -> Vec<Behaviour> {
    crate::behaviours!(emit_list,)
}
