//! When to retry and when to give up: pure state, without a clock and without a network.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::text::cut;
use crate::time::MAX_DURATION;

/// Waits that double, from a first one up to a longest one.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// For a put that waits until another process takes messages from a full queue.
    pub(crate) const fn put() -> Self {
        Self::new(Duration::from_millis(2), Duration::from_millis(50))
    }

    /// For a join that checks again and again whether every message is finished.
    pub(crate) const fn join() -> Self {
        Self::new(Duration::from_millis(5), Duration::from_millis(250))
    }

    /// For a worker, while its provider refuses operations or cannot be reached.
    pub(crate) const fn worker() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5))
    }

    const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
        }
    }

    /// Returns how long to wait now. The next wait is longer.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.longest);
        wait
    }
}

/// How long a failed item waits before its next attempt: doubling with each attempt, with jitter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RetryDelay {
    first: Duration,
    longest: Duration,
}

impl RetryDelay {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest: longest.min(MAX_DURATION),
        }
    }

    /// Returns the delay after an attempt; attempts start at 1.
    ///
    /// It is half of the nominal delay at `fraction` 0, and the whole of it at 1. So items that
    /// fail together are retried at different times, and none is retried at once.
    pub(crate) fn after(self, attempt: u32, fraction: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let nominal = self.first.saturating_mul(1 << doublings).min(self.longest);
        nominal / 2 + (nominal / 2).mul_f64(fraction)
    }
}

impl Default for RetryDelay {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(300))
    }
}

/// Returns a number from 0 to 1 that looks random but depends only on `of`, so that tests can
/// repeat.
pub(crate) fn jitter(of: impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX)
}

/// How often a message may be taken with a lease before it becomes a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MaxAttempts(Option<u32>);

impl MaxAttempts {
    /// No limit.
    pub(crate) const UNLIMITED: Self = Self(None);

    /// Creates a limit.
    pub(crate) const fn new(max: u32) -> Self {
        Self(Some(max))
    }

    /// Tells whether the limit is zero, which would let no message be taken.
    pub(crate) fn is_zero(self) -> bool {
        self.0 == Some(0)
    }

    /// Returns the reason to bury a message after a failed `attempt`, or `None` to retry it.
    ///
    /// The reason names the attempt, the error, and the origin: where the attempt failed.
    pub(crate) fn bury_reason_on_failure(
        self,
        attempt: u32,
        error: &str,
        origin: &str,
    ) -> Option<String> {
        let max = self.0.filter(|&max| attempt >= max)?;
        let error = cut(error);
        Some(format!(
            "out of attempts: attempt {attempt} of {max} failed with `{error}` in {origin}"
        ))
    }

    /// Returns the reason to bury a message that is taken for the `attempt`-th time, or `None` to
    /// hand it out.
    pub(crate) fn bury_reason(self, attempt: u32) -> Option<String> {
        let max = self.0.filter(|&max| attempt > max)?;
        let times = if max == 1 { "time" } else { "times" };
        Some(format!(
            "out of attempts: handed out {max} {times} and never acked"
        ))
    }
}

impl Default for MaxAttempts {
    fn default() -> Self {
        Self::new(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(mut backoff: Backoff) -> Vec<u128> {
        (0..8).map(|_| backoff.next_wait().as_millis()).collect()
    }

    #[test]
    fn a_waiting_put_backs_off_from_2_to_50_milliseconds() {
        assert_eq!(milliseconds(Backoff::put()), [2, 4, 8, 16, 32, 50, 50, 50]);
    }

    #[test]
    fn a_join_backs_off_from_5_to_250_milliseconds() {
        assert_eq!(
            milliseconds(Backoff::join()),
            [5, 10, 20, 40, 80, 160, 250, 250]
        );
    }

    #[test]
    fn the_last_allowed_attempt_is_handed_out_and_the_next_is_not() {
        let five = MaxAttempts::default();

        assert_eq!(five.bury_reason(1), None);
        assert_eq!(five.bury_reason(5), None);
        assert_eq!(
            five.bury_reason(6).as_deref(),
            Some("out of attempts: handed out 5 times and never acked")
        );
        assert!(five.bury_reason(u32::MAX).is_some());
    }

    #[test]
    fn a_retry_delay_doubles_up_to_the_longest() {
        let delay = RetryDelay::new(Duration::from_secs(1), Duration::from_secs(60));
        let millis = |fraction| {
            [1, 2, 3, 6, 7, 8, u32::MAX].map(|attempt| delay.after(attempt, fraction).as_millis())
        };

        assert_eq!(
            millis(1.0),
            [1_000, 2_000, 4_000, 32_000, 60_000, 60_000, 60_000]
        );
        assert_eq!(
            millis(0.0),
            [500, 1_000, 2_000, 16_000, 30_000, 30_000, 30_000]
        );
        assert_eq!(
            millis(0.5),
            [750, 1_500, 3_000, 24_000, 45_000, 45_000, 45_000]
        );
        assert_eq!(
            RetryDelay::new(Duration::ZERO, Duration::MAX).after(9, 0.3),
            Duration::ZERO
        );
        let huge = RetryDelay::new(Duration::MAX, Duration::MAX);
        assert_eq!(huge.after(u32::MAX, 1.0), MAX_DURATION);
        assert_eq!(huge.after(1, 0.0), MAX_DURATION / 2);
    }

    #[test]
    fn jitter_is_the_same_for_the_same_input_and_spread_for_others() {
        let fractions: Vec<f64> = (0..1_000).map(|n| jitter(("jobs", n))).collect();

        assert!(
            fractions
                .iter()
                .all(|fraction| (0.0..=1.0).contains(fraction))
        );
        let mean = fractions.iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        assert_eq!(jitter(("jobs", 7)).to_bits(), fractions[7].to_bits());
    }

    #[test]
    fn the_last_failure_names_the_attempt_the_error_and_the_origin() {
        let three = MaxAttempts::new(3);

        assert_eq!(three.bury_reason_on_failure(2, "disk full", "here"), None);
        assert_eq!(
            three
                .bury_reason_on_failure(3, "disk full", "here")
                .as_deref(),
            Some("out of attempts: attempt 3 of 3 failed with `disk full` in here")
        );
        assert_eq!(
            MaxAttempts::UNLIMITED.bury_reason_on_failure(u32::MAX, "", ""),
            None
        );

        let endless = "ä".repeat(10_000);
        let reason = three.bury_reason_on_failure(4, &endless, "here");
        assert!(reason.is_some_and(|reason| reason.len() < 1_200 && reason.contains("ä… (")));
    }

    #[test]
    fn without_a_limit_nothing_is_buried() {
        assert_eq!(MaxAttempts::UNLIMITED.bury_reason(u32::MAX), None);
        assert!(!MaxAttempts::UNLIMITED.is_zero());
    }
}
