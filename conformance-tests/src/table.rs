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
            typed {
                typed_event_by_default_topic,
                typed_event_with_named_topic,
                handlers_are_told_topic_and_headers,
                raw_bytes_pass_through_a_topic,
                decode_error_names_type_and_topic,
                a_slow_stream_is_told_what_it_missed,
                a_stream_ends_with_its_bus,
                handler_error_does_not_stop_the_subscription,
                handler_panic_does_not_stop_it,
                undecodable_event_does_not_stop_it,
                one_slow_handler_does_not_delay_another,
                handlers_keep_order_by_default,
                concurrency_allows_overlap,
                dropping_the_guard_unsubscribes,
                a_busy_handler_does_not_delay_unsubscribing,
                unsubscribe_waits_for_the_handler,
                a_handler_may_drop_its_own_guard,
                shutdown_waits_for_handlers_within_grace,
                shutdown_aborts_after_grace,
                nothing_runs_after_a_shutdown,
                handlers_may_publish_while_they_finish,
                a_second_shutdown_finds_nothing_to_do,
                a_cancelled_shutdown_can_be_repeated,
                operations_after_shutdown_are_closed,
                a_shutdown_concerns_one_bus,
                dropping_the_last_handle_ends_its_tasks,
                a_guard_keeps_its_bus_alive,
                a_bus_may_be_dropped_anywhere,
                names_are_validated,
                oversized_payloads_are_refused,
                what_cannot_be_encoded_is_refused,
            }
            typed_queues {
                handles_of_one_name_are_one_queue,
                blocking_put_waits_for_space,
                blocking_put_notices_space_made_by_another_bus,
                many_blocking_puts_keep_the_bound,
                put_timeout_gives_full,
                a_put_is_not_repeated_when_its_outcome_is_unknown,
                zero_timeouts_do_not_wait,
                get_timeout_answers_none,
                is_full_and_is_empty_agree_with_len,
                put_all_is_all_or_nothing,
                a_dropped_waiting_put_puts_nothing,
                clear_makes_space,
                get_many_takes_what_is_there,
                an_undecodable_item_is_removed_and_its_bytes_are_in_the_error,
                an_undecodable_item_spoils_no_batch,
                a_stream_yields_until_the_queue_is_closed,
                a_dropped_stream_loses_nothing,
                close_wakes_waiting_puts_and_gets,
                close_lets_consumers_drain_then_ends,
                close_concerns_one_bus_and_one_name,
                join_on_idle_queue_returns,
                raw_and_json_share_a_queue,
                bad_names_and_sizes_are_refused,
                cancelled_typed_gets_lose_nothing,
            }
        }
    };
    (patterns, $with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
            typed_patterns {
                pattern_handlers_see_the_concrete_topic,
                pattern_streams_yield_the_concrete_topic,
            }
        }
    };
    (leases, $with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
            typed_leases {
                ack_finishes_the_item,
                into_inner_acks_and_returns_the_item,
                nack_returns_the_item_to_the_front,
                headers_reach_the_lease,
                a_dropped_lease_returns_its_item_at_once,
                a_lease_may_be_dropped_on_any_thread,
                a_late_ack_is_lease_lost,
                extend_holds_the_lease,
                join_waits_for_ack,
                lease_timeout_answers_none,
                lease_makes_space,
                close_lets_leases_drain,
                unsettled_deliveries_return_on_shutdown,
            }
            typed_cancellation {
                cancelled_leases_count_no_attempt,
                a_dropped_ack_leaves_no_lease_behind,
                a_cancelled_lease_keeps_no_spent_item,
            }
            typed_dead_letters {
                dead_letter_after_max_attempts,
                five_attempts_are_the_default,
                a_lease_that_runs_out_counts_as_an_attempt,
                a_lease_passes_over_spent_items,
                one_bad_message_does_not_starve_the_rest,
                an_undecodable_item_is_buried_by_lease,
                dead_letters_can_be_put_back,
                dead_letters_are_peeked_and_cleared,
                join_passes_over_dead_letters,
            }
        }
    };
    (delays, $with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
            typed_delays {
                put_after_hides_until_due,
                put_after_passes_a_full_queue,
                join_waits_for_delayed_items,
                clear_removes_delayed_items,
                nack_after_hides_the_item_and_lets_others_pass,
            }
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
