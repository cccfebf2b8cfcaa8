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
            lifecycle {
                connects_and_closes,
                close_is_idempotent,
                operations_after_close_fail_closed,
                close_ends_subscriptions,
                close_wakes_waiting_get,
                close_wakes_pending_reply,
                close_ends_served_channels,
                replies_given_before_close_are_sent,
                closing_one_connection_leaves_others,
                dropping_a_handle_closes_it,
                concurrent_connect_and_close,
                reopen_after_close,
                concurrent_use_from_many_tasks,
                no_leaks,
            }
            topics {
                delivers_to_subscriber,
                delivers_to_every_subscriber,
                routes_by_topic,
                same_topic_many_messages_in_order,
                order_per_publisher_with_many_publishers,
                publish_without_subscribers_reports_zero,
                publish_reports_nonzero_when_reached,
                no_delivery_before_subscribe,
                subscribe_is_a_barrier,
                drop_unsubscribes,
                unsubscribe_is_a_barrier,
                dropping_one_of_two_keeps_the_other,
                resubscribe_after_drop,
                cancelled_subscribe_leaves_nothing,
                two_subscriptions_same_topic_same_connection,
                unsubscribe_while_publishing,
                slow_subscriber_does_not_block_others,
                slow_subscriber_does_not_block_publisher,
                overflow_is_reported_as_lag,
                many_topics_many_subscribers,
                publishing_inside_a_receiver_loop,
                self_delivery,
                large_message,
                empty_body,
                exact_name_with_glob_characters_is_literal,
                long_and_unicode_names,
                namespaces_are_isolated,
            }
            messages {
                headers_round_trip,
                many_and_large_headers,
                unicode_headers,
                empty_header_value,
                body_is_kept_byte_for_byte,
                every_top_level_form_round_trips,
                body_that_looks_like_a_frame_round_trips,
                non_utf8_body,
                encoding_is_kept,
                fan_out_copies_are_independent,
                a_batch_keeps_its_messages_apart,
            }
            capabilities {
                every_declared_capability_works,
                every_missing_capability_refuses,
                missing_patterns_are_refused,
                missing_leases_are_refused,
                missing_delays_are_refused,
            }
            errors {
                provider_errors_name_provider_and_operation,
                transient_errors_are_retryable,
                permanent_errors_are_not,
                missing_rights_are_permission,
            }
            disruption {
                subscription_survives_disconnect,
                gap_is_reported_once,
                waiting_get_survives_disconnect,
                backend_down_at_start_is_a_clear_error,
            }
        }
    };
    (patterns, $with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
            patterns {
                star_matches_any_run,
                question_mark_matches_one,
                class_and_negated_class,
                escape_makes_literal,
                several_stars_match,
                incoming_carries_the_concrete_topic,
                pattern_and_exact_both_receive,
                pattern_does_not_match_others,
                pattern_and_exact_end_apart,
                pattern_never_sees_rpc_or_reply_traffic,
                patterns_stay_in_their_namespace,
            }
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
