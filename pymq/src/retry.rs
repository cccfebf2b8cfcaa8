//! When to try again and when to give up: pure state, without a clock and without a network.

use std::num::NonZeroU32;
use std::time::Duration;

/// Waits that double from a first one up to a longest.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// For a put that waits for space which another process makes.
    pub(crate) const fn put() -> Self {
        Self::new(Duration::from_millis(2), Duration::from_millis(50))
    }

    /// For a join that asks whether everything is finished.
    pub(crate) const fn join() -> Self {
        Self::new(Duration::from_millis(5), Duration::from_millis(250))
    }

    const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
        }
    }

    /// Returns how long to wait now, and waits longer the next time.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.longest);
        wait
    }
}

/// How often a message may be taken under a lease before it is a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MaxAttempts(Option<NonZeroU32>);

impl MaxAttempts {
    /// Sets the limit; zero is none.
    pub(crate) const fn new(max: u32) -> Self {
        Self(NonZeroU32::new(max))
    }

    /// Returns why a message taken for the `attempt`-th time is not handed out any more, if so.
    pub(crate) fn verdict(self, attempt: u32) -> Option<String> {
        let max = self.0.filter(|max| attempt > max.get())?;
        let times = if max.get() == 1 { "time" } else { "times" };
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

        assert_eq!(five.verdict(1), None);
        assert_eq!(five.verdict(5), None);
        assert_eq!(
            five.verdict(6).as_deref(),
            Some("out of attempts: handed out 5 times and never acked")
        );
        assert!(five.verdict(u32::MAX).is_some());
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(MaxAttempts::new(0).verdict(u32::MAX), None);
    }
}
