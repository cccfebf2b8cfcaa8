//! The one list of behaviors. A behavior in it runs on every provider; a function that is not in it
//! never runs.

use std::future::Future;
use std::pin::Pin;

use pymq_core::provider::Capabilities;

use crate::{Clock, Harness, Outcome};

/// A behavior as a value, for tools that run the whole list: the stress test, the mutants.
#[derive(Clone, Copy)]
pub struct Behavior {
    /// Its module, such as `topics`.
    pub group: &'static str,
    /// Its name, a sentence.
    pub name: &'static str,
    /// Runs it.
    pub run: Run,
}

/// The function of a behavior. Its future is boxed.
pub type Run = for<'a> fn(&'a dyn Harness) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

impl std::fmt::Debug for Behavior {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{}", self.group, self.name)
    }
}

/// Calls the macro `$with` with a part of the table, after the given arguments. The part `required`
/// is what every provider must show. The part with the name of a capability is what a provider must
/// show that declares it.
#[macro_export]
macro_rules! behaviors {
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
                publish_all_keeps_order_and_counts_each,
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
                what_overflows_is_freed,
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
            cancellation {
                dropped_publishes_happen_once_or_not,
                dropped_subscribes_leave_nothing,
                dropped_unsubscribes_happen,
                dropped_receives_lose_nothing,
                dropped_puts_are_all_or_nothing,
                dropped_waiting_puts_keep_the_bound,
                dropped_takes_lose_nothing,
                dropped_waiting_takes_leave_what_comes,
                dropped_looks_change_nothing,
                dropped_shutdowns_can_be_repeated,
                dropped_connects_leave_nothing,
                dropped_exposes_leave_nothing,
                dropped_unexposes_happen,
                dropped_calls_run_once_or_not,
            }
            health {
                a_bus_is_ready_until_it_is_closed,
                a_ping_ends_in_time,
                the_lifecycle_of_a_closed_bus_is_over,
                a_dropped_bus_ends_its_lifecycle,
                failures_of_handlers_are_counted,
                lag_is_counted,
                late_replies_are_counted,
                expired_requests_are_counted,
            }
            disruption {
                subscription_survives_disconnect,
                gap_is_reported_once,
                waiting_get_survives_disconnect,
                server_survives_disconnect,
                commands_recover_after_disconnect,
                a_disconnect_is_told_and_counted,
                backend_down_at_start_is_a_clear_error,
            }
            queues {
                put_then_get,
                fifo_order,
                batch_keeps_its_order,
                empty_batch_is_harmless,
                batched_get_takes_at_most_max,
                batched_get_does_not_wait_to_be_full,
                ten_thousand_items_bounded_memory,
                competing_consumers_no_duplicates,
                order_is_kept_for_each_producer,
                two_handles_same_queue,
                queues_are_independent,
                queues_of_namespaces_are_isolated,
                queue_survives_without_handles,
                put_does_not_need_a_consumer,
                one_handle_serves_many_tasks,
                binary_body_round_trips,
                large_item,
                empty_item,
                get_nowait_on_empty_is_immediate,
                get_timeout_waits_then_empty,
                zero_timeout_means_nowait,
                waiting_get_is_woken_by_put,
                put_beside_a_starting_get_wakes_it,
                long_wait_survives,
                many_waiters_one_item,
                waiters_are_served_all,
                cancelled_get_loses_nothing,
                cancelled_waiter_leaves_the_item_to_another,
                timed_out_get_loses_nothing,
                takes_given_up_keep_the_order,
                maxsize_refuses_when_full,
                batch_that_does_not_fit_is_refused_whole,
                no_maxsize_is_unbounded,
                maxsize_binds_only_the_put_that_names_it,
                maxsize_holds_under_race,
                once_makes_a_repeated_put_harmless,
                once_holds_under_race,
                refused_put_does_not_use_up_its_id,
                once_succeeds_on_a_full_queue,
                once_is_remembered_for_two_minutes,
                once_tells_new_from_known,
                an_id_is_known_for_its_window,
                a_window_has_bounds,
                len_counts_ready_items,
                get_from_never_used_queue_is_empty,
                clear_empties_and_reports_count,
                peek_takes_nothing,
            }
            properties {
                queue_matches_model,
                two_consumers_partition_the_items,
                json_round_trip,
                frame_round_trip,
            }
            rpc {
                request_and_reply_arrive_unchanged,
                failure_keeps_type_and_arguments,
                replies_are_correlated,
                remaining_time_reaches_the_server,
                request_without_server_is_refused,
                listen_is_a_barrier,
                a_new_server_takes_over_at_once,
                request_after_detach_is_refused,
                one_server_gets_it_and_they_take_turns,
                request_to_all_reaches_every_server,
                topic_of_the_same_name_is_apart,
                dropped_request_is_answered,
                detached_server_finishes_what_it_has,
                overloaded_server_answers,
                expired_request_is_not_run,
                late_reply_goes_nowhere,
            }
            remotes {
                call_returns_the_result,
                void_result,
                several_arguments,
                list_argument,
                struct_argument_and_result,
                optional_arguments_may_be_left_out,
                server_error_is_remote,
                server_panic_is_remote,
                a_panic_that_panics_again_does_not_end_a_remote,
                bad_arguments_are_answered,
                unserialisable_result_is_answered,
                a_result_of_another_type_is_a_codec_error,
                oversized_calls_and_replies_are_refused,
                headers_reach_the_function,
                call_without_server_is_no_such_remote,
                a_call_outlives_a_restart_of_the_server,
                call_after_unexpose_is_no_such_remote,
                call_after_unexpose_beside_a_topic_is_no_such_remote,
                dropping_the_guard_unexposes,
                expose_again_after_unexpose_uses_the_new_function,
                exposing_twice_on_one_bus_fails,
                two_buses_may_expose_the_same_name,
                expose_is_a_barrier,
                server_on_other_connection_and_same_connection,
                unexpose_finishes_running_calls,
                shutdown_answers_running_calls,
                single_calls_run_once_and_spread,
                call_all_collects_every_server,
                call_all_reports_errors_in_place,
                call_all_has_one_deadline,
                concurrent_calls_are_correlated,
                slow_call_does_not_block_others,
                sixty_four_calls_run_at_once,
                nested_call_on_same_bus,
                topic_with_the_same_name_does_not_interfere,
                timeout_is_timeout_not_remote,
                late_reply_is_dropped,
                deadline_reaches_the_server,
                an_expired_request_is_not_run,
                caller_drop_does_not_hurt_the_server,
                overloaded_server_answers,
                a_remote_runs_and_holds_as_many_as_it_is_told,
            }
            unconnected {
                a_late_bus_can_do_what_any_can,
                attach_twice_fails,
                an_unconnected_bus_is_connecting,
                many_threads_share_a_late_bus,
                publish_before_attach_is_not_initialized,
                queue_and_stub_before_attach_are_lazy,
                worker_before_attach_is_replayed,
                topic_before_attach_is_lazy,
                subscribe_before_attach_is_replayed,
                unsubscribe_before_attach_cancels,
                a_guard_from_before_attach_unsubscribes_after_it,
                expose_before_attach_is_replayed,
                unexpose_before_attach_cancels,
                bad_names_are_refused_before_attach,
                a_failed_attach_keeps_what_was_registered,
            }
            typed {
                typed_event_by_default_topic,
                typed_event_with_named_topic,
                handlers_are_told_topic_and_headers,
                raw_bytes_pass_through_a_topic,
                decode_error_names_type_and_topic,
                buffered_events_arrive_in_order,
                large_buffered_events_arrive,
                a_flush_waits_for_what_came_before,
                a_shutdown_publishes_what_is_buffered,
                a_flush_reports_what_was_not_published,
                what_cannot_be_buffered_is_refused,
                a_slow_stream_is_told_what_it_missed,
                a_stream_ends_with_its_bus,
                handler_error_does_not_stop_the_subscription,
                handler_panic_does_not_stop_it,
                a_panic_that_panics_again_does_not_end_a_handler,
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
                shutdown_drains_waiting_events,
                shutdown_now_drops_them,
                a_drain_ends_with_the_grace,
                unsubscribing_ends_a_drain,
                a_stream_is_read_after_a_shutdown,
                nothing_runs_after_a_shutdown,
                handlers_may_publish_while_they_finish,
                a_second_shutdown_finds_nothing_to_do,
                a_cancelled_shutdown_can_be_repeated,
                operations_after_shutdown_are_closed,
                a_shutdown_concerns_one_bus,
                dropping_the_last_handle_ends_its_tasks,
                a_guard_keeps_its_bus_alive,
                a_bus_may_be_dropped_anywhere,
                a_bus_may_outlive_its_runtime,
                a_bus_ends_with_its_runtime,
                the_end_of_a_runtime_wakes_what_waits_elsewhere,
                names_are_validated,
                oversized_payloads_are_refused,
                payloads_pass_up_to_the_limit_and_no_further,
                handlers_and_functions_share_a_state,
                a_missing_state_is_refused,
                extreme_limits_do_no_harm,
                hurried_looks_see_their_own_queue,
                hurried_calls_get_their_own_answer,
                a_stream_keeps_as_many_as_it_is_told,
                a_stream_may_keep_the_oldest,
                a_stream_keeps_as_many_bytes_as_it_is_told,
                a_slow_handler_loses_only_its_own,
                what_cannot_be_encoded_is_refused,
                what_is_sent_can_be_read_however_deep,
                what_is_called_and_answered_can_be_read_however_deep,
            }
            typed_queues {
                handles_of_one_name_are_one_queue,
                a_tagged_item_bears_its_class_and_reads_as_any_other,
                blocking_put_waits_for_space,
                blocking_put_notices_space_made_while_it_asks,
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
            typed_once {
                put_once_puts_once,
                put_once_may_be_repeated_when_its_outcome_is_unknown,
                put_once_is_remembered_when_its_item_is_done,
                put_once_waits_for_space,
                the_window_of_put_once_is_set_by_its_handle,
                a_dropped_put_once_may_be_repeated,
            }
        }
    };
    (patterns, $with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
            typed_patterns {
                shutdown_drains_patterns,
                pattern_handlers_see_the_concrete_topic,
                pattern_streams_yield_the_concrete_topic,
            }
            patterns {
                glob_agrees_with_server,
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
                pattern_does_not_count_as_a_server,
                patterns_stay_in_their_namespace,
            }
        }
    };
    (leases, $with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
            leases {
                lease_hides_the_message,
                ack_removes_it,
                expired_lease_redelivers,
                expired_lease_reaches_a_plain_get,
                lease_counts_from_take_not_put,
                lease_counts_from_take_not_wait,
                waiting_lease_is_woken_by_put,
                extend_holds_past_original_lease,
                extended_lease_is_settled_by_its_receipt,
                extend_may_shorten,
                extend_moves_only_its_own_lease,
                leases_that_end_together_keep_their_order,
                ended_leases_can_be_taken_as_soon_as_counted,
                crashed_consumer_releases,
                many_leases_at_once,
                mixed_get_and_lease_keep_fifo,
                leased_not_in_len_but_in_stats,
                clear_leaves_leases,
                leased_items_leave_room,
                cancelled_lease_is_not_held,
                leases_given_up_keep_the_order,
                extreme_lease_saturates,
                nack_returns_it_to_the_front,
                release_returns_it_uncounted,
                given_back_together_keeps_its_order,
                given_back_last_is_taken_first,
                attempt_counts_up,
                waiting_get_is_woken_by_what_is_given_back,
                headers_and_body_survive_redelivery,
                one_bad_message_does_not_starve_the_rest,
                stale_receipt_is_lease_lost,
                superseded_receipt_is_lease_lost_and_current_works,
                double_settle_is_lease_lost_and_harmless,
                receipt_twice_in_one_call_settles_once,
                concurrent_settle_has_one_winner,
                settlements_are_answered_in_order,
                foreign_receipt_is_lease_lost,
                malformed_receipts_spoil_no_other,
                bury_keeps_it_with_reason_and_count,
                dead_letters_are_seen_oldest_first,
                dead_letters_can_be_redriven,
                dead_letters_can_be_redriven_by_id,
                malformed_ids_name_no_dead_letter,
                redrive_ends_while_messages_die_again,
                waiting_get_is_woken_by_redrive,
                clear_dead_leaves_the_line,
                settlements_of_the_past_change_nothing_in_any_order,
            }
            typed_leases {
                an_ended_handler_gives_its_lease_back,
                unsettled_deliveries_return_on_shutdown,
                shutdown_ends_waiting_takes,
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
            }
            typed_extremes {
                a_lease_of_no_time_ends_in_the_dead_letters,
                a_worker_with_leases_of_no_time_finishes,
                a_call_without_time_is_a_timeout,
            }
            disruption_leases {
                leases_survive_disconnect,
                no_item_lost_under_disruption,
            }
            cancelled_leases {
                dropped_leases_are_given_back_uncounted,
                dropped_settlements_leave_no_lease,
                dropped_redrives_lose_nothing,
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
            typed_workers {
                a_worker_finishes_what_is_there_and_what_comes,
                handlers_are_told_queue_attempt_and_headers,
                workers_of_one_queue_share_it,
                a_worker_is_refused_where_it_cannot_work,
                a_failed_item_is_tried_again,
                a_dead_letter_tells_count_error_and_origin,
                a_panic_is_a_failure_like_any_other,
                a_panic_that_panics_again_does_not_end_a_worker,
                what_does_not_decode_is_dead_at_once,
                an_item_that_kills_its_workers_ends_dead,
                without_delays_a_failed_item_rests_under_its_lease,
                one_in_ten_panics_and_the_counts_are_exact,
                one_at_a_time_keeps_order,
                with_no_backoff_a_failed_item_holds_the_line,
                concurrency_is_used_and_kept,
                slow_items_are_left_to_other_workers,
                quick_items_are_taken_many_at_once,
                what_does_not_begin_goes_back_for_others,
                a_lease_lasts_as_long_as_its_handler,
                what_waits_is_extended_too,
                a_lost_lease_drops_the_result,
                a_lease_found_lost_is_not_settled,
                acks_gather_and_none_waits,
                what_a_dead_worker_held_is_worked_on_by_another,
                a_second_attempt_is_told,
                stop_finishes_what_runs_and_gives_back_the_rest,
                dropping_the_guard_stops_the_worker,
                stopping_an_idle_worker_loses_nothing,
                a_kept_worker_lives_as_long_as_its_bus,
                a_closed_queue_is_worked_off,
                a_shutdown_waits_for_handlers_and_their_acks,
                a_hundred_shutdowns_drain_and_lose_nothing,
                a_worker_ended_at_any_moment_loses_nothing,
                a_refused_take_does_not_end_the_worker,
                what_is_finished_in_an_outage_is_settled_after_it,
            }
            disruption_workers {
                a_worker_survives_disconnect,
            }
        }
    };
    (delays, $with:ident, $($args:tt)*) => {
        $crate::$with! {
            [$($args)*]
            delays {
                delayed_put_is_hidden_until_due,
                zero_delay_is_in_line_at_once,
                waiting_get_wakes_at_due_time,
                get_may_give_up_before_due,
                delayed_items_ordered_by_due_time,
                delayed_batch_keeps_its_order,
                delay_does_not_block_ready_items,
                due_items_join_at_the_back,
                due_items_are_in_line_by_themselves,
                due_items_can_be_taken_as_soon_as_counted,
                clear_delayed_leaves_the_line,
                delayed_item_outlives_its_producer,
                nack_with_delay_waits,
                waiting_get_wakes_when_a_nack_is_due,
                maxsize_bounds_the_line_only,
                extreme_delay_saturates,
                once_makes_a_repeated_delayed_put_harmless,
            }
            typed_delays {
                put_after_hides_until_due,
                put_after_passes_a_full_queue,
                join_waits_for_delayed_items,
                clear_removes_delayed_items,
                nack_after_hides_the_item_and_lets_others_pass,
                delays_are_kept_from_a_millisecond_to_thirty_days,
            }
            typed_backoff {
                a_failed_item_rests_and_lets_others_pass,
                the_rest_doubles_up_to_the_longest,
            }
        }
    };
}

/// Emits a named test for each behavior that a provider must show. This is the whole test file of a
/// provider.
///
/// ```text
/// pymq_conformance::suite!(MyHarness::open);
/// pymq_conformance::suite!(MyHarness::open, [patterns, leases, delays]);
/// pymq_conformance::suite!(MyHarness::open, paused, [patterns]);
/// ```
///
/// 1. An async function from the name of the test to a [`Harness`](crate::Harness).
/// 2. `paused`, if [`Harness::clock`](crate::Harness::clock) is
///    [`Clock::Paused`](crate::Clock::Paused).
/// 3. Those of `patterns`, `leases` and `delays` that the provider declares. A test of its own
///    fails if this list differs from what the provider declares.
#[macro_export]
macro_rules! suite {
    (@ $clock:ident, $open:expr, [$($capability:ident),*]) => {
        $crate::behaviors!(required, emit_tests, $clock, $open);
        $($crate::behaviors!($capability, emit_tests, $clock, $open);)*

        #[test]
        fn declared_capabilities_are_the_tested_ones() -> $crate::Outcome {
            $crate::run($crate::Clock::$clock, async {
                let harness = $open("declared_capabilities_are_the_tested_ones").await?;
                let tested = [$(stringify!($capability)),*];
                $crate::table::check_capabilities(&harness, $crate::Clock::$clock, &tested).await
            })
        }
    };
    ($open:expr $(,)?) => {
        $crate::suite!(@ Real, $open, []);
    };
    ($open:expr, paused $(,)?) => {
        $crate::suite!(@ Paused, $open, []);
    };
    ($open:expr, [$($capability:ident),* $(,)?] $(,)?) => {
        $crate::suite!(@ Real, $open, [$($capability),*]);
    };
    ($open:expr, paused, [$($capability:ident),* $(,)?] $(,)?) => {
        $crate::suite!(@ Paused, $open, [$($capability),*]);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! emit_tests {
    ([$clock:ident, $open:expr] $($group:ident { $($name:ident,)* })*) => {
        $(mod $group {
            use super::*;
            $(#[test]
            fn $name() -> $crate::Outcome {
                $crate::run($crate::Clock::$clock, async {
                    let test = concat!(stringify!($group), "::", stringify!($name));
                    let harness = $crate::Harness::at_rest($open(test).await?);
                    $crate::$group::$name(&harness).await
                })
            })*
        })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! emit_list {
    ([] $($group:ident { $($name:ident,)* })*) => {
        vec![$($($crate::table::Behavior {
            group: stringify!($group),
            name: stringify!($name),
            run: |harness| Box::pin($crate::$group::$name(harness)),
        },)*)*]
    };
}

/// Returns the whole table as values, including the parts of all capabilities.
pub fn all() -> Vec<Behavior> {
    declared_by(
        Capabilities::none()
            .with_patterns()
            .with_leases()
            .with_delays(),
    )
}

/// Returns the part of the table that a provider of these capabilities must show.
pub fn declared_by(capabilities: Capabilities) -> Vec<Behavior> {
    let mut behaviors: Vec<Behavior> = crate::behaviors!(required, emit_list,);
    if capabilities.patterns {
        behaviors.extend(crate::behaviors!(patterns, emit_list,));
    }
    if capabilities.leases {
        behaviors.extend(crate::behaviors!(leases, emit_list,));
    }
    if capabilities.delays {
        behaviors.extend(crate::behaviors!(delays, emit_list,));
    }
    behaviors
}

/// Compares the capabilities that a test file names with those the provider declares.
///
/// # Errors
///
/// If there is no connection to ask on.
///
/// # Panics
///
/// If they differ.
pub async fn check_capabilities(harness: &dyn Harness, clock: Clock, tested: &[&str]) -> Outcome {
    assert_eq!(
        harness.clock(),
        clock,
        "is `paused` named, and is it the harness' clock?"
    );
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
