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
    pub run: Run,
}

/// A behaviour's function, whatever its future is.
pub type Run = for<'a> fn(&'a dyn Harness) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

impl std::fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{}", self.group, self.name)
    }
}

/// Calls the macro `$with` with a part of the table, behind the given arguments: with `required`, what every provider
/// must show; with the name of a capability, what one must show that declares it.
#[macro_export]
macro_rules! behaviours {
    (required, $with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
            topics {
                delivers_to_subscriber,
                delivers_to_every_subscriber,
            }
        }
    };
    (patterns, $with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
        }
    };
    (leases, $with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
        }
    };
    (delays, $with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
        }
    };
}

/// Emits a named test for each behaviour a provider must show.
///
/// `conformance!(paused | real, open, [capability, ...])`: how its time passes; an async function from the name of the
/// test to a [`Harness`](crate::Harness); which of `patterns`, `leases`, `delays` the provider declares. A test of its
/// own fails when that is not what it declares, so that nothing is left out in silence.
#[macro_export]
macro_rules! conformance {
    ($clock:ident, $open:expr, [$($capability:ident),* $(,)?]) => {
        $crate::behaviours!(required, emit_tests, $clock, $open);
        $($crate::behaviours!($capability, emit_tests, $clock, $open);)*
        $crate::emit_test! {
            $clock, declared_capabilities_are_the_tested_ones,
            async {
                let harness = $open("declared_capabilities_are_the_tested_ones").await?;
                $crate::table::check_capabilities(&harness, &[$(stringify!($capability)),*]).await
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! emit_tests {
    ([$clock:ident, $open:expr] $($group:ident { $($name:ident,)* })*) => {
        $(mod $group {
            use super::*;
            $($crate::emit_test! {
                $clock, $name,
                async {
                    let harness = $open(concat!(stringify!($group), "::", stringify!($name))).await?;
                    $crate::$group::$name(&harness).await
                }
            })*
        })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! emit_test {
    (paused, $name:ident, $body:expr) => {
        #[tokio::test(start_paused = true)]
        async fn $name() -> $crate::Outcome {
            $body.await
        }
    };
    (real, $name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> $crate::Outcome {
            $body.await
        }
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

/// Returns the whole table as values, capabilities included.
pub fn all() -> Vec<Behaviour> {
    let parts: [Vec<Behaviour>; 4] = [
        crate::behaviours!(required, emit_list,),
        crate::behaviours!(patterns, emit_list,),
        crate::behaviours!(leases, emit_list,),
        crate::behaviours!(delays, emit_list,),
    ];
    parts.concat()
}

/// Compares the capabilities that a test file names with those the provider declares.
///
/// # Errors
///
/// When there is no connection to ask on.
///
/// # Panics
///
/// When they differ.
pub async fn check_capabilities(harness: &dyn Harness, tested: &[&str]) -> Outcome {
    let declared = harness.connect().await?.capabilities();
    for (name, is_declared) in [
        ("patterns", declared.patterns),
        ("leases", declared.leases),
        ("delays", declared.delays),
    ] {
        assert_eq!(
            tested.contains(&name),
            is_declared,
            "is `{name}` tested, and is it declared?"
        );
    }
    Ok(())
}
