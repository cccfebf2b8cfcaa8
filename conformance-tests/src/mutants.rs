//! Providers broken on purpose. Each names the behaviour that must notice; a suite that does not is the one that fails.

pub mod lifecycle;
pub mod messages;
pub mod patterns;
pub mod topics;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use pymq::provider::{Incoming, Inlet, Provider, Subscription};

use crate::harness::{Wrap, Wrapped};
use crate::table::Behaviour;
use crate::twist::{Twist, twisted};
use crate::{Failure, Harness, Outcome};

/// A fault, and what must catch it.
#[derive(Clone, Copy)]
pub struct Mutant {
    /// Makes the fault for one backend; all handles wrapped by the result share it.
    pub build: fn() -> Wrap,
    /// What has to fail on it.
    pub caught_by: Behaviour,
}

impl fmt::Debug for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutant")
            .field("caught_by", &self.caught_by)
            .finish_non_exhaustive()
    }
}

/// Emits a named test for each mutant, `mutants!(open)`, on a provider that shows every behaviour. A line reads: the
/// function that builds it, in the module of the group under `mutants`, and the behaviour of that group that catches it.
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
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! emit_mutants {
    ([$open:expr] $($group:ident { $($mutant:ident => $behaviour:ident,)* })*) => {
        $(mod $group {
            use super::*;
            $(#[tokio::test(start_paused = true)]
            async fn $mutant() -> $crate::Outcome {
                let mutant = $crate::mutants::Mutant {
                    build: $crate::mutants::$group::$mutant,
                    caught_by: $crate::table::Behaviour {
                        group: stringify!($group),
                        name: stringify!($behaviour),
                        run: |harness| Box::pin($crate::$group::$behaviour(harness)),
                    },
                };
                $crate::mutants::catch(mutant, async || $open(stringify!($behaviour)).await).await
            })*
        })*
    };
}

/// Longer than any behaviour takes, also on a provider that hangs; on a paused clock it costs nothing.
const HANGS: Duration = Duration::from_secs(24 * 3_600);

/// Wraps each handle in a twist made for it.
pub fn each<T: Twist>(make: impl Fn() -> T + Send + Sync + 'static) -> Wrap {
    Box::new(move |provider: Arc<dyn Provider>| twisted(provider, make()))
}

/// Passes on what `change` lets through, until either end is gone; a lag is passed on as a gap.
async fn relay(
    mut live: Subscription,
    inlet: Inlet,
    change: impl Fn(Incoming) -> Option<Incoming>,
) {
    while !inlet.is_detached() {
        match live.recv().await.map(&change) {
            Ok(Some(Incoming::Message { topic, message })) => inlet.push(&topic, &message),
            Ok(Some(_)) => inlet.gap(),
            Ok(None) => {}
            Err(end) => return inlet.end(end),
        }
    }
}

/// Runs the behaviour that must catch a mutant: it has to pass on the provider as it is, and to fail on the mutant by
/// an error, a panic, or by never ending.
///
/// # Errors
///
/// When either is not so.
pub async fn catch<H: Harness>(
    mutant: Mutant,
    open: impl AsyncFn() -> Result<H, Failure>,
) -> Outcome {
    let behaviour = mutant.caught_by;
    run(behaviour, &open().await?)
        .await
        .map_err(|fault| format!("{behaviour:?} fails unbroken: {fault}"))?;

    let broken = Wrapped::new(open().await?, (mutant.build)());
    match run(behaviour, &broken).await {
        Err(_) => Ok(()),
        Ok(()) => Err(format!("{behaviour:?} did not notice").into()),
    }
}

async fn run(behaviour: Behaviour, harness: &dyn Harness) -> Outcome {
    let run = AssertUnwindSafe((behaviour.run)(harness)).catch_unwind();
    match tokio::time::timeout(HANGS, run).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("it panicked".into()),
        Err(_) => Err("it never ended".into()),
    }
}
