//! Providers that are broken on purpose. Each names the behavior that must fail on it.

pub mod delays;
pub mod disruption;
pub mod leases;
pub mod lifecycle;
pub mod messages;
pub mod patterns;
pub mod properties;
pub mod queues;
pub mod remotes;
pub mod topics;
pub mod typed_backoff;
pub mod typed_once;
pub mod typed_workers;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use pymq_core::provider::{Incoming, Inlet, Provider, Subscription};

use crate::harness::{Wrap, Wrapped};
use crate::table::Behavior;
use crate::twist::{Twist, twisted};
use crate::{Failure, Harness, Outcome};

/// A defect, and the behavior that must catch it.
#[derive(Clone, Copy)]
pub struct Mutant {
    /// Creates the defect for one backend. All handles that the result wraps share it.
    pub build: fn() -> Wrap,
    /// The behavior that has to fail on it.
    pub caught_by: Behavior,
}

impl fmt::Debug for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutant")
            .field("caught_by", &self.caught_by)
            .finish_non_exhaustive()
    }
}

/// Emits a named test for each mutant, `mutants!(open)`, on a provider that shows every behavior. A
/// line has two parts: the function that builds the mutant, in the module of the group under
/// `mutants`, and the behavior of that group that catches it.
#[macro_export]
macro_rules! mutants {
    ($open:expr) => {
        $crate::emit_mutants! {
            [$open]
            lifecycle {
                close_hangs => close_is_idempotent,
                works_after_close => operations_after_close_fail_closed,
                close_forgets_waiting_takes => close_wakes_waiting_get,
                close_ends_nothing => close_ends_subscriptions,
                close_drops_replies => replies_given_before_close_are_sent,
                leaks_reply_keys => no_leaks,
                leaks_tasks => no_leaks,
            }
            topics {
                first_subscriber_only => delivers_to_every_subscriber,
                subscribe_returns_early => subscribe_is_a_barrier,
                drop_does_not_unsubscribe => drop_unsubscribes,
                silent_overflow => overflow_is_reported_as_lag,
                unbounded_buffer => what_overflows_is_freed,
                slow_subscriber_blocks => slow_subscriber_does_not_block_others,
                always_reaches_one => publish_without_subscribers_reports_zero,
                folds_case => routes_by_topic,
            }
            patterns {
                claims_patterns_without_them => star_matches_any_run,
                requests_are_published => pattern_never_sees_rpc_or_reply_traffic,
                knows_no_escape => escape_makes_literal,
            }
            messages {
                drops_headers => headers_round_trip,
                drops_empty_headers => empty_header_value,
                utf8_only => non_utf8_body,
                guesses_the_encoding => encoding_is_kept,
                rewrites_bodies => body_is_kept_byte_for_byte,
                unwraps_what_users_wrapped => body_that_looks_like_a_frame_round_trips,
            }
            queues {
                lifo_queue => fifo_order,
                loses_every_100th => competing_consumers_no_duplicates,
                duplicates_every_100th => competing_consumers_no_duplicates,
                get_ignores_timeout => get_timeout_waits_then_empty,
                get_gives_up_at_once => get_timeout_waits_then_empty,
                zero_timeout_waits_forever => zero_timeout_means_nowait,
                given_up_goes_to_the_back => takes_given_up_keep_the_order,
                cancelled_get_eats => cancelled_get_loses_nothing,
                maxsize_checked_then_put => maxsize_holds_under_race,
                batch_is_put_in_part => batch_that_does_not_fit_is_refused_whole,
                ignores_once => once_makes_a_repeated_put_harmless,
                always_says_new => once_tells_new_from_known,
                ignores_the_window => an_id_is_known_for_its_window,
                refused_put_uses_up_its_id => refused_put_does_not_use_up_its_id,
                peek_takes => peek_takes_nothing,
            }
            leases {
                lease_from_put_time => lease_counts_from_take_not_put,
                lease_is_a_get => expired_lease_redelivers,
                cancelled_lease_is_held => cancelled_lease_is_not_held,
                one_bad_receipt_fails_all => malformed_receipts_spoil_no_other,
                stale_receipt_accepted => stale_receipt_is_lease_lost,
                attempt_always_one => attempt_counts_up,
                redelivery_drops_headers => headers_and_body_survive_redelivery,
                retry_goes_to_back => nack_returns_it_to_the_front,
                settles_one_by_one => given_back_together_keeps_its_order,
                release_counts_an_attempt => release_returns_it_uncounted,
                extend_does_nothing => extend_holds_past_original_lease,
                bury_is_an_ack => bury_keeps_it_with_reason_and_count,
                no_owner_token => settlements_of_the_past_change_nothing_in_any_order,
                never_sweeps => crashed_consumer_releases,
            }
            delays {
                accepts_delay_and_ignores_it => delayed_put_is_hidden_until_due,
                ignores_the_delay_of_a_nack => nack_with_delay_waits,
                delay_blocks_the_line => delay_does_not_block_ready_items,
                polls_every_second => waiting_get_wakes_at_due_time,
            }
            remotes {
                call_runs_everywhere => single_calls_run_once_and_spread,
                replies_mixed_up => concurrent_calls_are_correlated,
                no_server_times_out => call_without_server_is_no_such_remote,
                per_reply_timeout => call_all_has_one_deadline,
                forgets_deadlines => deadline_reaches_the_server,
            }
            properties {
                settles_one_by_one => queue_matches_model,
                extend_does_nothing => queue_matches_model,
                drops_empty_headers => frame_round_trip,
                globs_know_no_negation => glob_agrees_with_server,
            }
            typed_once {
                ignores_once => put_once_may_be_repeated_when_its_outcome_is_unknown,
                always_says_new => put_once_puts_once,
                ignores_the_window => the_window_of_put_once_is_set_by_its_handle,
            }
            typed_workers {
                acks_before_work => what_a_dead_worker_held_is_worked_on_by_another,
                no_owner_token => a_lost_lease_drops_the_result,
                never_sweeps => what_a_dead_worker_held_is_worked_on_by_another,
                hoards => slow_items_are_left_to_other_workers,
                cancelled_lease_is_held => stopping_an_idle_worker_loses_nothing,
                extend_does_nothing => a_lease_lasts_as_long_as_its_handler,
                settles_one_by_one => with_no_backoff_a_failed_item_holds_the_line,
                release_counts_an_attempt => stop_finishes_what_runs_and_gives_back_the_rest,
                bury_is_an_ack => what_does_not_decode_is_dead_at_once,
            }
            typed_backoff {
                ignores_the_delay_of_a_nack => a_failed_item_rests_and_lets_others_pass,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! emit_mutants {
    ([$open:expr] $($group:ident { $($mutant:ident => $behavior:ident,)* })*) => {
        $(mod $group {
            use super::*;
            $(#[tokio::test(start_paused = true)]
            async fn $mutant() -> $crate::Outcome {
                let mutant = $crate::mutants::Mutant {
                    build: $crate::mutants::$group::$mutant,
                    caught_by: $crate::table::Behavior {
                        group: stringify!($group),
                        name: stringify!($behavior),
                        run: |harness| Box::pin($crate::$group::$behavior(harness)),
                    },
                };
                $crate::mutants::catch(mutant, async || $open(stringify!($behavior)).await).await
            })*
        })*
    };
}

/// Longer than any behavior takes, also on a provider that hangs. On a paused clock it takes no
/// time.
const HANGS: Duration = Duration::from_secs(24 * 3_600);

/// Wraps each handle in a twist of its own.
pub fn each<T: Twist>(make: impl Fn() -> T + Send + Sync + 'static) -> Wrap {
    Box::new(move |provider: Arc<dyn Provider>| twisted(provider, make()))
}

/// Forwards what `change` lets through, until one end is gone. A lag is forwarded as a gap.
async fn relay(
    mut live: Subscription,
    inlet: Inlet,
    change: impl Fn(Incoming) -> Option<Incoming>,
) {
    while !inlet.is_detached() {
        match live.recv().await.map(&change) {
            Ok(Some(Incoming::Message(published))) => inlet.push(published),
            Ok(Some(_)) => inlet.gap(),
            Ok(None) => {}
            Err(end) => return inlet.end(end),
        }
    }
}

/// Runs the behavior that must catch a mutant. It has to pass on the unchanged provider. On the
/// mutant it has to fail with an error or a panic, or never end.
///
/// # Errors
///
/// If one of the two is not true.
pub async fn catch<H: Harness>(
    mutant: Mutant,
    open: impl AsyncFn() -> Result<H, Failure>,
) -> Outcome {
    let behavior = mutant.caught_by;
    run(behavior, &open().await?)
        .await
        .map_err(|fault| format!("{behavior:?} fails unbroken: {fault}"))?;

    let broken = Wrapped::new(open().await?, (mutant.build)());
    match run(behavior, &broken).await {
        Err(_) => Ok(()),
        Ok(()) => Err(format!("{behavior:?} did not notice").into()),
    }
}

async fn run(behavior: Behavior, harness: &dyn Harness) -> Outcome {
    let run = AssertUnwindSafe((behavior.run)(harness)).catch_unwind();
    match tokio::time::timeout(HANGS, run).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("it panicked".into()),
        Err(_) => Err("it never ended".into()),
    }
}
